//! A server whose plugin is swapped as often as in years: its process holds what it held after the first hundred swaps.
//!
//! Swaps by command among a few builds, while connections come, talk and go. Some builds are new: they are rolled back, by
//! command or because they trap on their first event. After that come builds that are all new and stay until the next one.
//! `SWITCHBOARD_STRESS_SWAPS` says how many swaps, 250 by default, and `SWITCHBOARD_STRESS_BUILDS` how many builds after them,
//! 10 by default. What was held is printed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::guests::{guest, rebuilt};
use crate::operator::Operator;
use crate::program::{PATIENCE, Program, until};
use crate::project::Project;
use crate::switchboard::Server;

/// The builds that come again and again.
const BUILDS: [&str; 4] = ["answers_1", "answers_2", "answers_3", "answers_4"];
/// The build that traps on its first event.
const TRAP: &str = "newborn_trap";
/// Connections that talk meanwhile.
const CLIENTS: usize = 4;
/// What each of them says before it goes and the next one comes.
const WORDS: usize = 10;
/// Between two of its words, so that the swaps have a share of the machine.
const BREATH: Duration = Duration::from_millis(2);
/// After so many swaps everything has happened that happens again and again, so what is held then is the measure.
const FIRST: usize = 100;
/// One swap in so many is that of a new build, which is rolled back.
const ROLLED_BACK: usize = 50;
/// What may be held more later on, in percent.
const MORE: u64 = 5;
/// Between two looks at the process.
const LOOK: Duration = Duration::from_millis(20);
/// So long it is looked at, at least; that is more than the second after which old instances are thrown away.
const SETTLING: Duration = Duration::from_millis(1500);
/// The bound of the cache: room for about eight builds.
const CACHE_BYTES: u64 = 2_000_000;

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

    fn each(self, other: Self) -> [(u64, u64); 4] {
        let (Self { memory, files, threads, regions }, other) = (self, other);
        [(memory, other.memory), (files, other.files), (threads, other.threads), (regions, other.regions)]
    }

    fn least(self, other: Self) -> Self {
        let [memory, files, threads, regions] = self.each(other).map(|(one, other)| one.min(other));
        Self { memory, files, threads, regions }
    }

    /// Whether it is about as much as at first.
    fn is_within(self, first: Self) -> bool {
        self.each(first).into_iter().all(|(now, first)| now * 100 <= first * (100 + MORE))
    }
}

/// Those who talk. A turn is one conversation; who wants silence takes the lock for himself.
#[derive(Default)]
struct Talks {
    turn: RwLock<()>,
    over: AtomicBool,
}

/// Ends the talks also where the test fails.
struct Stop<'a>(&'a Talks);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Talks {
    fn talk(&self, address: SocketAddr) {
        while !self.over.load(Ordering::Relaxed) {
            let _turn = self.turn.read();
            let mut client = Client::connect(address, "/ws");
            for word in 0..WORDS {
                let answer = client.ask(&word.to_string());
                assert_eq!(answer.split_once(' ').map(|(_, said)| said), Some(word.to_string().as_str()));
                thread::sleep(BREATH);
            }
        }
    }
}

/// A server, and who swaps its plugin.
struct Swaps {
    project: Project,
    server: Server,
    operator: Operator,
    builds: Vec<Vec<u8>>,
    trap: Vec<u8>,
    /// How many builds were made that there were none of before.
    made: usize,
}

impl Swaps {
    fn begin() -> Self {
        let project = Project::new("many_swaps");
        let builds: Vec<_> = BUILDS.iter().map(|name| guest(name)).collect();
        project.write("answers.wasm", &builds[0]);
        let toml = format!(
            "[server]\nworkers = 2\nwatch = 'off'\n[server.limits]\ncache-bytes = {CACHE_BYTES}\n\
             [plugins.answers]\npath = 'answers.wasm'\n[[route]]\npath = '/ws'\nhandler = 'answers'\n"
        );
        project.write("switchboard.toml", toml);
        let server = Server::serve(project.folder());
        let operator = Operator::of(project.folder());
        Self { project, server, operator, builds, trap: guest(TRAP), made: 0 }
    }

