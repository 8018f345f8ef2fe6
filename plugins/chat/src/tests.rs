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

/// What a member was told, each checked to have a timestamp and then without it.
fn heard(connection: &FakeConnection) -> Vec<Value> {
    let told = connection.take_received().into_iter().map(|message| message.json::<Value>().unwrap());
    told.map(|mut value| {
        assert!(value.as_object_mut().unwrap().remove("timestamp").unwrap().as_u64().unwrap() > 1_600_000_000_000);
        value
    })
    .collect()
}

#[test]
fn the_others_hear_who_joins() {
    let host = FakeHost::new();
    let (ann, bob) = (join(&host, "ann"), join(&host, "bob"));
    assert_eq!(heard(&ann), [json!({"type": "user_joined", "user": "bob"})]);
    assert_eq!(heard(&bob), [] as [Value; 0]);
    assert_eq!(bob.rooms(), ["chat/lobby"]);
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
    let target = format!("/ws?user=ann&room={}", "x".repeat(124));
    let refusal = FakeHost::new().connection(target.as_str()).connect::<Chat>().unwrap_err();
    assert_eq!(refusal, Close::policy("Room not found").into());
}
