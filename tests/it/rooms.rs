//! Chat rooms, with the first-party plugin `chat`: scenarios R1 to R3, R6 and R7.
//!
//! The clock stands still, so that timestamps are known. The members sit on two workers.

use switchboard_harness::{Client, Clock, TestServer};

use crate::fixtures::setup;

/// The chat behind a filter that traps at the word `boom`.
fn chat() -> TestServer {
    let toml = r#"
        [plugins.chat]
        path = "chat.wasm"

        [plugins.fragile]
        path = "link.wasm"
        config = { in = "trap", when = "boom" }

        [[route]]
        path = "/chat"
        handler = "chat"
        middleware = ["fragile"]
    "#;
    setup(toml).clock(Clock::manual()).start()
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
    let ann = join(&server, "lobby", "ann").await;
    let implicit = server.app().rooms() - 1;
    let mut members = Vec::new();
    for number in 0..20 {
        members.push(join(&server, &format!("room-{number}"), "bob").await);
    }
    assert_eq!(server.app().rooms(), implicit + 21);
    drop(members);
    server.until("only the lobby is left", |server| server.app().rooms() == implicit + 1).await;
    drop(ann);
    server.until("no room is left", |server| server.app().rooms() == implicit).await;
}
