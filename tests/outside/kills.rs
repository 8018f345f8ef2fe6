//! A server that is killed at any moment and started again: it starts, with the newest good build and a whole cache.
//!
//! While it runs, or is about to, builds take the place of the plugin's file one after the other: good ones, garbage, and such
//! that trap on their first event; the configuration is written anew, SIGHUP is sent, and the cache is thrown away now and
//! then. `SWITCHBOARD_STRESS_SECONDS` says for how long, 8 seconds by default; `SWITCHBOARD_STRESS_SEED` makes the same choices
//! again, as far as the machine does.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::choices::Choices;
use crate::client::Client;
use crate::guests::{guest, rebuilt};
use crate::operator::Operator;
use crate::program::Program;
use crate::project::Project;
use crate::switchboard::{Server, switchboard};

/// A server is killed before it is so old, in milliseconds.
const OLDEST: usize = 1200;
/// The same for one that is killed as it starts.
const OLDEST_STARTING: usize = 250;
/// So long a write is waited for, to kill the server in the middle of it.
const WRITING: Duration = Duration::from_millis(400);
/// Between two edits, at most, in milliseconds.
const PAUSE: usize = 150;

/// What the log says of a build that is taken back.
const BACK: &str = "the one before serves again";

/// What a plugin's file may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Build {
    /// It answers with this number.
    Good(usize),
    /// It starts, and traps on its first event.
    Trap,
    /// It is no component.
    Garbage,
}

/// One file that was in the place of the plugin's.
#[derive(Clone, Debug)]
struct Put {
    build: Build,
    hash: String,
}

/// Who edits, and what came of it so far.
struct Editor {
    project: Project,
    choices: Mutex<Choices>,
    puts: Mutex<Vec<Put>>,
    /// Hashes of good builds that answered a client, in this order.
    heard: Mutex<Vec<String>>,
}

impl Editor {
    fn new() -> Self {
        let project = Project::new("kills");
        let editor = Self { project, choices: Choices::new().into(), puts: Mutex::default(), heard: Mutex::default() };
        editor.put(Build::Good(1), 0);
        editor.configure(0);
        editor
    }

    fn below(&self, bound: usize) -> usize {
        self.choices.lock().expect("nobody panicked").below(bound)
    }

    /// A file in the place of the plugin's; the same number and build make the same file.
    fn put(&self, build: Build, number: usize) {
        let bytes = match build {
            Build::Good(answer) => rebuilt(&guest(&format!("answers_{answer}")), number),
            Build::Trap => rebuilt(&guest("newborn_trap"), number),
            Build::Garbage => format!("no component {number}").into_bytes(),
        };
        let put = Put { build, hash: blake3::hash(&bytes).to_string() };
        self.puts.lock().expect("nobody panicked").push(put);
        self.replace("answers.wasm", bytes);
    }

    /// Each number is another configuration, and one in three gives the plugin a generation of its own.
    fn configure(&self, number: usize) {
        let toml = format!(
            "[server]\nworkers = 2\n[server.limits]\nrooms = {}\n[plugins.answers]\npath = 'answers.wasm'\nconfig = {{ a = '{}' }}\n\
             [[route]]\npath = '/ws'\nhandler = 'answers'\n",
            number + 1,
            number / 3
        );
        self.replace("switchboard.toml", toml);
    }

    fn replace(&self, file: &str, content: impl AsRef<[u8]>) {
        self.project.write("new", content);
        fs::rename(self.project.path("new"), self.project.path(file)).expect("it can be renamed");
    }

