//! What rooms keep, told through the puppet: joins with a replay, pages of history, bounds, times to live.
//!
//! The scenarios R4, R5, R7 and R9 as users of the chat see them are in `rooms`; here is what the host promises to plugins.

use std::time::Duration;

use switchboard_harness::{Client, Clock, TestServer};

use crate::fixtures::{components, setup, start};

/// Rooms that begin with `kept/` keep five messages for a minute.
const KEPT: &str = r#"
    [[room]]
    name = "kept/*"
    keep = 5
    keep-ms = 60000

    [plugins.puppet]
    path = "puppet.wasm"

    [[route]]
    path = "/ws"
    handler = "puppet"
"#;

/// Publishes numbers, each as an event of its own, and waits until that is done.
async fn publish(server: &TestServer, numbers: std::ops::RangeInclusive<u32>) {
    let mut writer = server.connect("/ws").await;
    for number in numbers {
        writer.send(&format!("publish kept/a {number}\nsend done")).await;
        writer.expect_text("done").await;
    }
    writer.close(1000, "").await;
    writer.expect_close(1000, "").await;
}

async fn expect(client: &mut Client, texts: &[&str]) {
    for text in texts {
        client.expect_text(text).await;
    }
}

/// Expects to be told how the join went, and gives the place.
async fn joined(client: &mut Client, how: &str) -> String {
    let told = client.text().await;
    let words: Vec<_> = told.split(' ').collect();
    assert!(matches!(words[..], ["joined", "kept/a", _, word] if word == how), "{told}");
    words[2].to_owned()
}

/// The same room at another offset.
fn at(place: &str, offset: u64) -> String {
    let (epoch, _) = place.split_once('-').expect("a place");
    format!("{epoch}-{offset}")
}

#[tokio::test]
async fn r4_a_replay_comes_first_then_what_the_plugin_says_then_what_is_live() {
    let server = start(KEPT);
    publish(&server, 1..=7).await;
    let mut ann = server.connect("/ws?joined=publish+kept/a+9&joined=send+last").await;
    ann.send("join-newest 3 kept/a\nsend asked\npublish kept/a 8\nsend too").await;
    expect(&mut ann, &["5", "6", "7"]).await;
    joined(&mut ann, "complete").await;
    // The order of the calls of each event; what on-joined sends ahead of its first publish lies ahead of what is live.
    expect(&mut ann, &["asked", "8", "too", "9", "last"]).await;
    ann.expect_nothing_more().await;
}

#[tokio::test]
async fn r9_who_comes_back_gets_what_it_missed_or_is_told_that_something_is_lost() {
    let server = start(KEPT);
    publish(&server, 1..=2).await;
    let mut ann = server.connect("/ws?do=join-newest+0+kept/a").await;
    let place = joined(&mut ann, "complete").await;
    assert!(place.ends_with("-2"), "{place}");
    publish(&server, 3..=6).await;
    for (since, kept, how) in [
        (at(&place, 6), &[][..], "complete"),
        (at(&place, 4), &["5", "6"], "complete"),
        (at(&place, 1), &["2", "3", "4", "5", "6"], "complete"),
        (at(&place, 0), &["2", "3", "4", "5", "6"], "incomplete"),
        (at(&place, 7), &["2", "3", "4", "5", "6"], "incomplete"),
        ("1-6".to_owned(), &["2", "3", "4", "5", "6"], "incomplete"),
    ] {
        let mut client = server.connect("/ws").await;
        client.send(&format!("join-since {since} kept/a")).await;
        expect(&mut client, kept).await;
        assert_eq!(joined(&mut client, how).await, at(&place, 6), "since {since}");
        client.expect_nothing_more().await;
    }
}

#[tokio::test]
async fn a_member_that_joins_again_gets_no_replay_and_one_that_left_does() {
    let server = start(KEPT);
    publish(&server, 1..=1).await;
    let mut ann = server.connect("/ws?do=join+kept/a").await;
    ann.send("join-newest 5 kept/a\nsend no replay").await;
    ann.expect_text("no replay").await;
    ann.expect_nothing_more().await;
    ann.send("leave kept/a\njoin-newest 5 kept/a").await;
    ann.expect_text("1").await;
    joined(&mut ann, "complete").await;
}

#[tokio::test]
async fn a_plugin_is_told_of_its_join_before_the_next_message_and_another_plugin_is_not() {
    let server = start(
        r#"
        [[room]]
        name = "kept/*"
        keep = 5

        [plugins.puppet]
        path = "puppet.wasm"

        [plugins.joins]
        path = "link.wasm"
        config = { in = "join-newest 5 kept/a", when = "log go" }

        [[route]]
        path = "/ws"
        handler = "puppet"
        middleware = ["joins"]
        "#,
    );
    publish(&server, 1..=2).await;
    let mut ann = server.connect("/ws").await;
    ann.send("log go").await;
    expect(&mut ann, &["1", "2"]).await;
    ann.send("send joined by a link, which does not ask how it went").await;
    ann.expect_text("joined by a link, which does not ask how it went").await;
    let mut bob = server.connect("/ws").await;
    bob.send("join-newest 0 kept/a").await;
    bob.send("send behind").await;
    joined(&mut bob, "complete").await;
    bob.expect_text("behind").await;
}

