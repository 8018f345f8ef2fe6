//! WebSocket clients of other people against the echo example: what they see must be what the protocol promises.
//!
//! Each client is a script of its own in `python/` or `node/`, which says in one line what differs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::program::Program;
use crate::project::{Project, guests};
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

#[test]
fn messages_are_compressed_for_clients_that_can_do_that() {
    let echo = example("echo");
    let project = Project::new("compressing");
    let route = "[[route]]\npath = '/ws'\nhandler = 'echo'\ncompression = { threshold = 100 }\n";
    let component = guests().join("wasm32-wasip2/guest/echo.wasm");
    project.write("switchboard.toml", format!("[plugins.echo]\npath = '{}'\n\n{route}", component.display()));
    assert!(echo.is_dir(), "it is built by now");
    for script in [tools::python("echo.py"), tools::node("echo.mjs", "ws")].into_iter().flatten() {
        agrees(script, "compressed", project.folder());
    }
}

fn talks_to_echo(script: Command) {
    agrees(script, "plain", &example("echo"));
}

fn agrees(mut script: Command, how: &str, project: &Path) {
    let server = Server::serve(project);
    let script = script.arg(server.url("/ws")).arg(how);
    let ended = Program::start(script).finish_within(PATIENCE_WITH_SCRIPT);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}
