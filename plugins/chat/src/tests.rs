//! The chat plugin against the fake host, by the rows of the scenarios that it must fulfill.
//!
//! Each test makes a host of its own; what the members were told is compared without the timestamps, which are only checked
//! to be there.

use serde_json::{Value, json};
use switchboard_sdk::testing::{FakeConnection, FakeHost};

use super::*;

fn join(host: &FakeHost, user: &str) -> FakeConnection {
    let connection = host.connection(format!("/ws?room=lobby&user={user}").as_str());
    connection.connect::<Chat>().unwrap();
    connection
}

/// What a member was told; what happened in the room is checked to have a timestamp and then without it.
fn heard(connection: &FakeConnection) -> Vec<Value> {
    let told = connection.take_received().into_iter().map(|message| message.json::<Value>().unwrap());
    told.map(|mut value| {
        if value["type"] != "joined" && value["type"] != "presence" {
            assert!(value.as_object_mut().unwrap().remove("timestamp").unwrap().as_u64().unwrap() > 1_600_000_000_000);
        }
        value
    })
    .collect()
}

fn say(connection: &FakeConnection, content: &str) {
    connection.message::<Chat>(json!({"type": "message", "content": content}).to_string());
}

/// Connects, is told how the join went, and gives what it heard.
fn enter(host: &FakeHost, target: &str) -> Vec<Value> {
    let connection = host.connection(target);
    connection.connect::<Chat>().unwrap();
    connection.joined::<Chat>();
    heard(&connection)
}

fn said(contents: &[&str]) -> Vec<Value> {
    contents.iter().map(|content| json!({"type": "message", "user": "ann", "content": content})).collect()
}

#[test]
fn the_others_hear_who_joins() {
    let host = FakeHost::new();
    let (ann, bob) = (join(&host, "ann"), join(&host, "bob"));
    assert_eq!(heard(&ann), [json!({"type": "user_joined", "user": "bob"})]);
    assert_eq!(heard(&bob), [] as [Value; 0]);
    assert_eq!(bob.rooms(), ["chat/lobby", "presence/lobby"]);
}

