//! Services: scenario T5, and what becomes of one that fails.
//!
//! Each call of the fixture is a line in the log, tagged with its generation; so the order of the log is the order of the
//! calls.

use std::time::Duration;

use futures_util::future::{join, join_all};
use switchboard_harness::{Clock, Record, Reuse, Setup, TestServer};

use crate::fixtures::setup;

/// A service with this configuration, and a puppet on `/ws`.
fn metronome(config: &str) -> Setup {
    metronome_within("", config)
}

/// The same with these limits.
fn metronome_within(limits: &str, config: &str) -> Setup {
    let toml = format!(
        r#"
        [server]
        limits = {{ {limits} }}

        [plugins]
        metronome = {{ path = "metronome.wasm", config = {{ {config} }} }}
        puppet = {{ path = "puppet.wasm" }}

        [[route]]
        path = "/ws"
        handler = "puppet"
        "#
    );
    setup(&toml).clock(Clock::manual())
}

/// What the service was told so far, as `CALL GENERATION`.
fn calls(server: &TestServer) -> Vec<String> {
    let records = server.log().records().into_iter().filter(|record| record.field("plugin") == "metronome");
    let calls = records.filter(Record::is_of_guest);
    calls.map(|record| format!("{} {}", record.message, record.field("generation"))).collect()
}

