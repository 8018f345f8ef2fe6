//! Files of the state folder that a disk has damaged: the server starts, says what it found, and serves what is still whole.
//!
//! The binary's own writes are whole or not there; here they are cut short or have one bit turned over afterwards. What the
//! cache and the archive make of each damage by itself is in their unit tests.

use std::fs;
use std::path::PathBuf;

use crate::client::Client;
use crate::guests::guest;
use crate::operator::Operator;
use crate::project::Project;
use crate::switchboard::Server;

/// A folder in which a server has served build 1, then build 2, and was told to stop.
fn project(name: &str) -> Project {
    let project = Project::new(name);
    project.write("answers.wasm", guest("answers_1"));
    project.write(
        "switchboard.toml",
        "[server]\nwatch = 'off'\n[plugins.answers]\npath = 'answers.wasm'\n[[route]]\npath = '/ws'\nhandler = 'answers'\n",
    );
    let mut server = Server::serve(project.folder());
    says(&mut server, 1);
    project.write("answers.wasm", guest("answers_2"));
    Operator::of(project.folder()).reload("answers");
    says(&mut server, 2);
    server.program.signal("TERM");
    assert_eq!(server.program.finish().code, Some(0));
    project
}

/// That this build answers.
fn says(server: &mut Server, build: usize) {
    assert_eq!(Client::connect(server.address, "/ws").ask("hi"), format!("{build} hi"));
}

/// The files of the state folder that end so.
fn files(project: &Project, folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.path(&format!(".switchboard/{folder}"))).expect("it is there");
    let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let found: Vec<_> = files.iter().filter(|path| path.to_string_lossy().ends_with(end)).cloned().collect();
    assert!(!found.is_empty(), "nothing ends with {end}: {files:?}");
    found
}

/// The first half of it.
fn cut(content: &[u8]) -> Vec<u8> {
    content[..content.len() / 2].to_vec()
}

/// One bit in the middle of it is another.
fn flip(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    content
}

fn damage(files: &[PathBuf], how: fn(&[u8]) -> Vec<u8>) {
    for file in files {
        let content = fs::read(file).expect("it is there");
        fs::write(file, how(&content)).expect("it can be written");
    }
}

/// Starts it, and gives what it says until it listens.
fn started(project: &Project, build: usize) -> String {
    let mut server = Server::serve(project.folder());
    says(&mut server, build);
    server.program.seen()
}

#[test]
fn l2_damaged_code_is_never_run_but_compiled_again() {
    let project = project("damage_cache");
    for how in [cut, flip] {
        damage(&files(&project, "cache", ".code"), how);
        let said = started(&project, 2);
        assert!(said.contains("cached code is damaged; it is removed and compiled again"), "{said}");
        let said = started(&project, 2);
        assert!(!said.contains("damaged"), "now it is whole: {said}");
    }
}

#[test]
fn l2_a_damaged_record_costs_neither_the_start_nor_the_good_build() {
    let project = project("damage_record");
    project.write("answers.wasm", "no component");
    for how in [cut, |_: &[u8]| Vec::new(), |_: &[u8]| vec![0; 4096]] {
        damage(&files(&project, "plugins", ".json"), how);
        let said = started(&project, 2);
        assert!(said.contains("what the archive knows of it is damaged"), "{said}");
        assert!(said.contains("started with the last good component instead"), "{said}");
        let said = started(&project, 2);
        assert!(!said.contains("damaged"), "now it is whole: {said}");
    }
}

#[test]
fn l2_where_the_last_good_component_is_damaged_the_one_before_it_serves() {
    let project = project("damage_component");
    project.write("answers.wasm", "no component");
    for how in [cut, flip] {
        let good = fs::read_to_string(&files(&project, "plugins", ".json")[0]).expect("it is there");
        let good = good.split("\"good\": \"").nth(1).expect("there is one").split('"').next().unwrap_or_default();
        let file = files(&project, "plugins", &format!("{good}.wasm"));
        let whole = fs::read(&file[0]).expect("it is there");
        damage(&file, how);
        let said = started(&project, 1);
        assert!(said.contains("a component of the archive cannot be used: it is damaged"), "{said}");
        fs::write(&file[0], whole).expect("it can be written");
        started(&project, 2);
    }
}

#[test]
fn two_servers_on_one_folder_share_the_cache_and_harm_nobody() {
    let project = Project::new("two_servers");
    let toml = |control: &str| {
        format!(
            "[server]\nwatch = 'off'\ncontrol = '{control}'\n[server.limits]\ncache-bytes = 0\n\
             [plugins.answers]\npath = 'answers.wasm'\n[[route]]\npath = '/ws'\nhandler = 'answers'\n"
        )
    };
    project.write("answers.wasm", guest("answers_1"));
    project.write("switchboard.toml", toml(".switchboard/control.sock"));
    let mut one = Server::serve(project.folder());
    project.write("answers.wasm", guest("answers_2"));
    let mut two = Server::serve(project.folder());
    for build in [3, 4, 1, 2] {
        project.write("answers.wasm", guest(&format!("answers_{build}")));
        Operator::of(project.folder()).reload("answers");
        says(&mut one, build);
        says(&mut two, 2);
        let cached = files(&project, "cache", ".code").len();
        assert!((1..=3).contains(&cached), "{cached} builds are cached that none needs");
    }
    for server in [&mut one, &mut two] {
        let said = server.program.seen();
        assert!(!said.contains("damaged") && !said.contains("could not be"), "{said}");
    }
}
