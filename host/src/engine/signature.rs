//! Signatures of plugin files: whether one of the listed keys stands for a file.
//!
//! A signature lies beside its file, `chat.wasm.sig`: the 64 bytes of an Ed25519 signature (RFC 8032) of the whole file, as they are
//! or in base64. Asked by `engine/compile` before anything else looks into the file. The only door to ring in here.
//! Invariant: what is taken under keys is the content that was checked, not the file of the same name a moment later.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::config::Keys;

/// The length of a signature.
const LENGTH: usize = 64;
/// No signature file is longer.
const MAX_FILE: u64 = 1024;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// There is no signature.
    #[error("there is no signature {0}; sign the file with a key of `keys`")]
    Missing(String),
    /// It cannot be read.
    #[error("its signature {0} cannot be read: {1}")]
    Unreadable(String, io::Error),
    /// It is none.
    #[error("{0} is no signature; it has 64 bytes, or these in base64")]
    Malformed(String),
    /// Nobody who is listed has signed this content.
    #[error("the signature {0} is not one of this content by any key of `keys`")]
    Foreign(String),
}

/// Where the signature of a file lies.
pub fn file_of(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Checks the content of a file against its signature.
pub fn check(component: &Path, content: &[u8], keys: &Keys) -> Result<(), NotSigned> {
    if keys.is_empty() {
        return Ok(());
    }
    let file = file_of(component);
    let shown = file.display().to_string();
    let signature = read(&file, &shown)?;
    let is_by = |key: &[u8; 32]| UnparsedPublicKey::new(&ED25519, key).verify(content, &signature).is_ok();
    keys.iter().any(is_by).then_some(()).ok_or(NotSigned::Foreign(shown))
}

fn read(file: &Path, shown: &str) -> Result<Vec<u8>, NotSigned> {
    let length = match fs::metadata(file) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NotSigned::Missing(shown.to_owned())),
        Err(error) => return Err(NotSigned::Unreadable(shown.to_owned(), error)),
    };
    let malformed = || NotSigned::Malformed(shown.to_owned());
    if length > MAX_FILE {
        return Err(malformed());
    }
    let bytes = fs::read(file).map_err(|error| NotSigned::Unreadable(shown.to_owned(), error))?;
    if bytes.len() == LENGTH {
        return Ok(bytes);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    let decoded = Base64::decode_vec(text.trim()).map_err(|_| malformed())?;
    (decoded.len() == LENGTH).then_some(decoded).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed is a key")
    }

    fn keys(pairs: &[&Ed25519KeyPair]) -> Keys {
        let public = |pair: &&Ed25519KeyPair| pair.public_key().as_ref().try_into().expect("32 bytes");
        Keys::new(pairs.iter().map(public).collect())
    }

    #[test]
    fn a_file_is_taken_with_a_signature_of_its_content_by_a_listed_key() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("chat.wasm");
        let (own, other) = (pair(1), pair(2));
        let signature = own.sign(b"content");
        let sign = |bytes: &[u8]| fs::write(file_of(&file), bytes).expect("it can be written");
        let refused = |content: &[u8], keys: &Keys| check(&file, content, keys).err().map(|error| error.to_string());
        let says =
            |content: &[u8], keys: &Keys, word: &str| refused(content, keys).is_some_and(|why| why.contains(word));
        assert_eq!(refused(b"content", &Keys::default()), None, "where there are no keys");
        assert!(says(b"content", &keys(&[&own]), "there is no signature"));
        for form in
            [signature.as_ref().to_vec(), format!("{}\n", Base64::encode_string(signature.as_ref())).into_bytes()]
        {
            sign(&form);
            assert_eq!(refused(b"content", &keys(&[&other, &own])), None);
            assert!(says(b"contents", &keys(&[&own]), "is not one of this content"));
            assert!(says(b"content", &keys(&[&other]), "is not one of this content"));
        }
        for malformed in [&b""[..], b"x", &signature.as_ref()[1..], &[b'A'; 2000]] {
            sign(malformed);
            assert!(says(b"content", &keys(&[&own]), "is no signature"));
        }
    }
}