#[tokio::test]
async fn outbound_filters_see_where_a_message_comes_from() {
    let server = start(
        r#"
        [[room]]
        name = "kept/*"
        keep = 5

        [plugins.puppet]
        path = "puppet.wasm"

        [plugins.eye]
        path = "link.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        middleware = ["eye"]
        "#,
    );
    publish(&server, 1..=2).await;
    let mut ann = server.connect("/ws").await;
    ann.send("join-newest 1 kept/a\njoin lobby").await;
    ann.expect_text("2").await;
    let place = joined(&mut ann, "complete").await;
    ann.send("publish kept/a three\npublish lobby four").await;
    expect(&mut ann, &["three", "four"]).await;
    for line in [
        format!("out 2 from kept/a at {}", at(&place, 2)),
        format!("out three from kept/a at {}", at(&place, 3)),
        "out four from lobby".to_owned(),
    ] {
        server.logged(|record| record.message == line).await;
    }
}

#[tokio::test]
async fn history_is_read_in_pages() {
    let server = start(KEPT);
    let mut ann = server.connect("/ws").await;
    ann.send("history kept/a - 10").await;
    ann.expect_text("0-0: ").await;
    publish(&server, 1..=7).await;
    ann.send("history kept/a - 2\nhistory kept/a 4 10\nhistory kept/a 7 10\nhistory kept/a 0 0").await;
    expect(&mut ann, &["3-7: 3 3, 4 4", "3-7: 5 5, 6 6, 7 7", "3-7: ", "3-7: "]).await;
}

#[tokio::test]
async fn l4_what_rooms_keep_and_the_places_of_members_outlive_a_reload() {
    let server = start(KEPT);
    publish(&server, 1..=7).await;
    let mut ann = server.connect("/ws").await;
    ann.send("join-newest 2 kept/a").await;
    expect(&mut ann, &["6", "7"]).await;
    let place = joined(&mut ann, "complete").await;
    server.replace_with("puppet", &components().rebuilt("puppet", 2));
    server.reload("puppet").await.expect("the file is good");
    publish(&server, 8..=8).await;
    ann.expect_text("8").await;
    let mut bob = server.connect("/ws").await;
    bob.send(&format!("history kept/a - 10\njoin-since {place} kept/a")).await;
    expect(&mut bob, &["4-8: 4 4, 5 5, 6 6, 7 7, 8 8", "8"]).await;
    assert_eq!(joined(&mut bob, "complete").await, at(&place, 8));
}

#[tokio::test]
async fn a_room_that_keeps_nothing_has_no_history_and_a_name_is_printable() {
    let server = start(KEPT);
    let mut ann = server.connect("/ws").await;
    ann.send("join-newest 1 lobby\nhistory lobby - 1\nhistory @all - 1\njoin-since 1-1 lobby\ncount lobby").await;
    for verb in ["join-newest", "history", "history", "join-since"] {
        ann.expect_text(&format!("{verb}: unsupported")).await;
    }
    ann.expect_text("lobby has 0").await;
    ann.send("join a\tb\npublish a\tb x\nhistory a\tb - 1\ncount a\tb").await;
    for verb in ["join", "publish", "history", "count"] {
        ann.expect_text(&format!("{verb}: invalid")).await;
    }
}

#[tokio::test]
async fn r7_what_is_kept_ends_with_its_time_and_an_empty_room_with_it() {
    let server = setup(KEPT).clock(Clock::manual()).start();
    let mut ann = server.connect("/ws").await;
    let implicit = server.app().rooms();
    ann.send("publish kept/a 1\npublish lobby nobody hears this\nsend done").await;
    ann.expect_text("done").await;
    assert_eq!(server.app().rooms(), implicit + 1, "nobody is in it, and it keeps what was published");
    server.advance(Duration::from_secs(59));
    ann.send("join-newest 9 kept/a\nleave kept/a\npublish kept/a 2").await;
    let first = joined(&mut ann, "complete").await;
    ann.send("history kept/a - 9").await;
    ann.expect_text("1-2: 1 1, 2 2").await;
    server.advance(Duration::from_secs(1));
    ann.send("history kept/a - 9").await;
    ann.expect_text("2-2: 2 2").await;
    server.advance(Duration::from_secs(59));
    server.until("the room is freed", |server| server.app().rooms() == implicit).await;
    ann.send(&format!("join-since {first} kept/a")).await;
    let second = joined(&mut ann, "incomplete").await;
    assert!(second.ends_with("-0") && second > first, "{second} is a place of another memory than {first}");
}

#[tokio::test]
async fn what_all_rooms_keep_together_is_bounded() {
    let limits = "[server.limits]\nhistory-bytes = 700\n";
    let server = start(&format!("{limits}{KEPT}"));
    let mut ann = server.connect("/ws?do=join+kept/b").await;
    // Each message costs 128 bytes more than its payload.
    ann.send("publish kept/a a1\npublish kept/a a2\npublish kept/b b1\npublish kept/b b2\npublish kept/b b3").await;
    expect(&mut ann, &["b1", "b2", "b3"]).await;
    ann.send("publish kept/b b4").await;
    ann.expect_text("b4").await;
    ann.send("history kept/a - 9\nhistory kept/b - 9").await;
    expect(&mut ann, &["1-2: 1 a1, 2 a2", "2-4: 2 b2, 3 b3, 4 b4"]).await;
    assert_eq!(server.metrics().history_dropped.get(), 0);
    ann.send("repeat 3 publish kept/c c\npublish kept/d d\npublish-bytes kept/b 500").await;
    ann.binary().await;
    ann.send("history kept/b - 9").await;
    ann.expect_text("0-0: ").await;
    assert_eq!(server.metrics().history_dropped.get(), 5, "what is delivered and not kept is counted");
}