    /// Puts a build in the place of the file, and has it taken.
    fn take(&self, build: &[u8]) {
        self.project.write("new", build);
        fs::rename(self.project.path("new"), self.project.path("answers.wasm")).expect("it can be renamed");
        let said = self.operator.reload("answers");
        assert!(said.contains(" serves, after "), "{said}");
    }

    /// The same with one that does what this does, and that there was none of before.
    fn take_new(&mut self, build: &[u8]) {
        self.made += 1;
        self.take(&rebuilt(build, self.made));
    }

    fn swap(&mut self, number: usize) {
        let known = self.builds[number % BUILDS.len()].clone();
        match (number % ROLLED_BACK, number / ROLLED_BACK % 2) {
            (0, 0) => {
                self.take_new(&known);
                self.operator.roll_back("answers");
            }
            (0, _) => {
                self.take_new(&self.trap.clone());
                until("the roll-back", || self.operator.report("answers")["rollout"].is_null());
            }
            _ => self.take(&known),
        }
    }

    /// The least that the process holds for a while when nobody talks, or what it comes down to if that is enough.
    fn held(&mut self, talks: &Talks, enough: impl Fn(Held) -> bool) -> Held {
        let _nobody_talks = talks.turn.write();
        // All instances are of generations from before it, and thrown away, so that it plays no part how many there were.
        self.take_new(&self.builds[0].clone());
        let (start, mut least) = (Instant::now(), Held::by(&self.server.program));
        while start.elapsed() < SETTLING || (!enough(least) && start.elapsed() < PATIENCE) {
            thread::sleep(LOOK);
            least = least.least(Held::by(&self.server.program));
        }
        least
    }

    /// That it holds no more than at first, and the disk no more than it may.
    fn compare(&mut self, talks: &Talks, first: Held, what: &str) {
        let now = self.held(talks, |now| now.is_within(first));
        let state = self.project.path(".switchboard");
        let cached: u64 = files(&state.join("cache")).iter().map(|path| size(path)).sum();
        eprintln!("{what}: {now:?}, {cached} bytes in the cache");
        assert!(now.is_within(first), "that is over {MORE} % more than {first:?}");
        assert!((1..=CACHE_BYTES).contains(&cached));
        // The talks go on, and with their first event the record is written once more.
        let kept = || files(&state.join("plugins")).len();
        until("an archive of two components, their record, the lock and nothing else", || kept() <= 4);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path()).collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("nobody removes it now").len()
}

fn number(key: &str, default: usize) -> usize {
    std::env::var(key).map_or(default, |count| count.parse().unwrap_or_else(|_| panic!("{key} is a number")))
}

#[test]
fn l1_after_many_swaps_the_process_holds_what_it_held_after_a_hundred() {
    let mut swaps = Swaps::begin();
    let (talks, address) = (Talks::default(), swaps.server.address);
    let (count, builds) = (number("SWITCHBOARD_STRESS_SWAPS", 250), number("SWITCHBOARD_STRESS_BUILDS", 10));
    thread::scope(|scope| {
        let _also_where_this_fails = Stop(&talks);
        for _ in 0..CLIENTS {
            scope.spawn(|| talks.talk(address));
        }
        (1..=FIRST).for_each(|number| swaps.swap(number));
        let first = swaps.held(&talks, |_| true);
        eprintln!("after {FIRST} swaps: {first:?}");
        for number in FIRST + 1..=count {
            swaps.swap(number);
            if [1000, 5000, count].contains(&number) {
                swaps.compare(&talks, first, &format!("after {number} swaps"));
            }
        }
        for number in 0..builds {
            swaps.take_new(&swaps.builds[number % BUILDS.len()].clone());
        }
        swaps.compare(&talks, first, &format!("after {builds} other builds"));
    });
}