    /// Edits until it is over.
    fn edit(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let number = self.puts.lock().expect("nobody panicked").len();
            match self.below(10) {
                0..3 => self.put(Build::Good(1 + self.below(4)), number),
                // A build from before, which is in the cache.
                3..5 => self.put(Build::Good(1), self.below(3)),
                5..7 => self.put(Build::Trap, number),
                7 => self.put(Build::Garbage, number),
                _ => self.configure(self.below(12)),
            }
            thread::sleep(Duration::from_millis(self.below(PAUSE) as u64));
        }
    }

    /// Talks until the server is gone, and notes which builds answer.
    fn talk(&self, address: SocketAddr) {
        let operator = Operator::of(self.project.folder());
        while let Some(mut client) = Client::try_connect(address, "/ws") {
            let before = operator.try_report("answers");
            let Some(answer) = client.try_ask("hi") else { return };
            let after = operator.try_report("answers");
            // Which build it was can be said where none took over meanwhile.
            if let (Some(before), Some(after)) = (before, after)
                && before["generation"] == after["generation"]
                && let Some(put) = self.find(after["hash"].as_str().expect("it has one"))
                && matches!(put.build, Build::Good(number) if answer == format!("{number} hi"))
            {
                self.hear(put.hash);
            }
        }
    }

    fn hear(&self, hash: String) {
        let mut heard = self.heard.lock().expect("nobody panicked");
        if heard.last() != Some(&hash) {
            heard.push(hash);
        }
    }

    fn find(&self, hash: &str) -> Option<Put> {
        self.puts.lock().expect("nobody panicked").iter().rev().find(|put| put.hash == hash).cloned()
    }

    /// What may serve after a start: what the file holds, or, where that is no good, a good one that is no older than those
    /// that answered before.
    fn allowed(&self) -> Vec<Put> {
        let puts = self.puts.lock().expect("nobody panicked");
        let file = puts.last().expect("there is one");
        if let Build::Good(_) = file.build {
            return vec![file.clone()];
        }
        let heard = self.heard.lock().expect("nobody panicked");
        // That an event has shown a build to be good is written down by a thread, which the kill may have met; a build that
        // traps is then taken back to the one before that.
        let late = if file.build == Build::Trap { 2 } else { 1 };
        let oldest = heard.len().checked_sub(late).and_then(|index| heard.get(index));
        // Its first place is the oldest that it can have been taken from.
        let from = oldest.and_then(|hash| puts.iter().position(|put| put.hash == *hash)).unwrap_or_default();
        puts[from..].iter().filter(|put| matches!(put.build, Build::Good(_))).cloned().collect()
    }

    /// Kills a server at some moment of its start.
    fn kill_starting(&self) {
        let starting = Program::start(switchboard("serve", self.project.folder()).args(["--listen", "127.0.0.1:0"]));
        self.wait(OLDEST_STARTING, || ());
        starting.kill();
    }

    /// Kills a server at some moment while everything changes.
    fn kill_busy(&self, server: Server) {
        let (over, address) = (AtomicBool::new(false), server.address);
        thread::scope(|scope| {
            scope.spawn(|| self.edit(&over));
            scope.spawn(move || self.talk(address));
            self.wait(OLDEST, || {
                if self.below(100) == 0 {
                    server.program.signal("HUP");
                }
            });
            server.program.kill();
            over.store(true, Ordering::Relaxed);
        });
    }

    /// Until a random moment, or, every other time, until a file is being written after it.
    fn wait(&self, longest: usize, mut meanwhile: impl FnMut()) {
        let end = Instant::now() + Duration::from_millis(self.below(longest) as u64);
        while Instant::now() < end {
            meanwhile();
            thread::sleep(Duration::from_millis(1));
        }
        if self.below(2) == 0 {
            return;
        }
        let state = self.project.path(".switchboard");
        let names = || [files(&state.join("cache")), files(&state.join("plugins"))].concat();
        let (before, end) = (names(), Instant::now() + WRITING);
        while Instant::now() < end && names().iter().all(|name| before.contains(name)) {}
    }

    /// Starts it, and checks what a server has to be after whatever was before.
    fn start(&self) -> Server {
        let mut server = Server::serve(self.project.folder());
        let allowed = self.allowed();
        let file = self.puts.lock().expect("nobody panicked").last().expect("there is one").clone();
        let state = self.project.path(".switchboard");
        let left: Vec<_> = files(&state).into_iter().filter(|path| is_unfinished(path)).collect();
        assert!(left.is_empty(), "left over: {left:?}");
        files(&state.join("cache")).iter().for_each(|path| assert_whole(path));
        let Some(mut client) = Client::try_connect(server.address, "/ws") else {
            panic!("{file:?}: no connection after\n{}\nallowed: {allowed:#?}", server.program.seen());
        };
        let answer = client.ask("hi");
        let report = Operator::of(self.project.folder()).report("answers");
        let serving = report["hash"].as_str().expect("it has one");
        let serves =
            |put: &Put| put.hash == serving && matches!(put.build, Build::Good(n) if answer == format!("{n} hi"));
        assert!(allowed.iter().any(serves), "{file:?}: `{answer}` from {report:#}\nallowed: {allowed:#?}");
        let said = server.program.seen();
        assert!(!said.contains("damaged"), "{said}");
        match file.build {
            Build::Good(_) => {}
            Build::Garbage => assert!(said.contains("started with the last good component instead"), "{said}"),
            Build::Trap if ["was rejected before", BACK].iter().any(|word| said.contains(word)) => {}
            Build::Trap => _ = server.program.expect(BACK),
        }
        server
    }
}

/// All files below a folder, or none where it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "unfinished")
}

/// The end of a file of the cache is the hash of what is before it.
fn assert_whole(path: &Path) {
    let content = fs::read(path).expect("nobody else is there");
    let (code, seal) = content.split_last_chunk().expect("it is longer");
    assert!(blake3::hash(code) == *seal as [u8; 32], "{} is not whole", path.display());
}

#[test]
fn l2_a_server_that_is_killed_starts_again_with_the_newest_good_build() {
    let seconds = std::env::var("SWITCHBOARD_STRESS_SECONDS").ok();
    let seconds = seconds.map_or(8, |seconds| seconds.parse().expect("SWITCHBOARD_STRESS_SECONDS is a number"));
    let editor = Editor::new();
    // A first start, since before it there is nothing to go back to.
    editor.kill_starting();
    let mut server = editor.start();
    let (end, mut kills) = (Instant::now() + Duration::from_secs(seconds), 1);
    while Instant::now() < end {
        editor.kill_busy(server);
        kills += 1;
        if editor.below(3) == 0 {
            fs::remove_dir_all(editor.project.path(".switchboard/cache")).expect("it is there");
        }
        for _ in 0..editor.below(3) {
            editor.kill_starting();
            kills += 1;
        }
        server = editor.start();
    }
    eprintln!("{kills} kills, {} builds", editor.puts.lock().expect("nobody panicked").len());
}
