//! The stocks plugin against the fake host, by the rows of the scenarios that it must fulfill.
//!
//! The service is driven for some seconds at a time, and what the clients were told is compared without the timestamps.

use serde_json::json;
use switchboard_sdk::testing::{FakeConnection, FakeHost, FakeRequest, expect_fault};

use super::*;

fn ask(host: &FakeHost, kind: &str) -> FakeConnection {
    host.connection(FakeRequest::new("/stream").param("kind", kind))
}

fn listen(host: &FakeHost, kind: &str) -> FakeConnection {
    let connection = ask(host, kind);
    connection.connect::<Stocks>().unwrap();
    connection
}

/// The data that a client was sent, each checked to be of its kind and to have a timestamp.
fn heard(connection: &FakeConnection, kind: &str) -> Vec<Value> {
    let told = connection.take_received().into_iter().map(|message| message.json::<Value>().unwrap());
    told.map(|mut told| {
        assert!(told["type"] == kind && told["timestamp"].as_u64().unwrap() > 1_600_000_000_000, "{told}");
        told["data"].take()
    })
    .collect()
}

fn seconds(host: &FakeHost, seconds: u64) -> usize {
    host.run::<Stocks>(Duration::from_secs(seconds))
}

#[test]
fn only_known_kinds_are_streamed() {
    let host = FakeHost::new();
    assert_eq!(ask(&host, "foo").connect::<Stocks>().unwrap_err(), Close::policy("Invalid data type").into());
    assert!(KINDS.iter().all(|kind| ask(&host, kind).connect::<Stocks>().is_ok()));
}

#[test]
fn each_kind_is_told_every_second_to_those_who_listen_to_it() {
    let host = FakeHost::new();
    let clients = KINDS.map(|kind| listen(&host, kind));
    assert_eq!(seconds(&host, 3), 3);
    let [stocks, weather, news] = [0, 1, 2].map(|index| heard(&clients[index], KINDS[index]));
    assert_eq!((stocks.len(), weather.len(), news.len()), (3, 3, 3));
    assert!(stocks[0]["ACME"].is_f64() && stocks[0] != stocks[1], "{stocks:?}");
    assert!(weather[0]["celsius"].is_f64() && news[0]["headline"].is_string());
}

#[test]
fn fields_come_in_the_order_of_the_documentation() {
    let host = FakeHost::new();
    let ann = listen(&host, "news");
    seconds(&host, 1);
    let text = ann.take_received()[0].text().unwrap().to_owned();
    assert!(text.starts_with(r#"{"type":"news","data":{"#) && text.contains(r#"},"timestamp":1"#), "{text}");
}

#[test]
fn a_walk_goes_on_where_it_was() {
    let host = FakeHost::new();
    let ann = listen(&host, "stocks");
    host.store("stocks/walk", br#"{"stocks":{"X":500.0},"weather":{"place":"here","celsius":1.0,"wind":1.0},"news":{"number":1,"headline":"h"}}"#);
    seconds(&host, 1);
    let price = heard(&ann, "stocks")[0]["X"].as_f64().unwrap();
    assert!((496.0..=504.0).contains(&price), "{price}");
    host.store("stocks/walk", b"of another version");
    seconds(&host, 1);
    assert!(heard(&ann, "stocks")[0]["ACME"].is_f64());
}

#[test]
fn pings_are_answered_and_who_unsubscribes_is_closed() {
    let host = FakeHost::new();
    let ann = listen(&host, "stocks");
    ann.message::<Stocks>("ping");
    ann.message::<Stocks>("something else");
    assert_eq!((ann.take_received(), ann.closed()), (vec!["pong".into()], None));
    ann.message::<Stocks>("unsubscribe");
    seconds(&host, 2);
    assert_eq!((ann.take_received(), ann.closed()), (vec![], Some(Close::normal("Unsubscribed"))));
}

#[test]
fn a_source_that_fails_is_tried_again_after_5_seconds() {
    let host = FakeHost::new().config("source", "store:feed");
    let ann = listen(&host, "stocks");
    assert_eq!(seconds(&host, 10), 2);
    let missing = "error: no data, trying again in 5 s: the store has nothing under \"feed\"";
    assert_eq!(host.take_log(), [missing, missing]);
    host.store("feed", b"{bad");
    assert_eq!(host.tick::<Stocks>(), PAUSE_AFTER_FAILURE);
    assert!(host.take_log()[0].contains("is no JSON object: key must be a string"));
    assert_eq!((ann.take_received(), ann.closed()), (vec![], None));
    host.store("feed", br#"{"stocks":{"X":1}}"#);
    assert_eq!(seconds(&host, 2), 2);
    assert_eq!(heard(&ann, "stocks"), [json!({"X": 1}), json!({"X": 1})]);
}

#[test]
fn a_source_that_is_none_faults() {
    for source in ["store:", "walk:", "file:x", "runs"] {
        let host = FakeHost::new().config("source", source);
        let text = expect_fault(|| {
            host.tick::<Stocks>();
        });
        assert!(text.contains("store:KEY"), "{text}");
    }
}
