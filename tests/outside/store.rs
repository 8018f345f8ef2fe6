//! What a kill leaves of a store on disk: everything that any client was told.
//!
//! A server is killed while clients count as fast as they can, and started again, several times over. The answers are made
//! before the disk has them and must not leave before, so nothing of this holds where they do.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::client::Client;
use crate::project::Project;
use crate::switchboard::{Server, run, switchboard};

const ROUNDS: usize = 6;
const CLIENTS: usize = 8;
/// Answers in one round, before the kill.
const ANSWERS: usize = 300;

/// Counts, and says the new number; or only looks.
pub const COUNTER: &str = "use switchboard_sdk::{Close, Connection, Handler, Message, export, store};

#[derive(Default)]
struct Counter;

impl Handler for Counter {
    type State = ();
    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        let by = if message.text()? == \"count\" { 1 } else { 0 };
        let hits = store::increment(\"hits\", by, None)?;
        store::set(\"last\", hits.to_string().as_bytes(), None)?;
        Ok(connection.send_text(hits.to_string())?)
    }
}
export!(Counter);
";

/// Counts until the connection is lost, and passes on what it is told.
fn count(address: SocketAddr, told: &Sender<u64>) {
    let mut client = Client::connect(address, "/ws");
    while let Some(answer) = client.try_ask("count") {
        told.send(answer.parse().expect("the answer is a number")).expect("somebody listens until all have ended");
    }
}

#[test]
fn what_a_client_was_told_outlives_a_kill() {
    let project = Project::with_plugin("plugin_counter", COUNTER);
    let plugin = std::fs::read_to_string(project.path("switchboard.toml")).expect("it was written");
    project.write("switchboard.toml", format!("[server]\nstore = 'disk'\nworkers = 2\n\n{plugin}"));
    let built = run(&mut switchboard("build", project.folder()));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let mut told = HashSet::new();
    for round in 0..ROUNDS {
        let server = Server::serve(project.folder());
        for number in hammer(server) {
            assert!(told.insert(number), "round {round}: {number} was told twice");
        }
        let server = Server::serve(project.folder());
        let now: u64 = Client::connect(server.address, "/ws").ask("look").parse().expect("the answer is a number");
        let highest = told.iter().max().copied().unwrap_or_default();
        assert!(now >= highest, "round {round}: {highest} was told, and only {now} are left");
        assert!(now as usize >= told.len(), "round {round}: {} were told, and only {now} are left", told.len());
        // What no answer came for may be there or not.
        assert!(
            now as usize <= told.len() + (round + 1) * CLIENTS,
            "round {round}: {now} are more than were asked for"
        );
        server.program.kill();
    }
}

/// Has clients count, kills the server among it, and gives what they were told.
fn hammer(server: Server) -> Vec<u64> {
    let (sender, told) = channel();
    for _ in 0..CLIENTS {
        let (address, sender) = (server.address, sender.clone());
        thread::spawn(move || count(address, &sender));
    }
    drop(sender);
    let mut before: Vec<u64> = told.iter().take(ANSWERS).collect();
    assert_eq!(before.len(), ANSWERS, "all clients were disconnected before the kill");
    server.program.kill();
    before.extend(told);
    before
}
