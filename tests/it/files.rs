//! Files: scenarios A5 and A22 with the first-party plugin `files`, and the folder that a plugin may read.
//!
//! The folder is one of the test's own, beside the server's; what lies around it must stay out of reach.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use switchboard_harness::{Client, Received, TestServer};
use tempfile::TempDir;

use crate::fixtures::start;

/// A folder with files to read, in one with others.
fn folders() -> TempDir {
    let outer = tempfile::tempdir().expect("a folder can be made");
    let data = outer.path().join("data");
    fs::create_dir_all(data.join("inner")).expect("a folder can be made");
    for (file, content) in [("secret", "secret"), ("data/open", "open"), ("data/inner/file", "inner")] {
        fs::write(outer.path().join(file), content).expect("a file can be written");
    }
    outer
}

/// A component on `/ws` that may read this folder.
fn serving(component: &str, files: &Path) -> TestServer {
    start(&format!(
        r#"
        [plugins.{component}]
        path = "{component}.wasm"
        files = "{}"

        [[route]]
        path = "/ws"
        handler = "{component}"
        "#,
        files.display()
    ))
}

#[tokio::test]
async fn a_plugin_reads_the_files_of_its_folder_and_changes_none() {
    let outer = folders();
    let data = outer.path().join("data");
    let server = serving("reader", &data);
    let mut ann = server.connect("/ws").await;
    for (asked, answer) in [
        ("read /open", "open"),
        ("read open", "open"),
        ("read /inner/file", "inner"),
        ("read inner/../open", "open"),
        ("list /", "inner open"),
        ("read /missing", "entity not found"),
        ("write /open", "permission denied"),
        ("write /new", "permission denied"),
        ("remove /open", "permission denied"),
    ] {
        ann.send(asked).await;
        assert_eq!(ann.text().await, answer, "{asked}");
    }
    assert_eq!(fs::read_to_string(data.join("open")).expect("it is there"), "open");
}

#[tokio::test]
async fn nothing_outside_of_the_folder_can_be_reached() {
    let outer = folders();
    let data = outer.path().join("data");
    symlink(outer.path().join("secret"), data.join("absolute-link")).expect("a link can be made");
    symlink("../secret", data.join("relative-link")).expect("a link can be made");
    symlink("..", data.join("folder-link")).expect("a link can be made");
    symlink("/", data.join("root-link")).expect("a link can be made");
    symlink("open", data.join("inside-link")).expect("a link can be made");
    let server = serving("reader", &data);
    let mut ann = server.connect("/ws").await;
    ann.send("read /inside-link").await;
    ann.expect_text("open").await;
    let absolute = outer.path().join("secret").display().to_string();
    for path in [
        "../secret",
        "/../secret",
        "inner/../../secret",
        "/inner/../../secret",
        &absolute,
        "/absolute-link",
        "/relative-link",
        "/folder-link/secret",
        "/root-link/etc/passwd",
        "/etc/passwd",
        "../../../../../../../../etc/passwd",
    ] {
        ann.send(&format!("read {path}")).await;
        let answer = ann.text().await;
        assert!(["permission denied", "entity not found"].contains(&answer.as_str()), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_plugin_without_a_folder_sees_no_files() {
    let server = crate::fixtures::serving("reader");
    let mut ann = server.connect("/ws").await;
    let config = server.folder().join("switchboard.toml");
    for asked in
        ["read /etc/passwd", "read switchboard.toml", &format!("read {}", config.display()), "list /", "list ."]
    {
        ann.send(asked).await;
        let answer = ann.text().await;
        assert_eq!(answer, "entity not found", "{asked}");
    }
}

/// How long pieces of a file are, by the `files` plugin.
const PIECE: usize = 8192;

/// The byte of a large file at this place: neighbors differ, and so do pieces.
fn byte(at: usize) -> u8 {
    (at % 251) as u8 ^ (at / PIECE) as u8
}

/// A folder with one file of this length.
fn file(length: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let content: Vec<u8> = (0..length).map(byte).collect();
    fs::write(folder.path().join("some file.bin"), content).expect("a file can be written");
    folder
}

/// Takes the next piece, which must be the part of the file from there on; gives its length.
async fn expect_piece(ann: &mut Client, from: usize) -> usize {
    let piece = ann.binary().await;
    let wrong = piece.iter().enumerate().find(|(index, found)| **found != byte(from + index));
    assert!(wrong.is_none(), "the piece from {from} on differs: {wrong:?}");
    piece.len()
}

#[tokio::test]
async fn a5_a_file_comes_in_pieces_and_then_the_close() {
    let folder = file(20_480);
    let server = serving("files", folder.path());
    let mut ann = server.connect("/ws?name=some%20file.bin").await;
    for (from, length) in [(0, 8192), (8192, 8192), (16_384, 4096)] {
        assert_eq!(expect_piece(&mut ann, from).await, length);
    }
    ann.expect_close(1000, "").await;
}

#[tokio::test]
async fn a5_what_is_no_file_is_not_found() {
    let outer = folders();
    let server = serving("files", &outer.path().join("data"));
    for name in ["?name=missing", "?name=../secret", "?name=/open", "?name=inner", "?name=", ""] {
        server.connect(&format!("/ws{name}")).await.expect_close(1008, "File not found").await;
    }
    let mut ann = server.connect("/ws?name=inner/file").await;
    ann.expect_binary(b"inner").await;
    ann.expect_close(1000, "").await;
}

#[tokio::test]
async fn a22_a_file_of_100_mb_comes_whole_and_in_order_to_a_client_that_reads_late() {
    const LENGTH: usize = 100 * 1024 * 1024;
    const SMALLER: usize = 4 * 1024 * 1024;
    let (folder, other) = (file(LENGTH), file(SMALLER));
    fs::rename(other.path().join("some file.bin"), folder.path().join("smaller")).expect("a file can be moved");
    let server = serving("files", folder.path());
    let mut ann = server.connect("/ws?name=some%20file.bin").await;
    // Ann does not read while bob reads, who is not held up by her.
    let mut bob = server.connect("/ws?name=smaller").await;
    for from in (0..SMALLER).step_by(PIECE) {
        assert_eq!(expect_piece(&mut bob, from).await, PIECE);
    }
    bob.expect_close(1000, "").await;
    // What was written to her lies in the buffers of her socket, and no more than a mailbox waits behind it.
    let written = server.metrics().messages_out.get() as usize - SMALLER / PIECE;
    assert!(written < LENGTH / PIECE / 2, "{written} pieces were written to a client that does not read");
    for from in (0..LENGTH).step_by(PIECE) {
        assert_eq!(expect_piece(&mut ann, from).await, PIECE);
    }
    assert_eq!(ann.receive().await, Received::Close(1000, String::new()));
    assert_eq!(server.metrics().faults.get() + server.metrics().slow_consumers.get(), 0);
}
