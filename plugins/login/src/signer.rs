//! Signs tokens (RFC 7519) with HS256, for the gate `auth-jwt` with the same secret.
//!
//! Configuration: `secret`, a text of at least 32 bytes; `token-seconds`, how long a token is good, 1 to 86,400 and 60 by default,
//! since it is needed for no longer than it takes to connect; `issuer` and `audience`, which become `iss` and `aud`.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use switchboard_sdk::config;

/// As long as the hash (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;
const DEFAULT_SECONDS: u64 = 60;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

pub struct Signer {
    key: Hmac<Sha256>,
    issuer: Option<String>,
    audience: Option<String>,
    /// How long a token is good, in seconds.
    seconds: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl Signer {
    /// Reads the configuration; panics where it is none.
    pub fn configured() -> Self {
        let secret = config::get("secret").unwrap_or_default();
        assert!(
            secret.len() >= SECRET_BYTES,
            "\"secret\" has {} bytes, and {SECRET_BYTES} are the least",
            secret.len()
        );
        let seconds = config::parse("token-seconds").unwrap_or(DEFAULT_SECONDS);
        assert!((1..=86_400).contains(&seconds), "\"token-seconds\" is 1 to 86400, not {seconds}");
        let key = Hmac::new_from_slice(secret.as_bytes()).expect("a key of HMAC has any length");
        Self { key, issuer: config::get("issuer"), audience: config::get("audience"), seconds }
    }

    /// A token for this user from this time on, in seconds since the Unix epoch.
    pub fn sign(&self, user: &str, now: u64) -> String {
        let (iss, aud) = (self.issuer.as_deref(), self.audience.as_deref());
        let claims = Claims { sub: user, iat: now, exp: now + self.seconds, iss, aud };
        let claims = serde_json::to_vec(&claims).expect("texts and numbers can be JSON");
        let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(&claims));
        let signature = self.key.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", encode(&signature))
    }
}

fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}
