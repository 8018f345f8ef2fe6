//! Swaps under load, as many as there is time for: scenario L1 with builds that trap, and with the middleware swapped too.
//!
//! Every connection checks the content and the order of every answer. `SWITCHBOARD_STRESS_SECONDS` says how long, one
//! second by default, and `SWITCHBOARD_STRESS_CONNECTIONS` on how many connections, a hundred by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use switchboard_harness::{Client, Reload, Reuse, TestServer};
use tokio::task::JoinSet;

use crate::choices::Choices;
use crate::fixtures::{components, setup};
use crate::stress::time;

/// Messages of one connection that are on their way at once.
const IN_FLIGHT: usize = 3;
/// The largest message.
const LARGEST: usize = 64 * 1024;
/// Messages between two swaps, at least.
const BETWEEN: u64 = 200;
/// The builds of the handler, in the order in which they take over; the last one traps on one in ten events.
const BUILDS: [&str; 5] = ["answers_2", "answers_3", MOODY, "answers_4", "answers_1"];
/// See there.
const MOODY: &str = "answers_moody";

const SERVER: &str = r#"
    [server]
    workers = 3

    [server.limits]
    rollout-faults = 1000000000
    rollout-events = 1000000000

    [plugins]
    answers = { path = "answers_1.wasm" }
    gate = { path = "judge.wasm" }
    filter = { path = "copying.wasm" }

    [[route]]
    path = "/ws"
    handler = "answers"
    middleware = ["gate", "filter"]
"#;

/// A message of the client, and what is left to tell whether the answer is the one to it.
enum Said {
    Text(String),
    Binary(Vec<u8>),
}

fn say_something(choices: &mut Choices) -> Said {
    // Most are small, and some as large as they may be.
    let bound = if choices.below(20) == 0 { LARGEST } else { 500 };
    let length = 1 + choices.below(bound);
    let seed = choices.below(251) as u8;
    let byte = |index: usize| seed.wrapping_add((index * 7) as u8);
    match choices.below(2) {
        0 => Said::Text((0..length).map(|index| char::from(b'a' + byte(index) % 26)).collect()),
        _ => Said::Binary((0..length).map(byte).collect()),
    }
}

/// Talks until the time is over; every answer has to be the one to the message that it follows.
async fn talk(mut client: Client, mut choices: Choices, over: Arc<AtomicBool>) -> Client {
    while !over.load(Ordering::Relaxed) {
        let said: Vec<_> = (0..IN_FLIGHT).map(|_| say_something(&mut choices)).collect();
        for message in &said {
            match message {
                Said::Text(text) => client.send(text).await,
                Said::Binary(bytes) => client.send_binary(bytes.clone()).await,
            }
        }
        for message in &said {
            match message {
                Said::Text(text) => {
                    let answer = client.text().await;
                    let content = answer.split_once(' ').map(|(_, content)| content);
                    assert!(content == Some(text), "another answer than that to {} letters", text.len());
                }
                Said::Binary(bytes) => {
                    let answer = client.binary().await;
                    assert!(answer.get(1..) == Some(bytes), "another answer than that to {} bytes", bytes.len());
                }
            }
        }
    }
    client
}

/// The build of the handler for a round. One that traps on its very first event is rolled back and never taken again, so
/// each time it is another file.
fn build(round: usize) -> Vec<u8> {
    match BUILDS[round % BUILDS.len()] {
        MOODY => components().rebuilt(MOODY, round),
        other => components().bytes(other),
    }
}

async fn swap(server: &TestServer, plugin: &str, component: &[u8]) {
    server.replace_with(plugin, component);
    let reload = server.reload(plugin).await.expect("the file is good");
    assert!(matches!(reload, Reload::Swapped { .. }));
}

/// Swaps the handler, and each few times the middleware around it; gives how many swaps there were.
async fn swap_all(server: &TestServer, time: Duration) -> u64 {
    let began = Instant::now();
    let mut swaps = 0;
    for round in 0.. {
        if began.elapsed() >= time && round >= BUILDS.len() {
            break;
        }
        swap(server, "answers", &build(round)).await;
        swaps += 1;
        if round % 4 == 3 {
            swap(server, "filter", &components().rebuilt("copying", round / 4 % 2)).await;
            swap(server, "gate", &components().rebuilt("judge", round / 4 % 2)).await;
            swaps += 2;
        }
        let said = server.metrics().messages_in.get();
        server.until("the clients go on", |server| server.metrics().messages_in.get() >= said + BETWEEN).await;
    }
    swaps
}

#[tokio::test]
async fn l1_swaps_and_traps_of_new_builds_close_lose_double_and_reorder_nothing() {
    let connections = std::env::var("SWITCHBOARD_STRESS_CONNECTIONS").ok();
    let connections = connections.map_or(100, |count| count.parse().expect("a number of connections"));
    let server = setup(SERVER).reuse(Reuse::Always).start();
    let mut choices = Choices::new();
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(server.connect("/ws").await);
    }
    // A task for each: in one for all, the runtime's budget for a task leaves some without a turn for very long.
    let talks = clients.into_iter().map(|client| talk(client, choices.another(), over.clone()));
    let talking: JoinSet<Client> = talks.collect();
    let swaps = swap_all(&server, time()).await;
    over.store(true, Ordering::Relaxed);
    // Kept until all are counted.
    let clients = talking.join_all().await;
    let metrics = server.metrics();
    eprintln!(
        "{swaps} swaps, {} messages on {connections} connections, {} events run again",
        metrics.messages_in.get(),
        metrics.events_again.get()
    );
    assert_eq!(metrics.connections.get(), connections, "nobody was closed");
    assert_eq!(clients.len() as i64, connections);
    assert_eq!(metrics.messages_in.get(), metrics.messages_out.get(), "each message has one answer");
    assert_eq!(metrics.reloads.get(), swaps);
    assert_eq!(metrics.faults.get(), metrics.events_again.get(), "each fault was met by the build before");
    assert!(metrics.events_again.get() > 0, "builds that trap took part");
}
