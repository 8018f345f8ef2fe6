//! Compiled code on its way through a pipe: its length, its bytes, and their hash.
//!
//! A compiling process may end at any moment, and code that is not whole must never be run: wasmtime trusts its bytes.
//! Written by [`super::inside`], read by [`super::child`].
//! Invariant: what [`read`] gives is what [`write`] was given.

use std::io::{self, Read, Write};

/// The length comes first, in so many bytes, little-endian.
const LENGTH: usize = 8;
/// The hash comes last (BLAKE3).
const HASH: usize = blake3::OUT_LEN;

/// Writes compiled code.
pub fn write(pipe: &mut impl Write, code: &[u8]) -> io::Result<()> {
    pipe.write_all(&(code.len() as u64).to_le_bytes())?;
    pipe.write_all(code)?;
    pipe.write_all(blake3::hash(code).as_bytes())?;
    pipe.flush()
}

/// Reads to the end; none where that is not an artifact, whole, of at most `limit` bytes. Grows with what comes, never by
/// what the length claims.
pub fn read(pipe: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let most = (limit as u64).saturating_add((LENGTH + HASH) as u64);
    pipe.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(if is_whole(&bytes) && bytes.len() as u64 <= most { Some(code(bytes)) } else { None })
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return false };
    let Some((code, hash)) = rest.split_last_chunk::<HASH>() else { return false };
    u64::from_le_bytes(*length) == code.len() as u64 && blake3::hash(code) == *hash
}

/// Takes off what is around it.
fn code(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - HASH);
    bytes.drain(..LENGTH);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;

    fn written(code: &[u8]) -> Vec<u8> {
        let mut pipe = Vec::new();
        write(&mut pipe, code).expect("memory takes it");
        pipe
    }

    fn taken(pipe: &[u8]) -> Option<Vec<u8>> {
        read(pipe, LIMIT).expect("memory can be read")
    }

    #[test]
    fn what_was_written_is_read() {
        for code in [&b""[..], b"code", &[7; LIMIT]] {
            assert_eq!(taken(&written(code)).as_deref(), Some(code));
        }
    }

    #[test]
    fn what_is_not_whole_is_not_taken() {
        let whole = written(b"compiled code");
        for length in 0..whole.len() {
            assert_eq!(taken(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(taken(&[&whole[..], b"x"].concat()), None);
    }

    #[test]
    fn no_bit_of_it_may_be_another() {
        let whole = written(b"compiled code");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(taken(&damaged), None, "byte {at}");
        }
    }

    #[test]
    fn no_more_than_the_limit_is_taken() {
        assert_eq!(taken(&written(&[7; LIMIT + 1])), None);
    }
}
