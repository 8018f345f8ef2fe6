//! Chat rooms, with the first-party plugin `chat`: scenarios R1 to R7 and R9.
//!
//! The clock stands still, so that timestamps are known. The members sit on two workers.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use switchboard_harness::{Client, Clock, Reuse, TestServer};

use crate::fixtures::setup;

/// The chat behind a filter that traps at the word `boom`. Rooms keep 1000 messages for an hour.
fn chat() -> TestServer {
    chat_with("", Reuse::Never)
}

/// The same with this in the configuration of the chat.
fn chat_with(config: &str, reuse: Reuse) -> TestServer {
    let toml = r#"
        [[room]]
        name = "chat/*"
        keep = 1000
        keep-bytes = 8388608

        [plugins.chat]
        path = "chat.wasm"
        config = { CONFIG }

        [plugins.fragile]
        path = "link.wasm"
        config = { in = "trap", when = "boom" }

        [[route]]
        path = "/chat"
        handler = "chat"
        middleware = ["fragile"]
    "#;
    setup(&toml.replace("CONFIG", config)).clock(Clock::manual()).reuse(reuse).start()
}

async fn join(server: &TestServer, room: &str, user: &str) -> Client {
    server.connect(&format!("/chat?room={room}&user={user}")).await
}

fn joined(user: &str) -> String {
    format!(r#"{{"type":"user_joined","user":"{user}","timestamp":1000000000000}}"#)
}

fn left(user: &str) -> String {
    format!(r#"{{"type":"user_left","user":"{user}","timestamp":1000000000000}}"#)
}

fn said(user: &str, content: &str) -> String {
    format!(r#"{{"type":"message","user":"{user}","content":"{content}","timestamp":1000000000000}}"#)
}

async fn say(client: &mut Client, content: &str) {
    client.send(&format!(r#"{{"type":"message","content":"{content}"}}"#)).await;
}

#[tokio::test]
async fn r1_the_others_are_told_who_joins() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    let mut bob = join(&server, "lobby", "bob").await;
    ann.expect_text(&joined("bob")).await;
    say(&mut bob, "first").await;
    bob.expect_text(&said("bob", "first")).await;
}

#[tokio::test]
async fn r2_all_members_get_what_is_said() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    let mut bob = join(&server, "lobby", "bob").await;
    ann.expect_text(&joined("bob")).await;
    say(&mut ann, "hello").await;
    for member in [&mut ann, &mut bob] {
        member.expect_text(&said("ann", "hello")).await;
    }
}

#[tokio::test]
async fn r3_other_types_are_ignored() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    ann.send(r#"{"type":"dance","content":"a waltz"}"#).await;
    say(&mut ann, "hello").await;
    ann.expect_text(&said("ann", "hello")).await;
}

/// Says something, and waits until it is heard by the one who said it.
async fn tell(client: &mut Client, content: &str) {
    say(client, content).await;
    assert_eq!(told(client).await["content"], content);
}

/// What comes next; it must be JSON.
async fn told(client: &mut Client) -> Value {
    serde_json::from_str(&client.text().await).expect("JSON")
}

/// The next messages must have these contents, and nothing else may come between.
async fn expect_said<T: AsRef<str>>(client: &mut Client, contents: impl IntoIterator<Item = T>) {
    for content in contents {
        let told = told(client).await;
        assert_eq!((&told["type"], told["content"].as_str()), (&Value::from("message"), Some(content.as_ref())));
    }
}

/// What a client must be told next that asked where it is; gives the place.
async fn place(client: &mut Client, complete: bool) -> String {
    let told = told(client).await;
    assert_eq!((&told["type"], &told["complete"]), (&Value::from("joined"), &Value::from(complete)), "{told}");
    told["place"].as_str().expect("a place").to_owned()
}

/// A place so many messages further on.
fn further(place: &str, messages: u64) -> String {
    let (epoch, offset) = place.split_once('-').expect("a place");
    format!("{epoch}-{}", offset.parse::<u64>().expect("a number") + messages)
}

#[tokio::test]
async fn r4_a_newcomer_first_gets_the_last_50_messages_then_what_is_live() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    for number in 1..=61 {
        tell(&mut ann, &format!("message {number}")).await;
    }
    // Whoever comes and goes pushes nothing out.
    for _ in 0..3 {
        let bob = join(&server, "lobby", "bob").await;
        ann.expect_text(&joined("bob")).await;
        drop(bob);
        ann.expect_text(&left("bob")).await;
    }
    let mut cy = join(&server, "lobby", "cy").await;
    ann.expect_text(&joined("cy")).await;
    expect_said(&mut cy, (12..=61).map(|number| format!("message {number}"))).await;
    cy.expect_nothing_more().await;
    tell(&mut ann, "live").await;
    expect_said(&mut cy, ["live"]).await;
}

#[tokio::test]
async fn r4_large_messages_too() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    let filler = "x".repeat(64 * 1024);
    let large = |number| format!("{number} {filler}");
    for number in 1..=61 {
        tell(&mut ann, &large(number)).await;
    }
    let mut cy = join(&server, "lobby", "cy").await;
    expect_said(&mut cy, (12..=61).map(large)).await;
    cy.expect_nothing_more().await;
}

#[tokio::test]
async fn r4_nothing_is_missing_or_twice_while_others_write_as_fast_as_they_can() {
    const EACH: u64 = 400;
    let server = chat_with("", Reuse::Always);
    let writers = (0..3).map(async |writer| {
        let name = format!("writer-{writer}");
        let mut client = join(&server, "lobby", &name).await;
        for number in 0..EACH {
            tell_among(&mut client, &name, &number.to_string()).await;
        }
    });
    let newcomers = (0..10).map(async |newcomer| {
        let mut client = join(&server, "lobby", &format!("newcomer-{newcomer}")).await;
        // The next that each writer says must be the one after the last.
        let mut next = [None; 3];
        loop {
            let told = told(&mut client).await;
            let content = told["content"].as_str().unwrap_or_default();
            let writer = told["user"].as_str().and_then(|user| user.strip_prefix("writer-")?.parse::<usize>().ok());
            match (content.parse::<u64>(), writer) {
                (Ok(number), Some(writer)) => {
                    assert_eq!(number, next[writer].unwrap_or(number), "of writer {writer}");
                    next[writer] = Some(number + 1);
                }
                _ if content == "the end" => break,
                _ => {}
            }
        }
        assert!(next.iter().flatten().all(|next| *next == EACH), "{next:?}");
    });
    let all_written = async {
        join_all(writers).await;
        let mut ann = join(&server, "lobby", "ann").await;
        // Who leaves before its words are heard may take them along.
        tell_among(&mut ann, "ann", "the end").await;
    };
    futures_util::future::join(all_written, join_all(newcomers)).await;
}

#[tokio::test]
async fn r5_at_most_1000_messages_are_kept() {
    let server = chat_with("replay = 5000", Reuse::Always);
    let mut ann = join(&server, "lobby", "ann").await;
    for number in 1..=1100 {
        tell(&mut ann, &number.to_string()).await;
    }
    let mut cy = join(&server, "lobby", "cy").await;
    expect_said(&mut cy, (101..=1100).map(|number| number.to_string())).await;
    cy.expect_nothing_more().await;
}

#[tokio::test]
async fn r9_who_comes_back_gets_exactly_what_it_missed() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    tell(&mut ann, "before").await;
    let mut cy = join(&server, "lobby", "cy&since=").await;
    expect_said(&mut cy, ["before"]).await;
    let first = place(&mut cy, true).await;
    ann.expect_text(&joined("cy")).await;
    say(&mut cy, "one").await;
    for member in [&mut ann, &mut cy] {
        expect_said(member, ["one"]).await;
    }
    cy.reset();
    ann.expect_text(&left("cy")).await;
    for content in ["two", "three"] {
        tell(&mut ann, content).await;
    }
    // It has counted one message after the place that it was told.
    let mut cy = join(&server, "lobby", &format!("cy&since={}", further(&first, 1))).await;
    expect_said(&mut cy, ["two", "three"]).await;
    assert_eq!(place(&mut cy, true).await, further(&first, 3));
    ann.expect_text(&joined("cy")).await;
    tell(&mut ann, "live").await;
    expect_said(&mut cy, ["live"]).await;
}

