//! The path of a request: normalized, looked up among routes, and as a file below a folder.
//!
//! The input is a path, and on further lines patterns of routes. What is one path has one form, nothing in it leads anywhere
//! else, and no pattern that is taken can upset the table.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use switchboard::path::pattern::Pattern;
use switchboard::path::{decode, normalize};
use switchboard::server::fuzzing::file_below;

/// Most patterns of one input.
const MOST_PATTERNS: usize = 8;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let raw = lines.next().unwrap_or_default();
    let path = normalize(raw);
    if let Some(path) = &path {
        is_canonical(raw, path);
        is_below_its_folder(path);
    }
    for written in lines.take(MOST_PATTERNS) {
        pattern(written, path.as_deref());
    }
});

/// A normalized path is as it would be written once more, and says in each of its segments what the raw one said.
fn is_canonical(raw: &str, path: &str) {
    assert_eq!(normalize(path).as_deref(), Some(path), "it is not one form: {raw:?}");
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
    assert!(!path.contains(['?', '#', '\\', '"', '<', '>']), "{path:?}");
    let (before, after) = (raw.split('/'), path.split('/'));
    assert_eq!(before.clone().count(), after.clone().count(), "a slash came or went: {raw:?}");
    for (before, after) in before.zip(after) {
        let meant = decode(after).expect("what was encoded can be decoded");
        assert_eq!(decode(before).as_deref(), Some(meant.as_str()), "{raw:?}");
        assert!(meant != "." && meant != ".." && !meant.contains(char::is_control), "{raw:?}");
        assert_eq!(before.is_empty(), after.is_empty(), "an empty segment came or went: {raw:?}");
    }
}

fn is_below_its_folder(path: &str) {
    let folder = Path::new("/folder");
    let Some(file) = file_below(folder, path) else { return };
    let rest = file.strip_prefix(folder).expect("it lies in the folder");
    assert!(rest.components().all(|part| matches!(part, Component::Normal(_))), "{path:?} is {file:?}");
}

/// A pattern that is taken can be put into the table, and takes what it says.
fn pattern(written: &str, path: Option<&str>) {
    let Ok(pattern) = Pattern::parse(written) else { return };
    assert_eq!(Pattern::parse(&pattern.to_string()).as_ref(), Ok(&pattern), "{written:?}");
    let mut matcher = matchit::Router::new();
    matcher.insert(pattern.matcher(), ()).expect("a pattern alone is in nobody's way");
    let Some(found) = path.and_then(|path| matcher.at(path).ok()) else { return };
    if let Some(captures) = pattern.captures(found.params.iter().map(|(_, value)| value)) {
        assert_eq!(captures.len(), pattern.kinds().len(), "{written:?} {path:?}");
        assert!(captures.iter().all(|(_, value)| !value.is_empty()), "{written:?} {path:?}");
    }
}
