//! The configuration of a server that runs: edited in place and by rename, read again at SIGHUP, refused as `check` refuses it.
//!
//! What is applied and what is not is tried out in `it::reconfigure`; here it is the file, the signal and the log.

use std::fs;

use crate::client::Client;
use crate::program::Program;
use crate::project::Project;
use crate::switchboard::{Server, example_component, run, switchboard};

const APPLIED: &str = "the configuration was applied";

/// The echo on this path.
fn serving(path: &str) -> String {
    format!("[plugins.echo]\npath = 'echo.wasm'\n\n[[route]]\npath = '{path}'\nhandler = 'echo'\n")
}

fn project(name: &str) -> Project {
    let project = Project::new(name);
    project.write("echo.wasm", fs::read(example_component("echo")).expect("the example was built"));
    project.write("switchboard.toml", serving("/one"));
    project
}

/// The log's lines have colors only in a terminal.
fn applied(program: &mut Program) {
    program.expect(APPLIED);
}

#[test]
fn l7_an_edit_is_applied_while_connections_go_on() {
    let project = project("configuration_edited");
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/one");
    project.write("switchboard.toml", serving("/two"));
    applied(&mut server.program);
    let mut bob = Client::connect(server.address, "/two");
    project.write("new.toml", serving("/three"));
    fs::rename(project.path("new.toml"), project.path("switchboard.toml")).expect("it can be renamed");
    applied(&mut server.program);
    let mut cy = Client::connect(server.address, "/three");
    for client in [&mut ann, &mut bob, &mut cy] {
        assert_eq!(client.ask("hi"), "hi");
    }
}

#[test]
fn l7_sighup_has_the_file_read_again_and_ends_nothing() {
    let project = project("configuration_hangup");
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/one");
    for _ in 0..3 {
        server.program.signal("HUP");
        applied(&mut server.program);
        assert_eq!(ann.ask("hi"), "hi");
    }
}

#[test]
fn l7_an_edit_that_is_wrong_is_said_as_check_says_it_and_changes_nothing() {
    let project = project("configuration_wrong");
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/one");
    project.write("switchboard.toml", serving("/two").replace("'echo'", "'ecko'"));
    let logged = server.program.expect("the configuration was not applied");
    let checked = run(&mut switchboard("check", project.folder()));
    let reason = checked.stderr.strip_prefix("error: ").expect("it is wrong").trim_end();
    assert!(reason.ends_with("switchboard.toml:6:handler: there is no plugin `ecko`; there are: echo"), "{reason}");
    assert!(logged.ends_with(reason), "{logged}\nshould end with {reason}");
    server.program.signal("HUP");
    server.program.expect(reason);
    assert_eq!(ann.ask("hi"), "hi");
    assert_eq!(Client::connect(server.address, "/one").ask("hi"), "hi");
    project.write("switchboard.toml", serving("/two"));
    applied(&mut server.program);
    assert_eq!(Client::connect(server.address, "/two").ask("hi"), "hi");
}