#[tokio::test]
async fn r9_who_was_away_for_too_long_gets_what_is_kept_and_is_told() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    let mut cy = join(&server, "lobby", "cy&since=").await;
    let first = place(&mut cy, true).await;
    cy.reset();
    for content in ["lost", "lost too"] {
        tell_among(&mut ann, "ann", content).await;
    }
    server.advance(Duration::from_secs(1800));
    tell_among(&mut ann, "ann", "kept").await;
    server.advance(Duration::from_secs(1800));
    let mut cy = join(&server, "lobby", &format!("cy&since={first}")).await;
    expect_said(&mut cy, ["kept"]).await;
    assert_eq!(place(&mut cy, false).await, further(&first, 3));
}

/// Says something, and passes over what others say and whoever comes and goes, until it is heard.
async fn tell_among(client: &mut Client, user: &str, content: &str) {
    say(client, content).await;
    loop {
        let told = told(client).await;
        if told["user"] == user && told["content"] == content {
            return;
        }
    }
}

#[tokio::test]
async fn r9_a_place_of_before_a_restart_is_known_as_lost() {
    let mut server = chat();
    let mut ann = join(&server, "lobby", "ann&since=").await;
    let first = place(&mut ann, true).await;
    tell(&mut ann, "before").await;
    ann.reset();
    server.advance(Duration::from_secs(1));
    server.restart().await;
    let mut bob = join(&server, "lobby", "bob").await;
    tell(&mut bob, "after").await;
    let mut ann = join(&server, "lobby", &format!("ann&since={}", further(&first, 1))).await;
    expect_said(&mut ann, ["after"]).await;
    let second = place(&mut ann, false).await;
    assert_eq!(second.split_once('-').map(|(_, offset)| offset), Some("1"));
    assert_ne!(second, further(&first, 1), "the same offset of another memory");
}

