//! The plugin on a whole server: real sockets, the built component, and a clock that the test drives.
//!
//! What one event does by itself is tested beside the plugin; here are timers, a reload, and a fault on purpose.
//! Invariant: nothing is slept for; each wait is for something that has to happen.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use switchboard_harness::{Clock, Components, Reload, Setup, TestServer};

const CONFIGURATION: &str = r#"
[plugins.reminder]
path = "reminder.wasm"

[[route]]
path = "/ws"
handler = "reminder"
"#;

/// The component, built once for all tests of this file.
fn components() -> &'static Components {
    static BUILT: OnceLock<Components> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = "--target wasm32-wasip2 --profile guest --target-dir ../../target/guests";
        Components::build(&format!("cargo build --quiet {target}"), folder);
        Components::in_folder(folder.join("../../target/guests/wasm32-wasip2/guest"))
    })
}

/// A server whose time stands still until the test moves it.
fn start() -> TestServer {
    Setup::new(components(), CONFIGURATION).clock(Clock::manual()).start()
}

#[tokio::test]
async fn a_note_is_said_when_its_time_has_come() {
    let server = start();
    let mut ann = server.connect("/ws").await;
    ann.send("3 tea").await;
    ann.expect_text("noted").await;
    server.logged(|record| record.is_of_guest() && record.message == "a note for in 3 s").await;
    server.advance(Duration::from_secs(3));
    ann.expect_text("tea").await;
}

#[tokio::test]
async fn a_note_outlives_a_reload() {
    let server = start();
    let mut ann = server.connect("/ws").await;
    ann.send("3 tea").await;
    ann.expect_text("noted").await;
    server.replace_with("reminder", &components().rebuilt("reminder", 2));
    let reload = server.reload("reminder").await.expect("the new build is good");
    assert!(matches!(reload, Reload::Swapped { generation: 2, .. }));
    server.advance(Duration::from_secs(3));
    ann.expect_text("tea").await;
}

#[tokio::test]
async fn a_fault_ends_one_connection_and_is_in_the_log() {
    let server = start();
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    ann.send("boom").await;
    ann.expect_close(1011, "internal error").await;
    server.logged(|record| record.message.starts_with("guest fault") && record.field("plugin") == "reminder").await;
    bob.send("1 milk").await;
    bob.expect_text("noted").await;
}

#[tokio::test]
async fn what_is_no_note_is_refused_with_a_reason() {
    let server = start();
    let mut ann = server.connect("/ws").await;
    ann.send("tea").await;
    ann.expect_close(1008, "say SECONDS TEXT").await;
}