#[test]
fn everyone_hears_what_is_said() {
    let host = FakeHost::new();
    let (ann, bob) = (join(&host, "ann"), join(&host, "bob"));
    heard(&ann);
    ann.message::<Chat>(r#"{"type":"message","content":"hello"}"#);
    let told = json!({"type": "message", "user": "ann", "content": "hello"});
    assert_eq!((heard(&ann), heard(&bob)), (vec![told.clone()], vec![told]));
}

#[test]
fn fields_come_in_the_order_of_the_documentation() {
    let host = FakeHost::new();
    let ann = join(&host, "ann");
    ann.message::<Chat>(r#"{"type":"message","content":"hello"}"#);
    let text = ann.take_received()[0].text().unwrap().to_owned();
    assert!(text.starts_with(r#"{"type":"message","user":"ann","content":"hello","timestamp":1"#), "{text}");
}

#[test]
fn another_type_is_ignored() {
    let ann = join(&FakeHost::new(), "ann");
    ann.message::<Chat>(r#"{"type":"typing","since":3}"#);
    assert_eq!((heard(&ann), ann.closed()), (vec![], None));
}

#[test]
fn bad_json_closes_with_1007_and_the_others_hear_of_it_once() {
    let host = FakeHost::new();
    let (ann, bob) = (join(&host, "ann"), join(&host, "bob"));
    bob.message::<Chat>("{bad");
    let close = bob.closed().unwrap();
    assert_eq!(close.code(), 1007);
    heard(&ann);
    bob.disconnect::<Chat>(close);
    assert_eq!(heard(&ann), [json!({"type": "user_left", "user": "bob"})]);
    assert_eq!(heard(&bob), [] as [Value; 0]);
}

#[test]
fn rooms_do_not_hear_each_other() {
    let host = FakeHost::new();
    let ann = join(&host, "ann");
    let eve = host.connection("/ws?room=attic&user=eve");
    eve.connect::<Chat>().unwrap();
    eve.message::<Chat>(r#"{"type":"message","content":"psst"}"#);
    assert_eq!(heard(&ann), [] as [Value; 0]);
}

#[test]
fn without_room_or_user_there_is_no_seat() {
    let host = FakeHost::new();
    for target in ["/ws", "/ws?room=lobby", "/ws?user=ann&room="] {
        let refusal = host.connection(target).connect::<Chat>().unwrap_err();
        assert_eq!(refusal, Close::policy("Missing parameters").into());
    }
}

#[test]
fn a_room_that_is_not_configured_is_not_found() {
    let host = FakeHost::new().config("rooms", "lobby, attic");
    let cellar = host.connection("/ws?room=cellar&user=ann");
    assert_eq!(cellar.connect::<Chat>().unwrap_err(), Close::policy("Room not found").into());
    assert_eq!(cellar.closed(), Some(Close::policy("Room not found")));
    assert!(host.connection("/ws?room=attic&user=ann").connect::<Chat>().is_ok());
}

#[test]
fn a_name_too_long_for_a_room_is_not_found() {
    let join = |room: &str| {
        FakeHost::new().connection(format!("/ws?user=ann&room={room}").as_str()).connect::<Chat>().map(drop)
    };
    assert_eq!(join(&"x".repeat(119)), Ok(()));
    for room in [&*"x".repeat(120), "a%0Ab"] {
        assert_eq!(join(room), Err(Close::policy("Room not found").into()));
    }
}

#[test]
fn a_newcomer_gets_the_newest_of_what_is_kept_and_no_word_of_places() {
    let host = FakeHost::new().keep("chat/*", 10).config("replay", "2");
    let ann = join(&host, "ann");
    ["one", "two", "three"].iter().for_each(|content| say(&ann, content));
    assert_eq!(enter(&host, "/ws?room=lobby&user=bob"), said(&["two", "three"]));
    assert_eq!(enter(&host, "/ws?room=attic&user=bob"), [] as [Value; 0]);
}

#[test]
fn one_that_comes_back_gets_what_it_missed_and_hears_where_it_is() {
    let host = FakeHost::new().keep("chat/*", 2);
    let ann = join(&host, "ann");
    say(&ann, "one");
    let joined = |place: &str, complete: bool| json!({"type": "joined", "place": place, "complete": complete});
    let first = enter(&host, "/ws?room=lobby&user=bob&since=");
    let place = first[1]["place"].as_str().unwrap().to_owned();
    assert_eq!(first, [said(&["one"]), vec![joined(&place, true)]].concat());
    let newest = place.replace("-1", "-3");
    ["two", "three"].iter().for_each(|content| say(&ann, content));
    let back = format!("/ws?room=lobby&user=bob&since={place}");
    assert_eq!(enter(&host, &back), [said(&["two", "three"]), vec![joined(&newest, true)]].concat());
    say(&ann, "four");
    let newest = place.replace("-1", "-4");
    assert_eq!(enter(&host, &back), [said(&["three", "four"]), vec![joined(&newest, false)]].concat());
}

#[test]
fn a_host_that_keeps_nothing_gives_no_place() {
    let host = FakeHost::new();
    assert_eq!(enter(&host, "/ws?room=lobby&user=bob"), [] as [Value; 0]);
    let told = json!({"type": "joined", "place": null, "complete": false});
    assert_eq!(enter(&host, "/ws?room=lobby&user=bob&since=1-1"), [told]);
}

#[test]
fn a_place_that_is_none_is_refused() {
    let cy = FakeHost::new().connection("/ws?room=lobby&user=cy&since=yesterday");
    assert_eq!(cy.connect::<Chat>().unwrap_err(), Close::policy("Bad place").into());
}

#[test]
fn who_asks_hears_how_many_are_present() {
    let host = FakeHost::new();
    let (ann, bob) = (join(&host, "ann"), join(&host, "bob"));
    heard(&ann);
    ann.message::<Chat>(r#"{"type":"presence"}"#);
    assert_eq!((heard(&ann), heard(&bob)), (vec![json!({"type": "presence", "count": 2})], vec![]));
}
