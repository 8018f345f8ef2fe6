//! Tokens whose form or signature is bad in every way that was thought of (U4), and keys with names.
//!
//! What is changed in a good token is one thing at a time, so that it is this one that refuses it.

use super::*;

#[test]
fn u4_a_token_that_was_changed_is_invalid() {
    for key in KEYS {
        let host = host_for(key);
        let token = key.sign(&ann().to_string());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let header = signed.split('.').next().unwrap();
        let bob = encode(json!({"sub": "bob", "exp": now() + 600}).to_string().as_bytes());
        assert_refused(&host, &format!("{header}.{bob}.{signature}"));
        let whole = Base64UrlUnpadded::decode_vec(signature).unwrap();
        assert_refused(&host, &format!("{signed}.{}", encode(&whole[..whole.len() - 1])));
        let mut flipped = whole.clone();
        flipped[7] ^= 1;
        assert_refused(&host, &format!("{signed}.{}", encode(&flipped)));
        assert_refused(&host, &format!("{signed}.{}", encode(&whole[1..])));
        assert_refused(&host, &format!("{signed}.{}", encode(&[0; 64])));
        assert_refused(&host, &format!("{signed}.{}", encode(&[0; 256])));
        assert_refused(&host, &format!("{signed}."));
        assert_refused(&host, signed);
        assert_eq!(enter(&host, &token), Ok("ann".into()));
    }
}

#[test]
fn u4_a_key_checks_no_other_algorithm() {
    for signer in KEYS {
        let token = signer.sign(&ann().to_string());
        for checker in KEYS {
            assert_eq!(enter(&host_for(checker), &token).is_ok(), signer == checker, "{signer:?} by {checker:?}");
        }
    }
    // The right signature under another name.
    for name in ["HS512", "RS256", "ES256"] {
        assert_refused(&host(), &sealed(&format!("{{\"alg\":\"{name}\"}}"), &ann().to_string()));
    }
}

#[test]
fn u4_a_public_key_is_never_taken_for_a_secret() {
    for pem in [RSA_PUBLIC, EC_PUBLIC, RSA_PUBLIC.trim()] {
        assert_refused(&with_public_key(pem), &Key::Hs256(pem).sign(&ann().to_string()));
    }
}

#[test]
fn u4_a_token_without_a_signature_is_invalid() {
    let claims = ann().to_string();
    for algorithm in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 "] {
        let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
        let unsigned = format!("{}.{}.", encode(header.as_bytes()), encode(claims.as_bytes()));
        assert_refused(&host(), &unsigned);
        assert_refused(&host(), &sealed(&header, &claims));
    }
}

#[test]
fn u4_garbage_is_invalid_whatever_it_is() {
    let host = host();
    let good = token();
    let claims = ann().to_string();
    for text in ["x", ".", "..", "...", "a.b.c", "e30.e30.e30", "é.é.é", "=.=.=", "bnVsbA.bnVsbA.bnVsbA"] {
        assert_refused(&host, text);
    }
    for text in [format!("{good}."), format!(".{good}"), format!("{good}="), format!("{good}.{good}")] {
        assert_refused(&host, &text);
    }
    for header in ["", "{}", "[]", "null", "{\"alg\":null}", "{\"alg\":1}", "{\"alg\":\"HS256\",\"alg\":\"none\"}"] {
        assert_refused(&host, &sealed(header, &claims));
    }
    for header in ["{\"alg\":\"HS256\",\"crit\":[\"x\"],\"x\":1}", "{\"alg\":\"HS256\",\"kid\":7}", "\u{feff}{}"] {
        assert_refused(&host, &sealed(header, &claims));
    }
    for claims in ["", "{}", "[]", "null", "7", "\"ann\"", "{\"sub\":\"ann\"", "{\"sub\":\"\u{0}\"}"] {
        assert_refused(&host, &sealed("{\"alg\":\"HS256\"}", claims));
    }
}

#[test]
fn u4_a_huge_token_is_invalid() {
    let host = host();
    assert_refused(&host, &"x".repeat(1 << 20));
    assert_refused(&host, &".".repeat(1 << 20));
    let mut claims = ann();
    claims["long"] = json!("x".repeat(8 << 10));
    assert_refused(&host, &signed(&claims));
    let deep = format!("{{\"sub\":\"ann\",\"x\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
    assert_refused(&host, &sealed("{\"alg\":\"HS256\"}", &deep));
}

#[test]
fn a_named_key_checks_the_tokens_that_name_it() {
    let host = FakeHost::new().config("secret-new", SECRET).config("secret-old", &SECRET.to_uppercase());
    let named = |name: &str, secret: &str| {
        let header = json!({"alg": "HS256", "kid": name}).to_string();
        Key::Hs256(secret).seal(&header, &ann().to_string())
    };
    assert_eq!(enter(&host, &named("new", SECRET)), Ok("ann".into()));
    assert_eq!(enter(&host, &named("old", &SECRET.to_uppercase())), Ok("ann".into()));
    assert_refused(&host, &named("old", SECRET));
    assert_refused(&host, &named("other", SECRET));
    assert_refused(&host, &token());
    // A key without a name checks tokens whatever name they have.
    assert_eq!(enter(&self::host(), &named("other", SECRET)), Ok("ann".into()));
}
