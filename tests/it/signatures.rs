//! Signatures of plugin files, for a tenant that lists keys.
//!
//! The test is the one who signs; the keys are made from seeds.

use base64ct::{Base64, Encoding};
use ring::signature::{Ed25519KeyPair, KeyPair};
use switchboard_harness::Reuse;

use crate::fixtures::{components, setup};
use crate::tenants::{SERVER, tenant};

/// A key pair, and its public half as the configuration has it.
fn signer(seed: u8) -> (Ed25519KeyPair, String) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed is a key");
    let public = Base64::encode_string(pair.public_key().as_ref());
    (pair, public)
}

#[tokio::test]
async fn a_file_without_a_signature_by_a_listed_key_is_not_taken() {
    let (own, public) = signer(1);
    let (foreign, _) = signer(2);
    let server = setup(SERVER).tenant("acme", &tenant("")).reuse(Reuse::Always).start();
    let file = server.folder().join("puppet.wasm");
    let (content, signature) = (std::fs::read(&file).expect("it is there"), file.with_extension("wasm.sig"));
    let sign = |pair: &Ed25519KeyPair, content: &[u8]| {
        std::fs::write(&signature, pair.sign(content)).expect("a signature can be written");
    };
    let signed = tenant(&format!("keys = ['{public}']"));
    let error = server.change_tenant("acme", &signed).await.expect_err("it is not signed");
    assert!(error.contains("plugin acme/puppet") && error.contains("there is no signature"), "{error}");
    sign(&foreign, &content);
    let error = server.change_tenant("acme", &signed).await.expect_err("it is signed by somebody else");
    assert!(error.contains("is not one of this content by any key"), "{error}");
    sign(&own, &content);
    server.change_tenant("acme", &signed).await.expect("it is signed");
    let mut ann = server.connect("/acme/ws").await;
    server.replace("acme/puppet", "polite_echo");
    let error = server.reload("acme/puppet").await.expect_err("the signature is that of the content before");
    assert!(error.to_string().contains("is not one of this content"), "{error}");
    ann.send("send still here").await;
    ann.expect_text("still here").await;
    sign(&own, &std::fs::read(&file).expect("it is there"));
    server.reload("acme/puppet").await.expect("it is signed");
}

#[tokio::test]
async fn a_signature_that_comes_after_its_file_has_it_taken() {
    let (own, public) = signer(1);
    let components = components();
    let signed = tenant(&format!("keys = ['{public}']"));
    let server = setup(SERVER).tenant("umbrella", &tenant("")).watch().start();
    let signature = server.folder().join("puppet.wasm.sig");
    std::fs::write(&signature, own.sign(&components.bytes("puppet"))).expect("a signature can be written");
    server.change_tenant("acme", &signed).await.expect("it is signed");
    server.replace("acme/puppet", "polite_echo");
    server.logged(|record| record.message.starts_with("not reloaded") && record.field("plugin") == "acme/puppet").await;
    std::fs::write(&signature, own.sign(&components.bytes("polite_echo"))).expect("a signature can be written");
    server.logged(|record| record.message == "reloaded" && record.field("plugin") == "acme/puppet").await;
}
