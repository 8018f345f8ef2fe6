//! Keys that plugin files have to be signed with.
//!
//! Written as base64 of the 32 bytes of an Ed25519 public key (RFC 8032); `engine/signature` checks with them.
//! Invariant: where there is any key, no plugin file is taken without a signature by one of them.

use std::sync::Arc;

use base64ct::{Base64, Encoding};

/// The public keys of those who may sign; none where files need no signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Arc<[[u8; 32]]>);

impl Keys {
    /// These keys.
    pub fn new(keys: Vec<[u8; 32]>) -> Self {
        Self(keys.into())
    }

    /// Reads one; none where it is not base64 of 32 bytes.
    pub fn parse(text: &str) -> Option<[u8; 32]> {
        let mut key = [0; 32];
        let read = Base64::decode(text, &mut key).ok()?;
        (read.len() == 32).then_some(key)
    }

    /// Whether files need no signature.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_base64_of_32_bytes() {
        let text = Base64::encode_string(&[7; 32]);
        assert_eq!(Keys::parse(&text), Some([7; 32]));
        for wrong in ["", "key", &text[1..], &Base64::encode_string(&[7; 31]), &Base64::encode_string(&[7; 33])] {
            assert_eq!(Keys::parse(wrong), None, "{wrong}");
        }
    }
}
