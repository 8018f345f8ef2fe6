//! A newer binary in the place of a running one: `serve --take-over`, while clients count and come back on 1012.
//!
//! Nobody is refused a connection at any moment, and what a client was told, the next process knows. `SWITCHBOARD_STRESS_CONNECTIONS`
//! says how many clients there are.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{Client, Heard};
use crate::program::until;
use crate::project::Project;
use crate::store::COUNTER;
use crate::switchboard::{Server, run, switchboard};

/// Answers that each client gets of each process, at least.
const ANSWERS: usize = 5;
/// Between two questions of a client, so that many of them leave room for their servers on a small machine.
const PAUSE: Duration = Duration::from_millis(20);
/// Of a client's thread.
const STACK: usize = 256 * 1024;

/// What the clients have come to.
#[derive(Default)]
struct Seen {
    /// Answers on a client's first connection, and on those after a 1012.
    answers: [AtomicUsize; 2],
    /// Clients with enough of them.
    done: [AtomicUsize; 2],
    over: AtomicBool,
}

impl Seen {
    /// Counts one of a client, who has had so many on connections of this kind.
    fn note(&self, kind: usize, own: usize) {
        self.answers[kind].fetch_add(1, Ordering::Relaxed);
        if own == ANSWERS {
            self.done[kind].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts until it is over, again and again as often as the server says 1012; gives the numbers that it was told.
fn count(address: SocketAddr, seen: &Seen) -> Vec<u64> {
    let (mut told, mut own) = (Vec::new(), [0; 2]);
    for connection in 0.. {
        let kind = connection.min(1);
        let mut client = Client::connect(address, "/ws");
        loop {
            if seen.over.load(Ordering::Relaxed) {
                return told;
            }
            // Where that fails, what is heard says why.
            let _ = client.tell("count");
            match client.hear() {
                Heard::Text(number) => told.push(number.parse().expect("the answer is a number")),
                Heard::Close(CloseCode::Restart) => break,
                other => panic!("connection {connection}: neither an answer nor 1012, but {other:?}"),
            }
            own[kind] += 1;
            seen.note(kind, own[kind]);
            thread::sleep(PAUSE);
        }
    }
    unreachable!("the numbers of connections do not end")
}

fn clients() -> usize {
    let said = std::env::var("SWITCHBOARD_STRESS_CONNECTIONS");
    said.map_or(100, |count| count.parse().expect("SWITCHBOARD_STRESS_CONNECTIONS is a number"))
}

fn project(name: &str, store: &str) -> Project {
    let project = Project::with_plugin(name, COUNTER);
    let plugin = std::fs::read_to_string(project.path("switchboard.toml")).expect("it was written");
    project.write("switchboard.toml", format!("[server]\nstore = '{store}'\nworkers = 2\n\n{plugin}"));
    let built = run(&mut switchboard("build", project.folder()));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    project
}

fn take_over(project: &Project) -> Server {
    Server::run(switchboard("serve", project.folder()).args(["--take-over", "--listen", "127.0.0.1:0"]))
}

#[test]
fn clients_that_come_back_are_never_refused_and_lose_nothing_that_they_were_told() {
    let project = project("plugin_taking_over", "disk");
    let mut server = Server::serve(project.folder());
    let (address, count_clients) = (server.address, clients());
    let seen = Arc::new(Seen::default());
    let clients: Vec<JoinHandle<_>> = (0..count_clients)
        .map(|_| {
            let (seen, builder) = (seen.clone(), thread::Builder::new().stack_size(STACK));
            builder.spawn(move || count(address, &seen)).expect("a thread")
        })
        .collect();
    let all = |kind: usize| {
        let failed = || clients.iter().any(|client| client.is_finished());
        until("answers for all clients", || failed() || seen.done[kind].load(Ordering::Relaxed) == count_clients);
    };
    all(0);
    for _ in 0..2 {
        let next = take_over(&project);
        assert_eq!(next.address, address, "it is the same socket");
        let before = std::mem::replace(&mut server, next);
        let ended = before.program.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("another process takes over"), "{}", ended.stderr);
    }
    all(1);
    seen.over.store(true, Ordering::Relaxed);
    let told: Vec<u64> = clients.into_iter().flat_map(|client| client.join().expect("no client failed")).collect();
    let (count, highest) = (told.len(), told.iter().max().copied().unwrap_or_default());
    assert_eq!(told.into_iter().collect::<HashSet<_>>().len(), count, "no number was told twice");
    let now: u64 = Client::connect(address, "/ws").ask("look").parse().expect("the answer is a number");
    assert!(now >= highest, "{highest} was told, and only {now} are left");
    eprintln!("{count_clients} clients, {count} answers, of them {:?} before and after", seen.answers);
}

#[test]
fn where_no_server_runs_one_begins_and_a_third_finds_nothing_to_take() {
    let project = project("plugin_taking_over_memory", "memory");
    let mut first = take_over(&project);
    assert_eq!(Client::connect(first.address, "/ws").ask("count"), "1");
    let second = take_over(&project);
    assert_eq!(second.address, first.address);
    assert!(first.program.seen().contains("another process takes over"));
    assert_eq!(first.program.finish().code, Some(0));
    assert_eq!(Client::connect(second.address, "/ws").ask("count"), "1", "a store in memory ends with its process");
    second.program.signal("TERM");
    assert_eq!(second.program.finish().code, Some(0));
    assert!(TcpStream::connect(first.address).is_err(), "nobody listens any more");
}
