//! Roll-outs: a new generation that is no good harms nobody (L5), and a canary takes a share of the connections (L6).
//!
//! `moody_2` traps on every tenth message, after it has counted it in the store; `moody_1` is the build before. Both answer
//! `BUILD TEXT COUNT`, so that an answer shows who gave it and whether an attempt that was thrown away left anything.

use std::time::Duration;

use futures_util::future::join_all;
use switchboard_harness::{Client, Clock, Reload, Reuse, TestServer};

use switchboard::engine::registry::{Order, Rejected};

use crate::fixtures::setup;

/// Build 1 on all workers; `limits` are keys of `[server.limits]`, `plugin` is added to the plugin.
fn moody(limits: &str, plugin: &str) -> TestServer {
    let toml = format!(
        r#"
        [server.limits]
        {limits}

        [plugins.moody]
        path = "moody_1.wasm"
        {plugin}

        [[route]]
        path = "/ws"
        handler = "moody"
        "#
    );
    setup(&toml).clock(Clock::manual()).reuse(Reuse::Always).start()
}

/// Puts build 2 in its place.
async fn roll_out(server: &TestServer) {
    server.replace("moody", "moody_2");
    let reload = server.reload("moody").await.expect("it starts well");
    assert!(matches!(reload, Reload::Swapped { generation: 2, .. }));
}

/// Says a number; gives the build that answered, and the count that it told.
async fn say(client: &mut Client, number: u64) -> (u64, u64) {
    client.send(&number.to_string()).await;
    let answer = client.text().await;
    let words: Vec<u64> = answer.split(' ').map(|word| word.parse().expect("a number")).collect();
    assert_eq!(words[1], number, "the answer to another message");
    (words[0], words[2])
}

/// The build that answers a message on which no build traps.
async fn build(client: &mut Client) -> u64 {
    say(client, 1).await.0
}

#[tokio::test]
async fn l5_an_event_that_faults_on_the_new_generation_runs_on_the_one_before() {
    let server = moody("rollout-faults = 100", "");
    let mut ann = server.connect("/ws").await;
    roll_out(&server).await;
    for number in 1..=50 {
        let expected = if number % 10 == 0 { 1 } else { 2 };
        assert_eq!(say(&mut ann, number).await, (expected, number), "each is counted once");
    }
    assert_eq!((server.metrics().events_again.get(), server.metrics().faults.get()), (5, 5));
    assert_eq!(server.metrics().rollbacks.get(), 0);
    assert_eq!(events(&server), [(5, 0), (45, 5)]);
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert_eq!((fault.field("plugin"), fault.field("generation")), ("moody", "2"));
    assert!(fault.field("printed").contains("not to my taste"), "{fault}");
}

#[tokio::test]
async fn l5_past_the_budget_of_faults_the_roll_out_is_undone() {
    let server = moody("rollout-faults = 3", "");
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/ws").await;
    roll_out(&server).await;
    for number in 1..=39 {
        let expected = if number % 10 == 0 { 1 } else { 2 };
        assert_eq!(say(&mut ann, number).await.0, expected);
    }
    assert_eq!(build(&mut bob).await, 2);
    assert_eq!(say(&mut ann, 40).await.0, 1, "the fourth fault is one too many, and the client knows of none");
    for client in [&mut ann, &mut bob] {
        assert_eq!(build(client).await, 1);
    }
    assert_eq!(server.metrics().rollbacks.get(), 1);
    let told = server.logged(|record| record.message.starts_with("rolled back")).await;
    assert_eq!((told.field("plugin"), told.field("generation")), ("moody", "2"));
    let again = server.reload("moody").await.expect_err("the file is as it was").to_string();
    assert!(again.contains("was rejected before, because it faulted at once, or too often; change it"), "{again}");
    assert!(again.ends_with("to try it all the same: `switchboard reload moody --force`"), "{again}");
    let force = Order { rejected: Rejected::Forgive, ..Order::by("command") };
    let forced = server.app().registry().reload("moody", force).expect("there is such a plugin");
    assert!(matches!(forced, Ok(Reload::Swapped { generation: 3, .. })), "{forced:?}");
    assert_eq!(build(&mut ann).await, 2);
    assert_eq!(server.app().registry().roll_back("moody"), Ok((3, 1)));
    let again = server.reload("moody").await.expect_err("it was rejected once more").to_string();
    assert!(again.contains("because it was rolled back by command"), "{again}");
}

#[tokio::test]
async fn l5_a_fault_on_both_generations_is_a_fault() {
    let server = moody("rollout-faults = 100", "");
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/ws").await;
    roll_out(&server).await;
    assert_eq!(build(&mut bob).await, 2);
    ann.send("666").await;
    ann.expect_close(1011, "internal error").await;
    assert_eq!(server.metrics().faults.get(), 2, "one of each generation");
    assert_eq!(build(&mut bob).await, 2);
}

#[tokio::test]
async fn l5_a_generation_that_has_shown_enough_is_promoted_and_has_to_stand_by_itself() {
    let server = moody("rollout-events = 20\nrollout-ms = 5000", "");
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/ws").await;
    roll_out(&server).await;
    for number in 1..=30 {
        say(&mut ann, number).await;
    }
    assert_eq!(say(&mut ann, 40).await.0, 1, "enough events, and too early");
    server.advance(Duration::from_secs(5));
    assert_eq!(build(&mut ann).await, 2);
    server.logged(|record| record.message.starts_with("promoted")).await;
    ann.send("50").await;
    ann.expect_close(1011, "internal error").await;
    assert_eq!(build(&mut bob).await, 2);
    assert_eq!(server.metrics().rollbacks.get(), 0);
}

