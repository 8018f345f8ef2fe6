//! WebSocket clients of other people against the echo example: what they see must be what the protocol promises.
//!
//! Each client is a script of its own in `python/` or `node/`, which says in one line what differs.

use std::process::Command;
use std::time::Duration;

use crate::program::Program;
use crate::switchboard::{Server, example};
use crate::tools;

/// The scripts have a deadline for each of their steps, and are to be the ones who tell.
const PATIENCE_WITH_SCRIPT: Duration = Duration::from_secs(600);

#[test]
fn the_python_package_websockets_and_the_echo_agree() {
    if let Some(script) = tools::python("echo.py") {
        talks_to_echo(script);
    }
}

#[test]
fn the_node_package_ws_and_the_echo_agree() {
    if let Some(script) = tools::node("echo.mjs", "ws") {
        talks_to_echo(script);
    }
}

fn talks_to_echo(mut script: Command) {
    let server = Server::serve(&example("echo"));
    let ended = Program::start(script.arg(server.url("/ws"))).finish_within(PATIENCE_WITH_SCRIPT);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}
