//! The gate against the fake host: who gets in, and everything else that a client or an operator may come with.
//!
//! Tokens are signed here, by the crates that check them, and some were by OpenSSL. Rules about times are tested at a given
//! time, without a clock.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;
use switchboard_sdk::testing::{FakeHost, FakeRequest, expect_fault};

use super::*;

mod admission;
mod claims;
mod configuration;
#[path = "../tests/keys/sign.rs"]
mod sign;
mod signatures;

use sign::{EC_PRIVATE, EC_PUBLIC, KEYS, Key, RSA_PUBLIC, SECRET, encode};

const SMALL_RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCrFHlGrxQ7Yt6iZmkIUnxVpvQS
LObgcqhE5tSsdhnG43hlniFwCKomDqAs1zAzT/mO0P2jBEInF5SlEGU6GBYiOtz9
DDcdN+BNPsDCZB3SEbwHYL+vfPLSIUGgzCRJW72wW9wQlZpFFI1/9ale3rkE7Czg
LpP1Tp9DX54TPmz1sQIDAQAB
-----END PUBLIC KEY-----
";

/// Tokens of ann, good until the year 2100, that OpenSSL signed with the keys of the tests.
const BY_OPENSSL: [&str; 3] = [
    "eyJ0eXAiOiAiSldUIiwgImFsZyI6ICJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.I1DvPtoyB7x_7N0pnoGC9R5UaI-h09V_kT8RqsC0Sn0",
    "eyJ0eXAiOiAiSldUIiwgImFsZyI6ICJSUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.rzA1zGUgT81X7Ka3LSzi85D3cTOrwFXiDdg7NL46AQAj4OxkxP9plSw3ky4cW_2t-i6BpECopewUEOjP3_ZmInfmBlnctCkwrsCa2ylrWfIDE4wykFLcHdFavH_6-FQo7-PuvZFffkgdr5sR-eGv4UzsbAAgZD3zIAY8zZsmy-6ZmlL5RTjCsaE-4W7T-VaPqh4QCpO4XHZTy8ToP2_hZiT2Us5Tc2y_aDR9Nr8gTTmfffk88RtZDBAGJFgdYrpAJsdFmq9fS619tUsDAwc9SH9gJyIE0edWP9dSC8z2NLZ1seJ1nASoQOb-UAhmq72aZ-H_VTi_09uVkpqCQ6F1zQ",
    "eyJ0eXAiOiAiSldUIiwgImFsZyI6ICJFUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.K3UCOw-MLg0ovKcT6VQU_Uae4HdN--LrjryGAOZzKfhqv0acfthp7FwYUcTqKe3JusK7KoZ9cxR4FGcsYR877g",
];

/// The time of the tests that give one.
const NOW: u64 = 1_800_000_000;

fn host() -> FakeHost {
    FakeHost::new().config("secret", SECRET)
}

fn with_public_key(pem: &str) -> FakeHost {
    FakeHost::new().config("public-key", pem)
}

/// A host whose only key checks what this one signs.
fn host_for(key: Key) -> FakeHost {
    match key {
        Key::Hs256(secret) => FakeHost::new().config("secret", secret),
        Key::Rs256 => with_public_key(RSA_PUBLIC),
        Key::Es256 => with_public_key(EC_PUBLIC),
    }
}

/// A token signed with the secret.
fn signed(claims: &serde_json::Value) -> String {
    sealed("{\"alg\":\"HS256\"}", &claims.to_string())
}

/// The same with any header, and with claims as they are written.
fn sealed(header: &str, claims: &str) -> String {
    Key::Hs256(SECRET).seal(header, claims)
}

fn ann() -> serde_json::Value {
    json!({"sub": "ann", "exp": now() + 600})
}

/// A token of ann, signed with the secret.
fn token() -> String {
    signed(&ann())
}

/// A connect with a token in its header; gives the user that the handler would find.
fn enter(host: &FakeHost, token: &str) -> Result<String, Refusal> {
    let connection = host.connection(FakeRequest::new("/ws").header("Authorization", &format!("Bearer {token}")));
    let outcome = connection.connect_gate::<AuthJwt>();
    let user = connection.state::<String>("user");
    assert_eq!(user.is_some(), outcome.is_ok(), "a user is set for who gets in, and for nobody else");
    outcome.map(|_| user.unwrap_or_default())
}

#[track_caller]
fn assert_refused(host: &FakeHost, token: &str) {
    assert_eq!(enter(host, token), Err(Close::policy("Invalid token").into()), "{token:.200}");
}

/// What the policy says of claims at the time of the tests.
fn judge(policy: &Policy, claims: &serde_json::Value) -> Result<String, Rejection> {
    let claims = claims.as_object().unwrap().clone();
    policy.check(claims, NOW).map(|claims| claims.user)
}

fn policy() -> Policy {
    Policy { issuer: None, audience: None, user_claim: "sub".into(), leeway: 60 }
}
