//! Files: scenarios A5 and A22 with the first-party plugin `files`, and the folder that a plugin may read.
//!
//! The folder is one of the test's own, beside the server's; what lies around it must stay out of reach.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use switchboard_harness::TestServer;
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
