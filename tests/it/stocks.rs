//! The first-party plugin `stocks`, a service and a handler in one: scenarios T1 to T4. Services as such are in `services`.
//!
//! The clock is the test's, so that a second is over when the test says so.

use std::time::Duration;

use serde_json::Value;
use switchboard_harness::{Client, Clock, TestServer};

use crate::fixtures::setup;

/// The plugin with this source, and a puppet on `/feed` that can write to the store.
fn stocks(source: &str) -> TestServer {
    let toml = format!(
        r#"
        [plugins.stocks]
        path = "stocks.wasm"
        config = {{ source = "{source}" }}

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/stream/{{kind}}"
        handler = "stocks"

        [[route]]
        path = "/feed"
        handler = "puppet"
        "#
    );
    setup(&toml).clock(Clock::manual()).start()
}

/// The data of the next message, which must be of this kind and from this moment, in milliseconds after the start.
async fn data(client: &mut Client, kind: &str, after: u64) -> Value {
    let text = client.text().await;
    assert!(text.starts_with(&format!(r#"{{"type":"{kind}","data":{{"#)), "{text}");
    let mut told: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(told["timestamp"], 1_000_000_000_000 + after, "{text}");
    told["data"].take()
}

/// How often the source failed so far.
fn failures(server: &TestServer) -> usize {
    let records = server.log().records().into_iter();
    records.filter(|record| record.message.starts_with("no data, trying again in 5 s")).count()
}

async fn until_failures(server: &TestServer, count: usize) {
    server.until(&format!("{count} failures"), |server| failures(server) >= count).await;
}

#[tokio::test]
async fn t1_only_known_kinds_are_streamed() {
    let server = stocks("walk");
    server.connect("/stream/foo").await.expect_close(1008, "Invalid data type").await;
    for kind in ["stocks", "weather", "news"] {
        server.connect(&format!("/stream/{kind}")).await.expect_nothing_more().await;
    }
}

#[tokio::test]
async fn t2_each_kind_comes_every_second_to_those_who_asked_for_it() {
    let server = stocks("walk");
    let [mut ann, mut bob] = [server.connect("/stream/stocks").await, server.connect("/stream/stocks").await];
    let mut cy = server.connect("/stream/news").await;
    let mut before = Value::Null;
    for second in 1..=5 {
        server.advance(Duration::from_secs(1));
        let prices = data(&mut ann, "stocks", second * 1000).await;
        assert!(prices["ACME"].is_f64() && prices != before, "{prices}");
        assert_eq!(data(&mut bob, "stocks", second * 1000).await, prices);
        assert!(data(&mut cy, "news", second * 1000).await["headline"].is_string());
        before = prices;
    }
    for client in [&mut ann, &mut bob, &mut cy] {
        client.expect_nothing_more().await;
    }
}

#[tokio::test]
async fn t3_a_ping_is_answered_and_after_an_unsubscribe_comes_nothing() {
    let server = stocks("walk");
    let [mut ann, mut bob] = [server.connect("/stream/stocks").await, server.connect("/stream/stocks").await];
    ann.send("ping").await;
    ann.expect_text("pong").await;
    ann.send("unsubscribe").await;
    ann.expect_close(1000, "Unsubscribed").await;
    server.advance(Duration::from_secs(1));
    data(&mut bob, "stocks", 1000).await;
}

#[tokio::test]
async fn t4_a_source_that_fails_is_tried_again_after_5_seconds_and_the_clients_stay() {
    let server = stocks("store:feed");
    let mut ann = server.connect("/stream/stocks").await;
    let mut feeder = server.connect("/feed").await;
    until_failures(&server, 1).await;
    let record = server.logged(|record| record.message.contains("nothing under \"feed\"")).await;
    assert_eq!((record.field("plugin"), record.level.as_str()), ("stocks", "ERROR"));

    feeder.send("store-set feed {bad\nsend fed").await;
    feeder.expect_text("fed").await;
    server.advance(Duration::from_secs(5));
    until_failures(&server, 2).await;
    server.logged(|record| record.message.contains("no JSON object: key must be a string")).await;

    feeder.send("store-set feed {\"stocks\":{\"X\":1.5}}\nsend fed").await;
    feeder.expect_text("fed").await;
    server.advance(Duration::from_secs(5));
    assert_eq!(data(&mut ann, "stocks", 10_000).await["X"], 1.5);
    server.advance(Duration::from_secs(1));
    assert_eq!(data(&mut ann, "stocks", 11_000).await["X"], 1.5);
    assert_eq!(failures(&server), 2);
}
