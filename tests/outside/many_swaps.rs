//! A server whose plugins are swapped as often as in years: what its process holds is what it held after the first hundred.
//!
//! Swaps by command among a few builds, while connections come, talk and go; one in a hundred builds is new and is rolled
//! back. `SWITCHBOARD_STRESS_SWAPS` says how many swaps, 300 by default, and `SWITCHBOARD_STRESS_BUILDS` how many builds that
//! are each a file of its own, 20 by default.

use std::fs;
use std::net::SocketAddr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::guests::{guest, rebuilt};
use crate::operator::Operator;
use crate::program::{PATIENCE, Program};
use crate::project::Project;
use crate::switchboard::Server;

/// The builds that are there again and again.
const BUILDS: [&str; 4] = ["answers_1", "answers_2", "answers_3", "answers_4"];
/// Connections that talk meanwhile.
const CLIENTS: usize = 4;
/// What each of them says before it goes.
const WORDS: usize = 10;
/// Between two of its words, so that the swaps have a share of the machine.
const BREATH: Duration = Duration::from_millis(2);
/// One swap in so many is that of a new build, which is then rolled back.
const ROLLED_BACK: usize = 100;
/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory: u64,
    files: u64,
    threads: u64,
    regions: u64,
}

impl Held {
    fn by(program: &Program) -> Self {
        let count = |name| program.proc(name).len() as u64;
        Self { memory: program.memory(), files: count("fd"), threads: program.threads(), regions: count("maps") }
    }
}

fn number(key: &str, default: usize) -> usize {
    std::env::var(key).map_or(default, |count| count.parse().unwrap_or_else(|_| panic!("{key} is a number")))
}

fn project(name: &str) -> Project {
    let project = Project::new(name);
    project.write("answers.wasm", guest(BUILDS[0]));
    let toml = "[server]\nworkers = 2\nwatch = 'off'\n[plugins.answers]\npath = 'answers.wasm'\n[[route]]\npath = '/ws'\nhandler = 'answers'\n";
    project.write("switchboard.toml", toml);
    project
}

fn talk(address: SocketAddr, turn: &RwLock<()>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let _turn = turn.read();
        let mut client = Client::connect(address, "/ws");
        for word in 0..WORDS {
            let answer = client.ask(&word.to_string());
            assert_eq!(answer.split_once(' ').map(|(_, said)| said.to_owned()), Some(word.to_string()));
            thread::sleep(BREATH);
        }
    }
}

#[test]
fn measure() {
    let project = project("many_swaps");
    let server = Server::serve(project.folder());
    let operator = Operator::of(project.folder());
    let builds: Vec<_> = BUILDS.iter().map(|name| guest(name)).collect();
    let (turn, over) = (RwLock::new(()), AtomicBool::new(false));
    let swaps = number("SWITCHBOARD_STRESS_SWAPS", 300);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| talk(server.address, &turn, &over));
        }
        for swap in 1..=swaps {
            let new = swap % ROLLED_BACK == 0;
            let build = if new { rebuilt(&builds[0], swap) } else { builds[swap % BUILDS.len()].clone() };
            project.write("new", &build);
            fs::rename(project.path("new"), project.path("answers.wasm")).expect("it can be renamed");
            let said = operator.reload("answers");
            assert!(said.contains(" serves, after "), "{said}");
            if new {
                operator.roll_back("answers");
            }
            if swap % 100 == 0 {
                let _nobody = turn.write();
                thread::sleep(Duration::from_secs(1));
                eprintln!("{swap} {:?} {:?}", start.elapsed(), Held::by(&server.program));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let _ = (PATIENCE, LOOK);
}
