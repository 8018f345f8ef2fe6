//! The files plugin against the fake host. As plain Rust its folder is the root of this machine, so names lead to files that
//! the tests made.
//!
//! A client takes what it was sent, and is told when its mailbox is drained, until it is closed.

use std::path::PathBuf;

use switchboard_sdk::testing::{FakeConnection, FakeHost, FakeRequest, expect_fault};
use tempfile::TempDir;

use super::*;

/// A file of so many bytes, and the name that leads to it.
fn file(length: usize) -> (TempDir, String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..length).map(|index| (index / 100) as u8).collect();
    let path: PathBuf = folder.path().join("some file.bin");
    std::fs::write(&path, &content).unwrap();
    (folder, path.to_str().unwrap().trim_start_matches('/').to_owned(), content)
}

fn asking(host: &FakeHost, name: &str) -> FakeConnection {
    host.connection(FakeRequest::new("/files").param("name", name))
}

/// The lengths of the messages, and what is in all of them.
fn taken(ann: &FakeConnection) -> (Vec<usize>, Vec<u8>) {
    let messages = ann.take_received();
    let bytes = messages.iter().flat_map(|message| message.bytes().unwrap().to_vec()).collect();
    (messages.iter().map(Message::len).collect(), bytes)
}

#[test]
fn a_file_comes_in_pieces_and_then_the_close() {
    let (_folder, name, content) = file(20_480);
    let host = FakeHost::new();
    let by_query = host.connection(format!("/files?name={}", name.replace(' ', "%20")).as_str());
    for ann in [asking(&host, &name), by_query] {
        ann.connect::<Files>().unwrap();
        assert_eq!(taken(&ann), (vec![8192, 8192, 4096], content.clone()));
        assert_eq!(ann.closed(), Some(Close::normal("")));
    }
}

#[test]
fn no_more_waits_than_may_and_all_of_it_comes() {
    let length = 3 * 768 * 1024;
    let (_folder, name, content) = file(length);
    let ann = asking(&FakeHost::new(), &name);
    ann.connect::<Files>().unwrap();
    let mut received = Vec::new();
    while ann.closed().is_none() {
        // Nothing was read in between, so there is nothing to add.
        ann.drained::<Files>();
        let (pieces, bytes) = taken(&ann);
        assert_eq!(pieces, [PIECE; 96]);
        received.extend(bytes);
        ann.drained::<Files>();
    }
    assert!(received == content, "{} of {length} bytes", received.len());
}

#[test]
fn an_empty_file_is_a_close() {
    let (_folder, name, _) = file(0);
    let ann = asking(&FakeHost::new(), &name);
    ann.connect::<Files>().unwrap();
    assert_eq!((ann.take_received(), ann.closed()), (vec![], Some(Close::normal(""))));
}

#[test]
fn what_is_no_file_is_not_found() {
    let (folder, name, _) = file(1);
    let folder = folder.path().to_str().unwrap().trim_start_matches('/');
    let outside = format!("{folder}/../{folder}/some file.bin");
    for name in ["", "..", "/", folder, &format!("{name}x"), &format!("/{name}"), &outside, &format!("./{name}")] {
        let refusal = asking(&FakeHost::new(), name).connect::<Files>().unwrap_err();
        assert_eq!(refusal, Close::policy("File not found").into(), "{name}");
    }
    assert!(FakeHost::new().connection("/files").connect::<Files>().is_err());
}

#[test]
fn how_much_may_wait_is_configured() {
    let (_folder, name, _) = file(100_000);
    let ann = asking(&FakeHost::new().config("ahead-kib", "17"), &name);
    ann.connect::<Files>().unwrap();
    assert_eq!((taken(&ann).0, ann.closed()), (vec![PIECE; 2], None));
    let bad = asking(&FakeHost::new().config("ahead-kib", "4000"), &name);
    let text = expect_fault(|| drop(bad.connect::<Files>()));
    assert!(text.contains("ahead-kib"), "{text}");
}
