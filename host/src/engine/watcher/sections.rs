//! Whether a file ends in the middle of WebAssembly.
//!
//! A component is a header of eight bytes and sections that say how long they are, so a file that was written in part
//! ends before its last section does. Only the heads of sections are read. What is no WebAssembly at all is not judged
//! here: it is not half of anything, and loading it says what it is.
//! Invariant: a component that is whole is never taken for a part of one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What every binary of WebAssembly begins with, before its version.
const MAGIC: &[u8] = b"\0asm";
/// Magic number and version.
const HEADER: u64 = 8;
/// A section's id, and its length in at most five bytes of seven bits.
const SECTION_HEAD: usize = 6;
/// More sections than any compiler makes; a file with more is read whole by whoever loads it, and not here.
const MAX_SECTIONS: usize = 100_000;

/// Whether more must follow what the file holds. An empty file and a bare header count as cut short.
pub fn is_cut_short(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    let found = read_at(&file, &mut magic, 0)?;
    if magic[..found] != MAGIC[..found] {
        return Ok(false);
    }
    if length <= HEADER {
        return Ok(true);
    }
    let mut at = HEADER;
    for _ in 0..MAX_SECTIONS {
        match section_end(&file, at)? {
            End::At(end) if end < length => at = end,
            End::At(end) => return Ok(end > length),
            End::Missing => return Ok(true),
            End::Malformed => return Ok(false),
        }
    }
    Ok(false)
}

enum End {
    At(u64),
    /// The file ends within the section's head.
    Missing,
    Malformed,
}

fn section_end(file: &File, at: u64) -> io::Result<End> {
    let mut head = [0; SECTION_HEAD];
    let found = read_at(file, &mut head, at)?;
    let mut size = 0_u64;
    for (index, byte) in head[..found].iter().enumerate().skip(1) {
        size |= u64::from(byte & 0x7f) << (7 * (index - 1));
        if byte & 0x80 == 0 {
            return Ok(End::At(at + index as u64 + 1 + size));
        }
    }
    Ok(if found < SECTION_HEAD { End::Missing } else { End::Malformed })
}

/// Reads as much as there is, up to the buffer's size.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with three custom sections, one of them longer than seven bits can say.
    fn component() -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for length in [3_usize, 200, 1] {
            bytes.push(0);
            bytes.extend(if length < 128 { vec![length as u8] } else { vec![length as u8 & 0x7f | 0x80, 1] });
            bytes.extend(vec![0; length]);
        }
        bytes
    }

    fn cut(bytes: &[u8]) -> bool {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("it can be written");
        is_cut_short(file.path()).expect("it can be read")
    }

    #[test]
    fn each_beginning_of_a_component_is_cut_short_but_for_whole_sections() {
        let whole = component();
        let ends = [13, 216];
        for length in (0..whole.len()).filter(|length| !ends.contains(length)) {
            assert!(cut(&whole[..length]), "the first {length} bytes");
        }
        assert!(!cut(&whole));
    }

    #[test]
    fn what_is_no_webassembly_is_not_half_of_any() {
        assert!(!cut(b"fn main() {}"));
        assert!(!cut(b"\0\0"));
        assert!(!cut(b"\0asm\x0d\0\x01\0\0\xff\xff\xff\xff\xff\xff"), "a length has at most five bytes");
    }
}
