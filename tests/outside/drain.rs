//! How a server with many clients stops: all are told, nothing that they were to get is lost, and guests hear of every end.
//!
//! Of each event all is seen or nothing: a client that got a part of what one event sent has lost something. Guests count
//! their last events in a store on disk, which the next server reads. `SWITCHBOARD_STRESS_CONNECTIONS` says how many
//! clients there are, 300 by default.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{Client, Heard};
use crate::guests::guest;
use crate::project::Project;
use crate::switchboard::Server;

/// Threads that clients share.
const THREADS: usize = 4;
/// What one event sends to an eager client.
const ANSWERS: usize = 5;
/// Clients that do not read what they asked for until the server stops, and how often they ask.
const SLOW: usize = 8;
const QUESTIONS: usize = 3;
/// What one event sends to a slow client, in messages of a megabyte.
const LARGE: usize = 4;
/// The time that stopping may take, from the signal to the end.
const LIMIT: Duration = Duration::from_secs(10);

/// A puppet on `/ws`, with these limits.
fn puppet(name: &str, limits: &str) -> Project {
    let project = Project::new(name);
    project.write("puppet.wasm", guest("puppet"));
    let toml = format!(
        "[server]\nworkers = 2\nstore = 'disk'\n[server.limits]\n{limits}\n\
         [plugins.puppet]\npath = 'puppet.wasm'\ngrants = ['store', 'rooms']\n\
         [[route]]\npath = '/ws'\nhandler = 'puppet'\n"
    );
    project.write("switchboard.toml", toml);
    project
}

fn connections() -> usize {
    let said = std::env::var("SWITCHBOARD_STRESS_CONNECTIONS").ok();
    said.map_or(300, |said| said.parse().expect("SWITCHBOARD_STRESS_CONNECTIONS is a number"))
}

/// Asks in turns until each of these clients was closed; counts each that got its first answers.
fn chat(mut clients: Vec<Client>, started: &AtomicUsize) {
    for turn in 0.. {
        // What is not heard any more, the server has closed before.
        clients.iter_mut().for_each(|client| drop(client.tell(&format!("repeat {ANSWERS} send {turn}"))));
        clients.retain_mut(|client| answered(client, turn));
        if turn == 0 {
            started.fetch_add(clients.len(), Ordering::SeqCst);
        }
        if clients.is_empty() {
            return;
        }
    }
}

/// Whether all of an event's answers came; else none of them may have, and the close says why.
fn answered(client: &mut Client, turn: usize) -> bool {
    for answer in 0..ANSWERS {
        match client.hear() {
            Heard::Text(text) => assert_eq!(text, turn.to_string()),
            Heard::Close(code) => {
                assert_eq!((code, answer), (CloseCode::Restart, 0), "of an event's answers some were lost");
                return false;
            }
            other => panic!("no answer and no close, but {other:?}"),
        }
    }
    true
}

/// Reads what was asked for long ago: of each event that ran all, then the close.
fn catch_up(mut client: Client) {
    for count in 1.. {
        match client.hear() {
            Heard::Bytes(1_000_000) => {}
            Heard::Close(code) => {
                assert_eq!((code, count % LARGE), (CloseCode::Restart, 0), "an event's bytes are missing");
                return;
            }
            other => panic!("no bytes and no close, but {other:?}"),
        }
    }
}

/// Connects, asks for more than sockets hold, and reads the first message of it.
fn slow(address: SocketAddr) -> Client {
    let mut client = Client::connect(address, "/ws?bye=increment+gone+1");
    for _ in 0..QUESTIONS {
        client.tell(&format!("repeat {LARGE} send-bytes 1000000")).expect("it is open");
    }
    assert_eq!(client.hear(), Heard::Bytes(1_000_000));
    client
}

#[test]
fn every_client_of_a_server_under_load_is_told_and_no_answer_is_lost() {
    let count = connections();
    let project = puppet("drain", "log-bytes = 1000");
    let server = Server::serve(project.folder());
    let slow: Vec<_> = (0..SLOW).map(|_| slow(server.address)).collect();
    let started = AtomicUsize::new(0);
    let ended = thread::scope(|scope| {
        for thread in 0..THREADS {
            let (started, address) = (&started, server.address);
            let own = (count + thread) / THREADS;
            scope.spawn(move || {
                let clients = (0..own).map(|_| Client::connect(address, "/ws?bye=increment+gone+1"));
                chat(clients.collect(), started);
            });
        }
        while started.load(Ordering::SeqCst) < count {
            thread::sleep(Duration::from_millis(1));
        }
        let begun = Instant::now();
        server.program.signal("TERM");
        for client in slow {
            scope.spawn(|| catch_up(client));
        }
        let ended = server.program.finish();
        assert!(begun.elapsed() < LIMIT, "it took {:?}", begun.elapsed());
        ended
    });
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let again = Server::serve(project.folder());
    let told = Client::connect(again.address, "/ws").ask("store-get gone");
    assert!(told.contains(&format!(" {}", count + SLOW)), "each guest heard of the end: {told}");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let project = puppet("second-signal", "close-ms = 600000\ndrain-ms = 600000");
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = Server::serve(project.folder());
        let mut silent = Client::connect(server.address, "/ws");
        assert_eq!(silent.ask("send hi"), "hi");
        server.program.signal("TERM");
        server.program.expect("stopping; open connections are closed with 1012");
        server.program.signal(signal);
        assert_eq!(server.program.finish().code, Some(code), "{signal}");
        drop(silent);
    }
}

#[test]
fn a_client_that_does_not_end_is_cut_and_its_guest_told() {
    let project = puppet("cut", "close-ms = 600000\ndrain-ms = 300");
    let server = Server::serve(project.folder());
    let mut silent = Client::connect(server.address, "/ws");
    assert_eq!(silent.ask("send hi"), "hi");
    server.program.signal("TERM");
    let ended = server.program.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in ["1 connections are cut, because they did not end within `drain-ms`", "disconnect 1012"] {
        assert!(ended.stderr.contains(said), "`{said}` is missing in {}", ended.stderr);
    }
}

#[test]
fn sockets_without_a_request_hold_nobody_up() {
    let project = puppet("nothing-asked", "head-ms = 600000\ndrain-ms = 600000");
    let server = Server::serve(project.folder());
    let silent = ["", "GET /ws HTTP/1.1\r\nHost: "].map(|begun| {
        let mut silent = TcpStream::connect(server.address).expect("the server accepts");
        silent.write_all(begun.as_bytes()).expect("it is open");
        silent
    });
    // The server has taken them, once it has answered one that came later.
    assert_eq!(Client::connect(server.address, "/ws").ask("send hi"), "hi");
    server.program.signal("TERM");
    assert_eq!(server.program.finish().code, Some(0));
    drop(silent);
}