#[tokio::test]
async fn presence_is_told_to_who_asks() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    let mut bob = join(&server, "lobby", "bob").await;
    ann.expect_text(&joined("bob")).await;
    ann.send(r#"{"type":"presence"}"#).await;
    ann.expect_text(r#"{"type":"presence","count":2}"#).await;
    bob.expect_nothing_more().await;
}

#[tokio::test]
async fn r6_the_others_are_told_once_who_left_however_it_happened() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    let mut cy = join(&server, "lobby", "cy").await;
    ann.expect_text(&joined("cy")).await;
    for way in ["close", "reset", "bad JSON", "trap"] {
        let mut bob = join(&server, "lobby", "bob").await;
        for other in [&mut ann, &mut cy] {
            other.expect_text(&joined("bob")).await;
        }
        match way {
            "close" => {
                bob.close(1000, "bye").await;
                bob.expect_close(1000, "bye").await;
            }
            "reset" => bob.reset(),
            "bad JSON" => {
                bob.send("{bad").await;
                bob.expect_close(1007, "expected JSON: key must be a string at line 1 column 2").await;
            }
            _ => {
                bob.send("boom").await;
                bob.expect_close(1011, "internal error").await;
            }
        }
        for other in [&mut ann, &mut cy] {
            other.expect_text(&left("bob")).await;
        }
    }
    // A second `user_left` would stand before this.
    say(&mut cy, "alone").await;
    for member in [&mut ann, &mut cy] {
        member.expect_text(&said("cy", "alone")).await;
    }
}

#[tokio::test]
async fn r7_rooms_do_not_hear_each_other() {
    let server = chat();
    let mut lobby = [join(&server, "lobby", "ann").await, join(&server, "lobby", "bob").await];
    let mut den = [join(&server, "den", "cy").await, join(&server, "den", "dan").await];
    lobby[0].expect_text(&joined("bob")).await;
    den[0].expect_text(&joined("dan")).await;
    say(&mut lobby[1], "in the lobby").await;
    say(&mut den[1], "in the den").await;
    for member in &mut lobby {
        member.expect_text(&said("bob", "in the lobby")).await;
        member.expect_nothing_more().await;
    }
    for member in &mut den {
        member.expect_text(&said("dan", "in the den")).await;
        member.expect_nothing_more().await;
    }
}

#[tokio::test]
async fn r7_an_empty_room_is_freed() {
    let server = chat();
    // Each has one room for messages and one for presence.
    let ann = join(&server, "lobby", "ann").await;
    let implicit = server.app().rooms() - 2;
    let mut members = Vec::new();
    for number in 0..20 {
        members.push(join(&server, &format!("room-{number}"), "bob").await);
    }
    assert_eq!(server.app().rooms(), implicit + 42);
    drop(members);
    server.until("only the lobby is left", |server| server.app().rooms() == implicit + 2).await;
    drop(ann);
    server.until("no room is left", |server| server.app().rooms() == implicit).await;
}

#[tokio::test]
async fn r7_what_was_said_in_an_empty_room_has_its_own_time_to_live() {
    let server = chat();
    let mut ann = join(&server, "lobby", "ann").await;
    let implicit = server.app().rooms() - 2;
    tell(&mut ann, "hello").await;
    drop(ann);
    server.until("nobody is in it", |server| server.app().rooms() == implicit + 1).await;
    server.advance(Duration::from_secs(3599));
    let mut bob = join(&server, "lobby", "bob").await;
    expect_said(&mut bob, ["hello"]).await;
    drop(bob);
    server.until("nobody is in it", |server| server.app().rooms() == implicit + 1).await;
    server.advance(Duration::from_secs(1));
    server.until("its time is over", |server| server.app().rooms() == implicit).await;
}
