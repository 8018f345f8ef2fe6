//! Configurations that cannot be used: each faults with a sentence for the operator.
//!
//! None of them may let anybody in, and none may show a secret.

use super::*;

#[track_caller]
fn assert_unusable(host: &FakeHost, sentence: &str) {
    let connection = host.connection("/ws?token=x");
    let text = expect_fault(|| drop(connection.connect_gate::<AuthJwt>()));
    assert!(text.contains(sentence), "`{text}` does not say `{sentence}`");
    assert!(!text.contains("a secret of"), "`{text}` tells a secret");
}

#[test]
fn what_cannot_be_used_faults_and_lets_nobody_in() {
    assert_unusable(&FakeHost::new(), "no key is configured: set \"secret\" or \"public-key\"");
    assert_unusable(
        &FakeHost::new().config("secret", "a secret of 24 bytes ..."),
        "a secret for HS256 has at least 32",
    );
    assert_unusable(&FakeHost::new().config("secret", RSA_PUBLIC), "is a PEM; set it as \"public-key\"");
    let broken = RSA_PUBLIC.replacen("MIIB", "MIIC", 1);
    for pem in ["", "x", &broken, &EC_PUBLIC[..60], &RSA_PUBLIC.replace("PUBLIC", "OTHER")] {
        assert_unusable(&with_public_key(pem), "is no PEM (\"-----BEGIN PUBLIC KEY-----\")");
    }
    assert_unusable(&with_public_key(EC_PRIVATE), "needs the public one alone");
    assert_unusable(&host().config("source", "cookie"), "not \"cookie\"");
    assert_unusable(&host().config("source", ""), "\"source\" is empty");
    assert_unusable(&host().config("refuse", "loudly"), "not \"loudly\"");
    assert_unusable(&host().config("leeway-seconds", "301"), "is 0 to 300");
    assert_unusable(&host().config("leeway-seconds", "-1"), "\"leeway-seconds\" cannot be \"-1\"");
    assert_unusable(&host().config("issuer", ""), "\"issuer\" is empty");
    let many = (0..9).fold(FakeHost::new(), |host, n| host.config(&format!("secret-{n}"), SECRET));
    assert_unusable(&many, "9 keys are configured, and 8 are the most");
}

#[test]
fn a_small_rsa_key_is_refused() {
    assert_unusable(&with_public_key(SMALL_RSA_PUBLIC), "an RSA key of 1024 bits");
}

#[test]
fn a_key_may_be_indented() {
    let indented = EC_PUBLIC.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let host = with_public_key(&format!("\n{indented}\n"));
    assert_eq!(enter(&host, &Key::Es256.sign(&ann().to_string())), Ok("ann".into()));
}
