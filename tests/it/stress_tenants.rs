//! Many tenants on two workers, some of them hostile: whatever these do, the others lose nothing.
//!
//! `SWITCHBOARD_STRESS_TENANTS` says how many there are, forty by default, of which one in twenty is hostile, and
//! `SWITCHBOARD_STRESS_SECONDS` how long the others talk at least, one second by default. Every answer is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use switchboard_harness::{Client, Received, Reuse, TestServer};
use tokio::task::JoinSet;

use crate::fixtures::setup;
use crate::stress::time;
use crate::tenants::{SERVER, tenant};

/// Connections of one tenant.
const CONNECTIONS: usize = 20;
/// What hostile clients say, one thing after the other.
const ATTACKS: [&str; 8] = [
    "spin",
    "burn 1000",
    "trap on purpose",
    "grow 100000000",
    "repeat 2000 send flood",
    "repeat 900 publish @all flood",
    "repeat 500 increment hits 1",
    "repeat 400 print a line for the log",
];

/// Numbers its messages, and expects them back in order until the attacks are over.
async fn talk(mut client: Client, over: Arc<AtomicBool>) -> u64 {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) || number == 0 {
        number += 1;
        client.send(&format!("send {number}")).await;
        client.expect_text(&number.to_string()).await;
    }
    number
}

/// Attacks until it is over, on a new connection each time that one ends. Its own server may refuse it: that is no failure.
async fn attack(server: Arc<TestServer>, path: String, first: usize, over: Arc<AtomicBool>) -> u64 {
    let mut attacks = 0;
    while !over.load(Ordering::Relaxed) {
        let Ok(mut client) = server.request(&path).open().await else {
            tokio::task::yield_now().await;
            continue;
        };
        for index in first.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            attacks += 1;
            client.send(ATTACKS[index % ATTACKS.len()]).await;
            if !hears_of_it(&mut client).await {
                break;
            }
        }
    }
    attacks
}

/// Reads until the server answers a ping behind the attack; false where the connection ended with it.
async fn hears_of_it(client: &mut Client) -> bool {
    client.ping(b"done").await;
    loop {
        match client.receive().await {
            Received::Pong(_) => return true,
            Received::Close(..) | Received::End => return false,
            Received::Text(_) | Received::Binary(_) => {}
        }
    }
}

#[tokio::test]
async fn hostile_tenants_cost_the_others_no_message_and_no_connection() {
    let count = std::env::var("SWITCHBOARD_STRESS_TENANTS").ok();
    let count: usize = count.map_or(40, |count| count.parse().expect("a number of tenants"));
    let name = |index: usize| format!("tenant-{index}");
    let is_hostile = |index: usize| index.is_multiple_of(20);
    let mut setup = setup(&format!("[server]\nworkers = 2\n{SERVER}"));
    for index in 0..count {
        setup = setup.tenant(&name(index), &tenant(""));
    }
    let server = Arc::new(setup.reuse(Reuse::Always).start());
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for index in (0..count).filter(|index| !is_hostile(*index)) {
        for _ in 0..CONNECTIONS {
            clients.push(server.connect(&format!("/{}/ws", name(index))).await);
        }
    }
    let well_behaved = clients.len() as i64;
    let mut attacking = JoinSet::new();
    for index in (0..count).filter(|index| is_hostile(*index)) {
        for first in 0..CONNECTIONS {
            attacking.spawn(attack(server.clone(), format!("/{}/ws", name(index)), first, over.clone()));
        }
    }
    let talking: JoinSet<u64> = clients.into_iter().map(|client| talk(client, over.clone())).collect();
    let began = Instant::now();
    let faults = |server: &TestServer| server.metrics().faults.get() > 0;
    server.until("there is an attack that fails", faults).await;
    tokio::time::sleep(time().saturating_sub(began.elapsed())).await;
    over.store(true, Ordering::Relaxed);
    let answers: u64 = talking.join_all().await.into_iter().sum();
    let attacks: u64 = attacking.join_all().await.into_iter().sum();
    eprintln!("{answers} answers to {well_behaved} connections beside {attacks} attacks");
    assert!(answers >= well_behaved as u64, "each had an answer");
    assert_eq!(server.metrics().panics.get(), 0);
}
