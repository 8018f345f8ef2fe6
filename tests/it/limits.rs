//! The limits of `[server.limits]`, each from both sides, with its counter; the message limit is in `connection`, memory
//! and CPU are in `faults`, and the mailbox is in `broadcast`.
//!
//! A limit is set to something small, reached, and passed by one.

use std::time::Duration;

use switchboard_harness::{Clock, Received, Record, Reuse, TestServer};

use crate::fixtures::{serving_within, setup};

/// Limits, and a puppet on `/ws`, for servers with more than limits.
fn puppet(limits: &str, server: &str) -> String {
    format!(
        r#"
        [server]
        {server}

        [server.limits]
        {limits}

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        "#
    )
}

fn over_quota(server: &TestServer) -> u64 {
    server.metrics().over_quota.get()
}

#[tokio::test]
async fn an_event_may_ask_for_so_many_effects() {
    let server = serving_within("effects = 10", "puppet");
    let mut ann = server.connect("/ws?do=join+lobby").await;
    ann.send("repeat 9 send x\nsend last").await;
    for _ in 0..9 {
        ann.expect_text("x").await;
    }
    ann.expect_text("last").await;
    assert_eq!(over_quota(&server), 0);
    ann.send("repeat 10 publish lobby y\npublish lobby too much").await;
    for _ in 0..10 {
        ann.expect_text("y").await;
    }
    ann.expect_nothing_more().await;
    server.logged(|record| record.message == "publish: quota").await;
    assert_eq!(over_quota(&server), 2, "the publish, and saying that it failed");
}

#[tokio::test]
async fn an_event_may_ask_for_so_many_bytes() {
    // Each effect counts 64 bytes beside its payload.
    let server = serving_within("effects-bytes = 2128", "puppet");
    let mut ann = server.connect("/ws?do=join+lobby").await;
    ann.send("send-bytes 1000\npublish-bytes lobby 1000").await;
    for _ in 0..2 {
        ann.expect_binary(&[b'x'; 1000]).await;
    }
    assert_eq!(over_quota(&server), 0);
    ann.send("send-bytes 1000\npublish-bytes lobby 1001").await;
    ann.expect_binary(&[b'x'; 1000]).await;
    ann.expect_text("publish-bytes: quota").await;
    assert_eq!(over_quota(&server), 1);
}

#[tokio::test]
async fn a_connection_remembers_so_many_bytes() {
    // The value is JSON text, so it has two quotes more.
    let server = serving_within("state-bytes = 100", "puppet");
    let mut ann = server.connect("/ws").await;
    let largest = "v".repeat(95);
    ann.send(&format!("set key {largest}\nget key")).await;
    ann.expect_text(&format!("key is {largest}")).await;
    ann.send(&format!("set key {largest}v\nset a b\nget key")).await;
    ann.expect_text("set: too-large").await;
    ann.expect_text("set: too-large").await;
    ann.expect_text(&format!("key is {largest}")).await;
    assert_eq!(over_quota(&server), 2);
    ann.send("set key short\nset a b\nget a").await;
    ann.expect_text("a is b").await;
}

#[tokio::test]
async fn a_connection_remembers_so_many_values() {
    let server = serving_within("state-keys = 2", "puppet");
    let mut ann = server.connect("/ws").await;
    ann.send("set one 1\nset two 2\nset one 3\nget one").await;
    ann.expect_text("one is 3").await;
    assert_eq!(over_quota(&server), 0);
    ann.send("set three 3").await;
    ann.expect_text("set: too-large").await;
    assert_eq!(over_quota(&server), 1);
}

#[tokio::test]
async fn a_connection_is_in_so_many_rooms() {
    let server = serving_within("rooms = 2", "puppet");
    let mut ann = server.connect("/ws").await;
    ann.send("join a\njoin b\njoin a").await;
    ann.send("join c").await;
    ann.expect_text("join: quota").await;
    assert_eq!(over_quota(&server), 1);
    ann.send("leave a").await;
    ann.send("join c").await;
    ann.send("count a\ncount c").await;
    ann.expect_text("a has 0").await;
    ann.expect_text("c has 1").await;
}

#[tokio::test]
async fn names_have_1_to_128_bytes() {
    let server = serving_within("", "puppet");
    let mut ann = server.connect("/ws").await;
    let (longest, longer) = ("n".repeat(128), "n".repeat(129));
    ann.send(&format!("join {longest}\nset {longest} v\nget {longest}")).await;
    ann.expect_text(&format!("{longest} is v")).await;
    ann.send(&format!("join {longer}\njoin\npublish {longer} x\nset {longer} v")).await;
    for failure in ["join: invalid", "join: invalid", "publish: invalid", "set: invalid"] {
        ann.expect_text(failure).await;
    }
}

#[tokio::test]
async fn a_publish_waits_where_an_inbox_is_full_and_nothing_is_lost() {
    // All of them together fit into a mailbox.
    const MESSAGES: usize = 200;
    let server = serving_within("inbox-mails = 4", "puppet");
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(server.connect("/ws?do=join+lobby").await);
    }
    for member in &mut members {
        member.send(&format!("repeat {MESSAGES} publish lobby x")).await;
    }
    for member in &mut members {
        for _ in 0..4 * MESSAGES {
            member.expect_text("x").await;
        }
        member.expect_nothing_more().await;
    }
    assert!(server.metrics().inbox_waits.get() > 0, "none of them had to wait");
}