async fn until_called(server: &TestServer, expected: &[&str]) {
    server.until(&format!("{expected:?}"), |server| calls(server).len() >= expected.len()).await;
    assert_eq!(calls(server), expected);
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn t5_a_service_starts_before_the_first_accept_and_ticks_as_often_as_it_says() {
    let server = metronome("tick = 'publish lobby tick', every = 500").start();
    let mut ann = server.connect("/ws?do=join+lobby").await;
    let told: Vec<_> = server.log().records().into_iter().map(|record| record.message).collect();
    let at = |line: &str| told.iter().position(|message| message == line).expect("it was told");
    assert!(at("start") < at("tick") && at("tick") < at("connect"), "{told:?}");
    for _ in 0..5 {
        server.advance(Duration::from_millis(500));
        ann.expect_text("tick").await;
    }
    server.advance(Duration::from_millis(499));
    ann.expect_nothing_more().await;
}

#[tokio::test]
async fn t5_a_service_stops_before_the_connections_end_and_its_last_words_reach_them() {
    // On more workers than the one that has the services.
    let mut server = metronome("stop = 'publish @all the last words'").start();
    let clients = join_all((0..8).map(|_| server.connect("/ws"))).await;
    let told = join_all(clients.into_iter().map(async |mut client| {
        client.expect_text("the last words").await;
        client.expect_close(1012, "server is restarting").await;
    }));
    join(told, server.stop()).await;
    let told: Vec<_> = server.log().records().into_iter().map(|record| record.message).collect();
    let at = |line: &str| told.iter().position(|message| message.starts_with(line)).expect("it was told");
    assert!(at("stop") < at("disconnect"), "{told:?}");
    assert_eq!(told.iter().filter(|line| *line == "stop").count(), 1);
}

#[tokio::test]
async fn a_service_that_does_not_stop_leaves_the_connections_their_half_of_the_time() {
    // With an hour of CPU it does not fault before.
    let limits = "drain-ms = 6000, event-cpu-ms = 3600000, event-wall-ms = 3600000";
    let mut server = metronome_within(limits, "stop = 'await somebody'").start();
    let mut ann = server.connect("/ws").await;
    join(ann.expect_close(1012, "server is restarting"), server.stop()).await;
    server.logged(|record| record.message == "services did not stop within half of `drain-ms`").await;
    assert_eq!(server.log().records().iter().filter(|record| record.message.contains("are cut")).count(), 0);
}

#[tokio::test]
async fn t5_one_generation_runs_at_a_time() {
    for reuse in [Reuse::Always, Reuse::Never] {
        let server = metronome("").reuse(reuse).start();
        until_called(&server, &["start 1", "tick 1"]).await;
        let component = std::fs::read(server.file("metronome")).expect("the component is there");
        server.replace_with("metronome", &[&component[..], &[0, 5, 4], b"more"].concat());
        server.reload("metronome").await.expect("it is the same code");
        until_called(&server, &["start 1", "tick 1", "stop 1", "start 2", "tick 2"]).await;
        server.advance(seconds(1));
        until_called(&server, &["start 1", "tick 1", "stop 1", "start 2", "tick 2", "tick 2"]).await;
    }
}

#[tokio::test]
async fn t5_where_the_new_generation_cannot_start_the_old_one_is_started_again() {
    let server = metronome("").start();
    until_called(&server, &["start 1", "tick 1"]).await;
    server.replace("metronome", "metronome_broken");
    server.reload("metronome").await.expect("it can be instantiated");
    until_called(&server, &["start 1", "tick 1", "stop 1", "start 2", "start 1", "tick 1"]).await;
    server.logged(|record| record.message.starts_with("rolled back")).await;
    server.reload("metronome").await.expect_err("the file is as it was");
}

#[tokio::test]
async fn t5_services_take_no_canary() {
    let toml = r#"
        [plugins.metronome]
        path = "metronome.wasm"
        canary = 50

        [[static]]
        path = "/"
        folder = "."
    "#;
    let server = setup(toml).clock(Clock::manual()).start();
    until_called(&server, &["start 1", "tick 1"]).await;
    let component = std::fs::read(server.file("metronome")).expect("the component is there");
    server.replace_with("metronome", &[&component[..], &[0, 5, 4], b"more"].concat());
    server.reload("metronome").await.expect("it is the same code");
    server.advance(seconds(1));
    until_called(&server, &["start 1", "tick 1", "tick 1"]).await;
    server.app().registry().promote("metronome").expect("there is a roll-out");
    until_called(&server, &["start 1", "tick 1", "tick 1", "stop 1", "start 2", "tick 2"]).await;
}

#[tokio::test]
async fn a_service_that_cannot_start_is_tried_again_with_growing_pauses() {
    let server = metronome("fail = 'no source'").start();
    let mut ann = server.connect("/ws").await;
    ann.send("send connections are served all the same").await;
    ann.expect_text("connections are served all the same").await;
    let mut expected = vec!["start 1"];
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        until_called(&server, &expected).await;
        let reported = |server: &TestServer| {
            let records = server.log().records();
            records.iter().filter(|record| record.message == "the service is started again").count()
        };
        server.until("the pause has begun", |server| reported(server) == expected.len()).await;
        server.advance(seconds(pause) - Duration::from_millis(1));
        ann.send("send later").await;
        ann.expect_text("later").await;
        assert_eq!(calls(&server).len(), expected.len(), "not before {pause} s");
        server.advance(Duration::from_millis(1));
        expected.push("start 1");
    }
    server.logged(|record| record.message == "the service could not start: no source").await;
}

#[tokio::test]
async fn a_service_that_faults_is_reported_and_started_again() {
    let server = metronome("tick = 'publish lobby lost; trap in the service'").start();
    let mut ann = server.connect("/ws?do=join+lobby").await;
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert_eq!((fault.field("plugin"), fault.field("event")), ("metronome", "tick"));
    let again = server.logged(|record| record.message == "the service is started again").await;
    assert_eq!(again.field("pause_ms"), "1000");
    server.advance(seconds(1));
    until_called(&server, &["start 1", "tick 1", "start 1", "tick 1"]).await;
    server.until("that is counted as well", |server| server.metrics().service_faults.get() == 2).await;
    ann.expect_nothing_more().await;
}

#[tokio::test]
async fn a_service_has_no_connection_of_its_own() {
    let server = metronome("tick = 'join lobby; set a b; send x; timer 1 1'").start();
    for verb in ["join", "set", "timer"] {
        server.logged(|record| record.message == format!("{verb}: invalid")).await;
    }
}
