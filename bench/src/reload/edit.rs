//! How long somebody waits who edits a plugin under `switchboard dev`: from the saved line to the new answer on a connection
//! that stays open.
//!
//! It works on a copy of the chat example, with its plugin as a crate of its own as one outside of this repository is. The
//! line that is edited counts the members of a room; each round adds another number to it, so each answer tells its build.
//! Invariant: what is edited and what is made lies below `target/`; the repository's own files are only read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::probe::Probe;
use crate::cores::Cores;
use crate::prepare;

/// The line of the plugin that is edited, and what it becomes.
const LINE: &str = "let count = Room::named(&seat.presence()).count()?;";
const QUESTION: &str = r#"{"type":"presence"}"#;
const PATH: &str = "/ws?room=lobby&user=ann";
/// The member is one, and this is added to it at first; four digits in every round.
const FIRST: usize = 1000;
/// Between two questions: who waits for a build leaves it the processor.
const PAUSE: Duration = Duration::from_millis(2);
/// Between an answer and the next edit.
const REST: Duration = Duration::from_millis(300);

/// One edit; all times in milliseconds.
pub struct Round {
    pub total: f64,
    /// What `dev` says that its steps took.
    pub build: f64,
    pub compile: f64,
    pub swap: f64,
}

pub fn measure(server: &Path, rounds: usize) -> Result<Vec<Round>> {
    let folder = copy_example()?;
    edit(&folder, FIRST)?;
    prepare::build(server, &folder)?;
    let peer = prepare::switchboard_on(server, "dev", &folder)?.start(&Cores::share()?)?;
    let mut probe = Probe::open(peer.address(), PATH, QUESTION)?;
    probe.await_answer(&answer(FIRST), PAUSE)?;
    (1..=rounds)
        .map(|number| {
            eprintln!("edit under dev: round {number}");
            std::thread::sleep(REST);
            let start = Instant::now();
            edit(&folder, FIRST + number)?;
            let seen = probe.await_answer(&answer(FIRST + number), PAUSE)?;
            let line = peer.expect("chat reloaded")?;
            let step = |name| step(&line, name).with_context(|| format!("`{line}` has no time for `{name}`"));
            let total = (seen - start).as_secs_f64() * 1e3;
            Ok(Round { total, build: step("build")?, compile: step("compile")?, swap: step("swap")? })
        })
        .collect()
}

fn answer(added: usize) -> String {
    format!(r#"{{"type":"presence","count":{}}}"#, 1 + added)
}

/// The example, with its plugin in a folder `plugin` below it and a workspace of its own, but with the profile of ours.
fn copy_example() -> Result<PathBuf> {
    let (folder, root) = (prepare::empty_folder("edit")?, prepare::workspace_root()?);
    let guests = prepare::bench_folder()?.join("guests");
    let plugin = folder.join("plugin");
    fs::create_dir_all(plugin.join("src"))?;
    fs::copy(root.join("Cargo.lock"), plugin.join("Cargo.lock"))?;
    fs::copy(root.join("plugins/chat/src/lib.rs"), plugin.join("src/lib.rs"))?;
    fs::copy(root.join("plugins/chat/src/tests.rs"), plugin.join("src/tests.rs"))?;
    fs::write(plugin.join("Cargo.toml"), manifest(&root))?;
    fs::write(folder.join("switchboard.toml"), configuration(&guests))?;
    Ok(folder)
}

fn manifest(root: &Path) -> String {
    let sdk = root.join("guest-sdk");
    format!(
        "[package]\nname = 'chat'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n[lib]\ncrate-type = ['cdylib']\n\
         [dependencies]\nserde = {{ version = '1', features = ['derive'] }}\nswitchboard-sdk = {{ path = '{}' }}\n\
         [profile.guest]\ninherits = 'release'\ncodegen-units = 1\nlto = 'thin'\nstrip = 'debuginfo'\n",
        sdk.display()
    )
}

fn configuration(guests: &Path) -> String {
    let guests = guests.display();
    format!(
        "[plugins.chat]\npath = '{guests}/wasm32-wasip2/guest/chat.wasm'\nwatch = ['plugin/src']\n\
         build = 'cargo build --manifest-path plugin/Cargo.toml --target wasm32-wasip2 --profile guest --target-dir {guests}'\n\
         [[room]]\nname = 'chat/*'\nkeep = 1000\n[[route]]\npath = '/ws'\nhandler = 'chat'\n"
    )
}

/// Has the plugin add this to the number of members.
fn edit(folder: &Path, added: usize) -> Result<()> {
    let file = folder.join("plugin/src/lib.rs");
    let source = fs::read_to_string(&file)?;
    let (before, rest) = source.split_once(LINE).context("plugins/chat has not the line any more that is edited")?;
    // What an earlier edit put behind it goes.
    let after = rest.trim_start_matches(|c: char| c != '\n');
    ensure!(after.starts_with('\n'), "the line that is edited is the last one of plugins/chat");
    fs::write(&file, format!("{before}{LINE} let count = count + {added};{after}")).context("editing the plugin")
}

/// What a line like `chat reloaded  src/lib.rs: build 640 ms, compile 180 ms, swap 0.1 ms, ...` says of a step.
fn step(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("{name} "))?;
    rest.split_once(" ms")?.0.parse().ok()
}

impl Round {
    /// What is left: noticing the edit, waiting for quiet, and the question that was on its way.
    pub fn rest(&self) -> f64 {
        self.total - self.build - self.compile - self.swap
    }

    pub fn to_json(&self) -> Value {
        let Self { total, build, compile, swap } = self;
        json!({ "total_ms": total, "build_ms": build, "compile_ms": compile, "swap_ms": swap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_found_in_the_line_of_dev() {
        let line = "chat reloaded  src/lib.rs: build 640 ms, compile 180 ms, swap 0.1 ms, 1 open connection";
        assert_eq!([step(line, "build"), step(line, "compile")], [Some(640.0), Some(180.0)]);
        assert_eq!([step(line, "swap"), step(line, "link")], [Some(0.1), None]);
    }
}