#[tokio::test]
async fn l5_all_workers_lose_nothing_while_a_roll_out_is_undone() {
    const CLIENTS: u64 = 40;
    const MESSAGES: u64 = 50;
    let server = moody("rollout-faults = 30", "");
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(server.connect("/ws").await);
    }
    roll_out(&server).await;
    let talks = clients.iter_mut().enumerate().map(|(index, client)| async move {
        for number in 1..=MESSAGES {
            say(client, number + 1000 * index as u64).await;
        }
    });
    join_all(talks).await;
    assert_eq!(say(&mut clients[0], 1).await, (1, CLIENTS * MESSAGES + 1), "each was counted once, whoever it ran on");
    assert_eq!((server.metrics().rollbacks.get(), server.metrics().connections.get()), (1, CLIENTS as i64));
}

/// Which build each of these connections is served by, asked twice.
async fn builds(clients: &mut [Client]) -> Vec<u64> {
    let mut builds = Vec::new();
    for client in clients {
        let (first, again) = (build(client).await, build(client).await);
        assert_eq!(first, again, "a connection stays on its side");
        builds.push(first);
    }
    builds
}

/// Events and faults, on the old side and on the new one.
fn events(server: &TestServer) -> [(u64, u64); 2] {
    let rollout = server.app().registry().plugins()["moody"].report().rollout.expect("there is a roll-out");
    [rollout.old, rollout.new].map(|seen| (seen.events, seen.faults))
}

/// How many connections ended on the old side, and how many on the new one.
fn closes(server: &TestServer) -> (u64, u64) {
    let rollout = server.app().registry().plugins()["moody"].report().rollout.expect("there is a roll-out");
    (rollout.old.closes, rollout.new.closes)
}

async fn connect(server: &TestServer, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(server.connect("/ws").await);
    }
    clients
}

#[tokio::test]
async fn l6_a_canary_takes_a_stable_share_until_it_is_promoted() {
    let server = moody("", "canary = 10");
    let mut clients = connect(&server, 200).await;
    roll_out(&server).await;
    let first = builds(&mut clients).await;
    let new = first.iter().filter(|build| **build == 2).count();
    assert!((8..=40).contains(&new), "about a tenth, and not {new} of 200");
    assert_eq!(builds(&mut clients).await, first);
    let on_new = first.iter().position(|build| *build == 2).expect("there are some");
    clients.remove(on_new).reset();
    server.until("the end is counted on its side", |server| closes(server) == (0, 1)).await;
    server.app().registry().promote("moody").expect("there is a roll-out");
    assert!(builds(&mut clients).await.iter().all(|build| *build == 2));
}

#[tokio::test]
async fn l6_a_canary_that_is_rolled_back_leaves_nothing() {
    let server = moody("", "canary = 50");
    let mut clients = connect(&server, 20).await;
    roll_out(&server).await;
    assert!(builds(&mut clients).await.contains(&2));
    assert_eq!(server.app().registry().roll_back("moody"), Ok((2, 1)));
    assert!(builds(&mut clients).await.iter().all(|build| *build == 1));
}

#[tokio::test]
async fn l6_a_canary_is_promoted_by_itself_after_its_time() {
    let server = moody("rollout-events = 1", "canary = 50\ncanary-ms = 60000");
    let mut clients = connect(&server, 20).await;
    roll_out(&server).await;
    server.advance(Duration::from_secs(59));
    let before = builds(&mut clients).await;
    assert!(before.contains(&1) && before.contains(&2), "{before:?}");
    server.advance(Duration::from_secs(1));
    // The event that finds it ripe still runs on its own side.
    for client in &mut clients {
        build(client).await;
    }
    assert!(builds(&mut clients).await.iter().all(|build| *build == 2));
}

#[tokio::test]
async fn a_roll_back_after_the_promotion_goes_back_too_and_only_once() {
    let server = moody("", "");
    let mut ann = server.connect("/ws").await;
    roll_out(&server).await;
    let registry = server.app().registry().clone();
    registry.promote("moody").expect("there is a roll-out");
    assert_eq!(build(&mut ann).await, 2);
    assert_eq!(registry.roll_back("moody"), Ok((2, 1)));
    assert_eq!(build(&mut ann).await, 1);
    let nothing = registry.roll_back("moody").expect_err("there is nothing left");
    assert_eq!(nothing.to_string(), "plugin moody: there is no generation to go back to");
    let unknown = registry.promote("mody").expect_err("there is no such plugin");
    assert_eq!(unknown.to_string(), "there is no plugin `mody`; there are: moody");
}

#[tokio::test]
async fn an_event_that_faults_on_a_generation_that_was_replaced_meanwhile_runs_on_the_one_that_took_over() {
    let server = setup(
        r#"
        [server.limits]
        event-cpu-ms = 20000

        [plugins]
        puppet = { path = "puppet.wasm" }
        other = { path = "puppet.wasm" }

        [[route]]
        path = "/ws"
        handler = "puppet"

        [[route]]
        path = "/other"
        handler = "other"
        "#,
    )
    .start();
    let mut ann = server.connect("/ws").await;
    ann.send("log waiting\nawait go\ntrap now").await;
    server.logged(|record| record.message == "waiting").await;
    server.replace("puppet", "answers_2");
    server.reload("puppet").await.expect("it starts well");
    let _bob = server.connect("/other?do=join+go").await;
    ann.expect_text("2 log waiting\nawait go\ntrap now").await;
}
