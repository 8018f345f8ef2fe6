//! Makes tokens with the keys beside this file, for the tests of `auth-jwt` alone and in a whole server.
//!
//! Header and claims are taken as they are given, since much of what is tested is what no proper signer makes.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa;
use rsa::pkcs1v15;
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::{SignatureEncoding, Signer};
use sha2::Sha256;

pub const SECRET: &str = "a secret of the tests, long enough for HS256";
pub const RSA_PUBLIC: &str = include_str!("test-only-rs256-public.pem");
pub const EC_PUBLIC: &str = include_str!("test-only-es256-public.pem");
pub const RSA_PRIVATE: &str = include_str!("test-only-rs256-private.pem");
pub const EC_PRIVATE: &str = include_str!("test-only-es256-private.pem");

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Hs256(&'a str),
    Rs256,
    Es256,
}

/// One of each, in the order HS256, RS256, ES256.
pub const KEYS: [Key<'static>; 3] = [Key::Hs256(SECRET), Key::Rs256, Key::Es256];

impl Key<'_> {
    /// A token with a header that says how it is signed.
    pub fn sign(self, claims: &str) -> String {
        let algorithm = match self {
            Key::Hs256(_) => "HS256",
            Key::Rs256 => "RS256",
            Key::Es256 => "ES256",
        };
        self.seal(&format!("{{\"alg\":\"{algorithm}\",\"typ\":\"JWT\"}}"), claims)
    }

    /// A token with any header.
    pub fn seal(self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        format!("{signed}.{}", encode(&self.signature(signed.as_bytes())))
    }

    fn signature(self, signed: &[u8]) -> Vec<u8> {
        match self {
            Key::Hs256(secret) => {
                let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is one");
                mac.chain_update(signed).finalize().into_bytes().to_vec()
            }
            Key::Rs256 => {
                let key = rsa::RsaPrivateKey::from_pkcs8_pem(RSA_PRIVATE).expect("it is one");
                pkcs1v15::SigningKey::<Sha256>::new(key).sign(signed).to_vec()
            }
            Key::Es256 => {
                let key = ecdsa::SigningKey::from_pkcs8_pem(EC_PRIVATE).expect("it is one");
                let signature: ecdsa::Signature = key.sign(signed);
                signature.to_vec()
            }
        }
    }
}

/// As the parts of a token are written.
pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}
