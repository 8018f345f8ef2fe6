//! `switchboard dev` while somebody edits a plugin: what is saved is live in the connection that is open already.
//!
//! Each test has a project of its own and waits for what `dev` says of an edit. What the connection answers then is asked
//! on the socket that was opened before the first one.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::client::Client;
use crate::program::PATIENCE;
use crate::project::Project;
use crate::switchboard::{Server, bare, example_component, run, switchboard};

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

/// Two plugins, one beside the other, each made by a script of its own that copies the echo, followed by what the test
/// wrote to the plugin's `source`. What it does besides, a test writes to the plugin's `also`.
fn scripted(name: &str) -> Project {
    let echo = example_component("echo");
    let project = Project::new(name);
    let mut configuration = String::new();
    for plugin in ["left", "right"] {
        project.write(&format!("{plugin}/source"), section("one"));
        project.write(&format!("{plugin}/also"), "");
        project.write(
            &format!("{plugin}.sh"),
            format!("set -e\n. ./{plugin}/also\ncat {} {plugin}/source > {plugin}.wasm\n", echo.display()),
        );
        configuration += &format!(
            "[plugins.{plugin}]\npath = '{plugin}.wasm'\nbuild = 'sh {plugin}.sh'\nwatch = ['{plugin}']\n[[route]]\npath = '/{plugin}'\nhandler = '{plugin}'\n"
        );
    }
    project.write("switchboard.toml", configuration);
    project
}

/// A section of a component that means nothing, and makes it another one.
fn section(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    [&[0, length + 1, length], text.as_bytes()].concat()
}

/// The process group of a build that its plugin's `also` lets hang.
fn hanging(project: &Project) -> String {
    project.write("left/also", "echo $$ > group.new; mv group.new group; sleep 1000 & sleep 1000");
    let deadline = Instant::now() + PATIENCE;
    while !project.path("group").exists() {
        assert!(Instant::now() < deadline, "the build does not start");
        std::thread::yield_now();
    }
    fs::read_to_string(project.path("group")).expect("it was moved there").trim().to_owned()
}

/// Waits until all processes of a group have ended.
fn gone(group: &str) {
    let deadline = Instant::now() + PATIENCE;
    let line = format!("kill -0 -- -{group} 2>/dev/null");
    while Command::new("sh").args(["-c", &line]).status().expect("there is a shell").success() {
        assert!(Instant::now() < deadline, "the group {group} still runs");
    }
}

#[test]
fn a_reload_is_one_line_that_says_what_it_took() {
    let project = scripted("dev_line");
    let mut server = Server::dev(project.folder());
    let _client = Client::connect(server.address, "/left");
    project.write("left/source", section("two"));
    let line = server.program.expect("left reloaded");
    for part in ["left/source", "build ", "compile ", "swap ", " ms", "1 open connection"] {
        assert!(line.contains(part), "no `{part}`: {line}");
    }
    assert!(!line.contains('\x1b'), "no colors, since it is no terminal: {line}");
    server.program.signal("TERM");
    let ended = server.program.finish();
    assert_eq!(ended.stderr.matches("reloaded").count(), 1, "{}", ended.stderr);
}

#[test]
fn each_plugin_has_its_own_build_and_sources() {
    let project = scripted("dev_several");
    let mut server = Server::dev(project.folder());
    project.write("right/source", section("two"));
    assert!(server.program.expect("reloaded").starts_with("right "));
    project.write("left/source", section("three"));
    assert!(server.program.expect("reloaded").starts_with("left "));
}

#[test]
fn a_newer_edit_cancels_the_build_and_all_its_processes() {
    let project = scripted("dev_cancel");
    let mut server = Server::dev(project.folder());
    let group = hanging(&project);
    // Another plugin does not wait for it.
    project.write("right/source", section("two"));
    server.program.expect("right reloaded");
    server.program.expect("left still builds  `sh left.sh` has been running for");
    project.write("left/source", section("two"));
    project.write("left/also", "");
    server.program.expect("left reloaded");
    gone(&group);
}

#[test]
fn the_end_of_dev_ends_a_build_that_runs() {
    let project = scripted("dev_end");
    let server = Server::dev(project.folder());
    let group = hanging(&project);
    server.program.signal("INT");
    assert_eq!(server.program.finish().code, Some(0));
    gone(&group);
}

