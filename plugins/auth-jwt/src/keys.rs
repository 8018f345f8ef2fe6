//! The keys that tokens are checked with, each made for one algorithm.
//!
//! Configuration: `secret`, a text of at least 32 bytes for HS256; `public-key`, the PEM of an RSA key of 2048 to 4096 bits for
//! RS256 or of a P-256 key for ES256. Several of them, for a change of keys, have names: `secret-NAME`, `public-key-NAME`;
//! such a key checks only tokens whose header has this name as `kid`. At most 8 keys.
//!
//! Signatures are only checked here and never made, so what is known of the timing of private RSA keys in the crate `rsa`
//! (RUSTSEC-2023-0071) does not concern this plugin: it holds none.
//! Invariant: a token's algorithm picks among the keys of that algorithm; a public key is never taken for a secret.

use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa;
use rsa::pkcs1v15;
use rsa::pkcs8::DecodePublicKey;
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use sha2::Sha256;
use switchboard_sdk::config;

use crate::token::{Rejection, Token};

/// As long as the hash (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;
/// RFC 7518, section 3.3.
const RSA_BYTES: usize = 2048 / 8;
/// Bounds what one token may cost.
const KEYS: usize = 8;

/// Makes a key of a value, or says what is wrong with it, as the rest of a sentence.
type Reader = fn(&str) -> Result<Key, String>;

enum Key {
    Hs256(Hmac<Sha256>),
    Rs256(pkcs1v15::VerifyingKey<Sha256>),
    Es256(ecdsa::VerifyingKey),
}

struct NamedKey {
    /// None checks tokens whatever key they name.
    name: Option<String>,
    key: Key,
}

/// All keys; never empty.
pub struct KeySet(Vec<NamedKey>);

impl KeySet {
    /// Reads the configuration; panics where there is no key, or one that cannot be used.
    pub fn configured() -> Self {
        let keys: Vec<NamedKey> = config::all().iter().filter_map(|(key, value)| NamedKey::read(key, value)).collect();
        assert!(!keys.is_empty(), "no key is configured: set \"secret\" or \"public-key\"");
        assert!(keys.len() <= KEYS, "{} keys are configured, and {KEYS} are the most", keys.len());
        Self(keys)
    }

    /// Whether one of them signed the token.
    pub fn verify(&self, token: &Token) -> Result<(), Rejection> {
        let mut fitting = self.0.iter().filter(|key| key.fits(token));
        if fitting.any(|named| named.key.verify(token)) { Ok(()) } else { Err(Rejection::Unsigned) }
    }
}

impl NamedKey {
    /// None for what is no key.
    fn read(setting: &str, value: &str) -> Option<Self> {
        let kinds: [(&str, Reader); 2] = [("secret", Key::secret), ("public-key", Key::public)];
        let (rest, read) = kinds.iter().find_map(|(kind, read)| Some((setting.strip_prefix(kind)?, read)))?;
        let name = match rest {
            "" => None,
            _ => Some(rest.strip_prefix('-')?.to_owned()),
        };
        match read(value) {
            Ok(key) => Some(Self { name, key }),
            Err(reason) => panic!("the configuration of \"{setting}\" {reason}"),
        }
    }

    fn fits(&self, token: &Token) -> bool {
        let is_named = self.name.is_none() || self.name == token.header.key_id;
        is_named && self.key.algorithm() == token.header.algorithm
    }
}

impl Key {
    fn secret(text: &str) -> Result<Self, String> {
        if text.contains("-----BEGIN") {
            return Err("is a PEM; set it as \"public-key\"".to_owned());
        }
        if text.len() < SECRET_BYTES {
            return Err(format!("has {} bytes; a secret for HS256 has at least {SECRET_BYTES}", text.len()));
        }
        let mac = Hmac::new_from_slice(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self::Hs256(mac))
    }

    fn public(text: &str) -> Result<Self, String> {
        // As it is indented in the configuration, and no more than that.
        let pem: String = text.lines().map(|line| format!("{}\n", line.trim())).collect();
        let pem = pem.trim();
        if pem.contains("PRIVATE KEY") {
            return Err("is a private key; this plugin needs the public one alone".to_owned());
        }
        if let Ok(key) = rsa::RsaPublicKey::from_public_key_pem(pem) {
            return match key.size() {
                RSA_BYTES.. => Ok(Self::Rs256(pkcs1v15::VerifyingKey::new(key))),
                bytes => Err(format!("is an RSA key of {} bits; RS256 needs at least 2048", bytes * 8)),
            };
        }
        let key = p256::PublicKey::from_public_key_pem(pem).map(|key| Self::Es256(key.into()));
        key.map_err(|_| "is no PEM (\"-----BEGIN PUBLIC KEY-----\") of an RSA or P-256 key".to_owned())
    }

    /// Its name in a token's header (RFC 7518, section 3.1).
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    fn verify(&self, token: &Token) -> bool {
        let (signed, signature) = (token.signed, token.signature.as_slice());
        match self {
            // Compares in constant time.
            Self::Hs256(mac) => mac.clone().chain_update(signed).verify_slice(signature).is_ok(),
            Self::Rs256(key) => {
                pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| key.verify(signed, &signature).is_ok())
            }
            Self::Es256(key) => {
                ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify(signed, &signature).is_ok())
            }
        }
    }
}