#[tokio::test]
async fn an_event_waits_for_its_turn_where_all_instances_are_busy() {
    let server = setup(&puppet("instances = 1\nevent-cpu-ms = 500", "workers = 1")).start();
    let mut bob = server.connect("/ws").await;
    let mut ann = server.connect("/ws").await;
    ann.send("log begins to spin\nspin").await;
    server.logged(|record| record.message == "begins to spin").await;
    bob.send("send my turn").await;
    server.until("an event waits", |server| server.metrics().instance_waits.get() > 0).await;
    bob.expect_text("my turn").await;
    assert_eq!(server.metrics().faults_deadline.get(), 1, "the other one had to end first");
    ann.expect_close(1011, "internal error").await;
}

#[tokio::test]
async fn an_event_ends_after_so_much_wall_time() {
    let server = setup(&puppet("event-cpu-ms = 10000000", "workers = 1")).clock(Clock::manual()).start();
    let mut ann = server.connect("/ws").await;
    ann.send("log begins to spin\nspin").await;
    server.logged(|record| record.message == "begins to spin").await;
    server
        .until("the event is over", |server| {
            server.advance(Duration::from_secs(10));
            server.metrics().faults_deadline.get() == 1
        })
        .await;
    ann.expect_close(1011, "internal error").await;
    let fault = server.logged(|record| record.field("cause") == "deadline").await;
    assert!(fault.message.contains("10000 ms of wall time"), "{fault}");
}

#[tokio::test]
async fn lines_over_the_quota_of_the_log_are_dropped_and_counted() {
    // The clock stands still, so all of it is within one second; and one instance takes all events.
    let limits = puppet("log-bytes = 1000", "workers = 1");
    let server = setup(&limits).clock(Clock::manual()).reuse(Reuse::Always).start();
    let mut ann = server.connect("/ws").await;
    ann.send("repeat 20 log 0123456789012345678901234567890123456789\nsend done").await;
    ann.expect_text("done").await;
    let of_guest = |record: &Record| record.is_of_guest();
    let kept: usize = server.log().records().iter().filter(|r| of_guest(r)).map(|record| record.message.len()).sum();
    let said = "connect".len() + "in repeat 20 log 0123456789012345678901234567890123456789\nsend done".len() + 20 * 40;
    assert!(kept <= 1000, "{kept} bytes");
    assert_eq!(kept, said, "it all fits");
    assert_eq!(server.metrics().log_dropped.get(), 0);
    ann.send("repeat 20 log 0123456789012345678901234567890123456789\nsend done").await;
    ann.expect_text("done").await;
    let kept: usize = server.log().records().iter().filter(|r| of_guest(r)).map(|record| record.message.len()).sum();
    assert!(kept <= 1000, "{kept} bytes");
    assert_eq!(kept as u64 + server.metrics().log_dropped.get(), 2 * said as u64 - "connect".len() as u64);
    server.advance(Duration::from_secs(1));
    ann.send("log a new second").await;
    server.logged(|record| record.message == "a new second").await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_close_is_cut_off() {
    let server = setup(&puppet("close-ms = 5000", "workers = 1")).clock(Clock::manual()).start();
    let mut observer = server.connect("/ws?do=join+observers").await;
    let mut ann = server.connect("/ws").await;
    ann.send("close 4000 enough").await;
    assert_eq!(ann.receive().await, Received::Close(4000, "enough".to_owned()));
    server
        .until("it is cut off", |server| {
            server.advance(Duration::from_secs(5));
            server.metrics().close_timeouts.get() == 1
        })
        .await;
    observer.expect_text("left 4000 \"enough\"").await;
}

#[tokio::test]
async fn a_server_that_stops_closes_with_1012_and_tells_the_guests() {
    let mut server = serving_within("", "puppet");
    let mut clients = [server.connect("/ws").await, server.connect("/ws").await];
    let closed = async {
        for client in &mut clients {
            client.expect_close(1012, "server is restarting").await;
        }
    };
    let log = server.log().clone();
    futures_util::future::join(server.stop(), closed).await;
    let told = log.records().into_iter().filter(|record| record.message.starts_with("disconnect"));
    let told: Vec<_> = told.map(|record| record.message).collect();
    assert_eq!(told, ["disconnect 1012 \"server is restarting\""; 2]);
}

#[tokio::test]
async fn a_route_has_limits_of_its_own_and_for_the_rest_those_of_the_server() {
    let server = puppet("message-bytes = 20", "");
    let own =
        "[[route]]\npath = '/own'\nhandler = 'puppet'\nlimits = { message-bytes = 10, connection-messages = 3 }\n";
    let server = setup(&format!("{server}\n{own}")).clock(Clock::manual()).start();
    for (path, most) in [("/own", 10), ("/ws", 20)] {
        let mut ann = server.connect(path).await;
        let longest = "x".repeat(most - "send ".len());
        ann.send(&format!("send {longest}")).await;
        ann.expect_text(&longest).await;
        ann.send(&"x".repeat(most + 1)).await;
        ann.expect_close(1009, "message too big").await;
    }
    for (path, most) in [("/own", 3), ("/ws", 10)] {
        let mut ann = server.connect(path).await;
        for _ in 0..most {
            ann.send("send hi").await;
            ann.expect_text("hi").await;
        }
        ann.send("send hi").await;
        match path {
            "/own" => ann.expect_close(1008, "rate").await,
            _ => ann.expect_text("hi").await,
        }
    }
}

#[tokio::test]
async fn a_routes_limits_are_checked_like_all_others() {
    let with = |limits: &str| puppet("", "") + &format!("limits = {{ {limits} }}\n");
    for (limits, words) in [
        ("head-ms = 1", "limits: unknown key `head-ms`, expected one of `message-bytes`"),
        ("message-bytes = 0", "message-bytes: must be at least 1"),
        ("fragments = 'many'", "invalid type"),
    ] {
        let refused = setup(&with(limits)).try_start().err().expect(limits);
        assert!(refused.contains(words), "{refused}");
    }
    setup(&with("ping-ms = 1000, mailbox-messages = 5")).start();
}