#[test]
fn a_broken_build_is_shown_once_and_its_repair_too() {
    let project = scripted("dev_broken");
    let mut server = Server::dev(project.folder());
    project.write("left/also", "echo this is wrong; exit 3");
    server.program.expect("this is wrong");
    server
        .program
        .expect("left does not build  plugin left: `sh left.sh` failed (exit status: 3); the old code goes on");
    project.write("left/source", section("two"));
    server.program.expect("left still does not build");
    project.write("left/also", "echo that is wrong; exit 3");
    server.program.expect("that is wrong");
    project.write("left/also", "");
    server.program.expect("left builds again");
    server.program.expect("left reloaded");
    server.program.signal("TERM");
    let ended = server.program.finish();
    assert_eq!(ended.stderr.matches("this is wrong").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_build_command_that_is_missing_and_one_that_writes_nothing_are_named() {
    let project = scripted("dev_nothing");
    let mut server = Server::dev(project.folder());
    let mut client = Client::connect(server.address, "/left");
    project.write("left/also", "no-such-tool-anywhere");
    server.program.expect("no-such-tool-anywhere");
    server.program.expect("a program of `sh left.sh` was not found or cannot be run (exit status 127)");
    project.write("left/also", "exit 0");
    let path = project.path("left.wasm");
    server.program.expect(&format!("its build succeeded and did not write {}", path.display()));
    project.write("left/also", "# nothing besides");
    server.program.expect("left unchanged  left/also: the new component is the same as the one that runs");
    project.write("left/also", "rm -f left.wasm; exit 0");
    server.program.expect(&format!("succeeded, but there is no {}", path.display()));
    assert_eq!(client.ask("hi"), "hi");
}

#[test]
fn a_source_folder_that_goes_and_comes_back_is_watched_again() {
    let project = scripted("dev_folder");
    let mut server = Server::dev(project.folder());
    fs::rename(project.path("left"), project.path("away")).expect("it is there");
    server.program.expect(&format!("the source {} is gone", project.path("left").display()));
    fs::rename(project.path("away"), project.path("left")).expect("it was moved there");
    server.program.expect(&format!("left unchanged  {} is back", project.path("left").display()));
    fs::remove_dir_all(project.path("left")).expect("it is there");
    project.write("left/also", "");
    project.write("left/source", section("two"));
    server.program.expect("left reloaded");
    project.write("left/source", section("three"));
    server.program.expect("left reloaded  left/source: ");
}

/// What others do to a server in `dev` is in its log, and what it does itself is one line.
#[test]
fn what_is_done_by_command_or_by_the_configuration_is_shown() {
    let project = scripted("dev_commands");
    project.replace("switchboard.toml", "[plugins.left]", "[server]\nwatch = 'off'\n[plugins.left]");
    let mut server = Server::dev(project.folder());
    let command = |words: &[&str]| assert_eq!(run(bare().args(words).arg(project.folder())).code, Some(0), "{words:?}");
    project.write("left/source", section("two"));
    server.program.expect("left reloaded  left/source: ");
    command(&["promote", "left"]);
    server.program.expect("promoted by command");
    command(&["rollback", "left"]);
    server.program.expect("rolled back by command");
    project.write("left/also", "# the same component");
    server.program.expect("was rejected before, because it was rolled back by command");
    command(&["reload", "left", "--force"]);
    server.program.expect("reloaded plugin=\"left\"");
    server.program.signal("TERM");
    let ended = server.program.finish();
    assert_eq!(ended.stderr.matches("was rejected before").count(), 1, "{}", ended.stderr);
}

#[test]
fn states_that_are_migrated_are_told_of_as_it_happens() {
    let source = |version: &str| {
        let migration = "impl switchboard_sdk::Migration for Answer {
    const VERSION: u32 = 1;
    fn migrate(&self, _: u32, _: &str, value: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(value)
    }
}
";
        let (migration, exports) =
            if version == "1" { (migration, "Answer: handler, migration") } else { ("", "Answer") };
        let source = source(version).replace("State = ()", "State = u32").replace("_: &mut ()", "state: &mut u32");
        let source = source.replace("        Ok(", "        *state += 1;\n        Ok(");
        source.replace("export!(Answer);", &format!("{migration}export!({exports});"))
    };
    let project = Project::with_plugin("dev_states", &source("0"));
    let mut server = Server::dev(project.folder());
    let mut clients = [(); 2].map(|()| Client::connect(server.address, "/ws"));
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("hi"), "0 hi"));
    project.write("src/lib.rs", source("1"));
    let line = server.program.expect("dev_states reloaded");
    assert!(
        line.ends_with("2 open connections; state 0 -> 1: each connection's is migrated at its next event"),
        "{line}"
    );
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("hi"), "1 hi"));
    server.program.expect("dev_states states  version 1: 2 migrated so far");
    let shown = run(bare().arg("plugins").arg(project.folder())).stdout;
    assert!(shown.contains("state version 1 of generation 2: 2 values migrated"), "{shown}");
}

#[test]
fn sources_and_components_can_be_polled() {
    let project = scripted("dev_poll");
    project.replace("switchboard.toml", "[plugins.left]", "[server]\nwatch = 'poll'\npoll-ms = 20\n[plugins.left]");
    let mut server = Server::dev(project.folder());
    project.write("left/source", section("two"));
    server.program.expect("left reloaded");
    let other = [fs::read(example_component("echo")).expect("it was built"), section("three")].concat();
    project.write("right.wasm", other);
    server.program.expect("right reloaded  right.wasm: compile");
}

/// Whoever copies a component over a slow network may take longer between two pieces than a file is quiet that is complete.
#[test]
fn a_component_that_comes_in_pieces_is_taken_whole_and_without_a_complaint() {
    let project = scripted("pieces");
    assert_eq!(run(&mut switchboard("build", project.folder())).code, Some(0));
    let mut server = Server::serve(project.folder());
    let mut client = Client::connect(server.address, "/left");
    let whole = [fs::read(example_component("echo")).expect("it was built"), section("two")].concat();
    project.write("left.wasm", &whole[..whole.len() / 2]);
    // Once a later change of another file was taken, the half one was seen too.
    project.write("right.wasm", &whole);
    server.program.expect("reloaded");
    assert_eq!(client.ask("hi"), "hi");
    project.write("left.wasm", &whole);
    server.program.expect("reloaded plugin=\"left\"");
    assert_eq!(client.ask("hi"), "hi");
    server.program.signal("TERM");
    let ended = server.program.finish();
    assert!(!ended.stderr.contains("not reloaded"), "{}", ended.stderr);
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

/// Cargo reads its environment; that this makes it faster is for the benchmark to see.
#[test]
fn cargo_is_told_to_build_for_somebody_who_waits() {
    let project = scripted("dev_fast");
    let told = "echo $CARGO_PROFILE_GUEST_INCREMENTAL $CARGO_PROFILE_RELEASE_LTO > told";
    project.write("left/also", told);
    let _server = Server::dev(project.folder());
    assert_eq!(fs::read_to_string(project.path("told")).expect("the build wrote it"), "true off\n");
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
