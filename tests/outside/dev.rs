//! `switchboard dev` while somebody edits a plugin: what is saved is live in the connection that is open already.
//!
//! Each test has a project of its own and waits for what `dev` says of an edit. What the connection answers then is asked
//! on the socket that was opened before the first one.

use std::fs;

use crate::client::Client;
use crate::project::Project;
use crate::switchboard::{Server, example_component, run, switchboard};

/// A handler that answers with this word in front.
fn source(word: &str) -> String {
    format!(
        "use switchboard_sdk::{{Close, Connection, Handler, Message, export}};

#[derive(Default)]
struct Answer;

impl Handler for Answer {{
    type State = ();
    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {{
        Ok(connection.send_text(format!(\"{word} {{}}\", message.text()?))?)
    }}
}}
export!(Answer);
"
    )
}

/// A project that answers with "one", served, and a connection to it.
fn start(name: &str) -> (Project, Server, Client) {
    start_watching(name, "src")
}

/// The same, with another path in place of `watch = ['src']`.
fn start_watching(name: &str, watched: &str) -> (Project, Server, Client) {
    let project = Project::with_plugin(name, &source("one"));
    project.replace("switchboard.toml", "watch = ['src']", &format!("watch = ['{watched}']"));
    let server = Server::dev(project.folder());
    let mut client = Client::connect(server.address, "/ws");
    assert_eq!(client.ask("hi"), "one hi");
    (project, server, client)
}

#[test]
fn an_edit_is_live_in_the_open_connection() {
    let (project, mut server, mut client) = start("dev_edit");
    for word in ["two", "three", "four"] {
        project.write("src/lib.rs", source(word));
        server.program.expect("reloaded");
        assert_eq!(client.ask("hi"), format!("{word} hi"));
    }
}

#[test]
fn a_compile_error_is_shown_and_the_old_code_goes_on() {
    let (project, mut server, mut client) = start("dev_error");
    project.write("src/lib.rs", source("two").replace("message.text()?", "mesage.text()?"));
    server.program.expect("cannot find value `mesage` in this scope");
    server.program.expect("src/lib.rs:9:");
    server.program.expect("the old code goes on");
    assert_eq!(client.ask("hi"), "one hi");
    project.write("src/lib.rs", source("three"));
    server.program.expect("reloaded");
    assert_eq!(client.ask("hi"), "three hi");
}

#[test]
fn a_component_that_is_deleted_and_made_again_is_picked_up() {
    let project = Project::with_plugin("dev_delete", &source("one"));
    let configured = fs::read_to_string(project.path("switchboard.toml")).expect("it was written");
    project.write("switchboard.toml", configured + "\n[plugins.sign]\npath = 'sign.wasm'\n");
    project.write("sign.wasm", fs::read(example_component("echo")).expect("the example was built"));
    let mut server = Server::dev(project.folder());
    let mut client = Client::connect(server.address, "/ws");
    let one = fs::read(project.component()).expect("it was built");
    project.write("src/lib.rs", source("two"));
    server.program.expect("reloaded");

    fs::remove_file(project.component()).expect("it was built");
    // Once a later change of another file was seen, the deletion was seen too.
    project.write("sign.wasm", &one);
    server.program.expect("reloaded");
    assert_eq!(client.ask("hi"), "two hi");
    fs::write(project.component(), one).expect("its folder is there");
    server.program.expect("reloaded");
    assert_eq!(client.ask("hi"), "one hi");
}

/// Most editors write a new file and rename it over the old one; some move the old one out of the way first.
#[test]
fn a_save_by_rename_is_noticed() {
    let (project, mut server, mut client) = start("dev_rename");
    project.write("src/.lib.rs.new", source("two"));
    fs::rename(project.path("src/.lib.rs.new"), project.path("src/lib.rs")).expect("both are in one folder");
    server.program.expect("reloaded");
    assert_eq!(client.ask("hi"), "two hi");

    fs::rename(project.path("src/lib.rs"), project.path("src/lib.rs~")).expect("both are in one folder");
    project.write("src/lib.rs", source("three"));
    fs::remove_file(project.path("src/lib.rs~")).expect("it was moved there");
    server.program.expect("reloaded");
    assert_eq!(client.ask("hi"), "three hi");
}

/// As the examples name the plugins beside them.
#[test]
fn a_source_that_is_named_through_the_parent_folder_is_watched() {
    let (project, mut server, mut client) = start_watching("dev_parent", "../dev_parent/src");
    project.write("src/lib.rs", source("two"));
    server.program.expect("reloaded");
    assert_eq!(client.ask("hi"), "two hi");
}

#[test]
fn a_single_file_is_watched_through_saves_by_rename() {
    let (project, mut server, mut client) = start_watching("dev_file", "src/lib.rs");
    for word in ["two", "three"] {
        project.write("src/new.rs", source(word));
        fs::rename(project.path("src/new.rs"), project.path("src/lib.rs")).expect("both are in one folder");
        server.program.expect("reloaded");
        assert_eq!(client.ask("hi"), format!("{word} hi"));
    }
}

#[test]
fn a_source_that_is_not_there_is_said_before_anything_is_built_or_served() {
    let project = Project::with_plugin("dev_no_source", &source("one"));
    project.replace("switchboard.toml", "watch = ['src']", "watch = ['scr']");
    let ended = run(switchboard("dev", project.folder()).args(["--listen", "127.0.0.1:0"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let path = project.path("scr");
    let said = format!("error: plugin dev_no_source: `watch` names {}, which cannot be watched: ", path.display());
    assert!(ended.stderr.starts_with(&said), "{}", ended.stderr);
}
