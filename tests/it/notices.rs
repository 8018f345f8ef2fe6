//! What happens to a connection beside its messages: its timers, its control frames (A23), and a mailbox that drains.
//!
//! The fixture `sentinel` says what it is told, so that each event is a message to its client.

use std::time::Duration;

use switchboard_harness::{Clock, Received, Reuse, TestServer};

use crate::fixtures::{serving, setup};

/// One worker, whose clock the test drives; `limits` are keys of `[server.limits]`.
fn sentinel(limits: &str) -> TestServer {
    let toml = format!(
        r#"
        [server]
        workers = 1

        [server.limits]
        {limits}

        [plugins.sentinel]
        path = "sentinel.wasm"

        [[route]]
        path = "/ws"
        handler = "sentinel"
        "#
    );
    setup(&toml).clock(Clock::manual()).start()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_timer_wakes_its_guest_once_when_it_is_due() {
    let server = sentinel("");
    let mut ann = server.connect("/ws").await;
    ann.send("timer 1 2000\ntimer 2 1000\ntimer 3 3000\nsend set").await;
    ann.expect_text("set").await;
    server.advance(Duration::from_millis(999));
    ann.send("send nothing yet").await;
    ann.expect_text("nothing yet").await;
    server.advance(seconds(2));
    ann.expect_text("timer 2").await;
    ann.expect_text("timer 1").await;
    server.advance(seconds(10));
    ann.expect_text("timer 3").await;
    ann.send("send no more").await;
    ann.expect_text("no more").await;
}

#[tokio::test]
async fn a_timer_can_be_moved_and_taken_back() {
    let server = sentinel("");
    let mut ann = server.connect("/ws").await;
    ann.send("timer 1 1000\ntimer 2 1000\ntimer 3 1000").await;
    ann.send("timer 1 5000\ntimer-off 2\ntimer-off 9\nsend changed").await;
    ann.expect_text("changed").await;
    server.advance(seconds(1));
    ann.expect_text("timer 3").await;
    server.advance(seconds(4));
    ann.expect_text("timer 1").await;
    ann.send("timer 4 1000\ntimer-off 4\ntimer 5 1000\ntimer 5 2000\nsend again").await;
    ann.expect_text("again").await;
    server.advance(seconds(1));
    ann.send("send too early").await;
    ann.expect_text("too early").await;
    server.advance(seconds(1));
    ann.expect_text("timer 5").await;
}

#[tokio::test]
async fn a_connection_has_so_many_timers() {
    let server = sentinel("timers = 2");
    let mut ann = server.connect("/ws").await;
    ann.send("timer 1 1000\ntimer 2 1000").await;
    ann.send("timer 2 1000\nsend moving is free").await;
    ann.expect_text("moving is free").await;
    assert_eq!(server.metrics().over_quota.get(), 0);
    ann.send("timer 3 1000").await;
    ann.expect_text("timer: quota").await;
    assert_eq!(server.metrics().over_quota.get(), 1);
    ann.send("timer-off 1").await;
    ann.send("timer 3 1000\nsend free again").await;
    ann.expect_text("free again").await;
}

#[tokio::test]
async fn two_plugins_of_a_chain_have_timers_of_their_own() {
    let server = setup(
        r#"
        [plugins]
        outer = { path = "alarm.wasm" }
        handler = { path = "sentinel.wasm" }

        [[route]]
        path = "/ws"
        handler = "handler"
        middleware = ["outer"]
        "#,
    )
    .clock(Clock::manual())
    .start();
    let mut ann = server.connect("/ws").await;
    ann.send("timer 1 2000\nsend set").await;
    ann.expect_text("set").await;
    server.advance(seconds(1));
    ann.expect_text("alarm 1 of outer").await;
    server.advance(seconds(1));
    ann.expect_text("timer 1").await;
}

#[tokio::test]
async fn e6_a_timer_of_an_event_that_traps_is_never_set() {
    let server = sentinel("");
    let mut bob = server.connect("/ws").await;
    let mut ann = server.connect("/ws").await;
    ann.send("timer 1 1000\ntrap now").await;
    // Its close takes five seconds of a clock that stands still, so it is still there.
    assert_eq!(ann.receive().await, Received::Close(1011, "internal error".to_owned()));
    bob.send("timer 1 1000\nsend set").await;
    bob.expect_text("set").await;
    server.advance(seconds(1));
    bob.expect_text("timer 1").await;
    let told = server.log().records().iter().filter(|record| record.message == "timer 1").count();
    assert_eq!(told, 1, "and that is bob's");
}

#[tokio::test]
async fn l4_timers_outlive_a_reload() {
    let server = sentinel("");
    let mut ann = server.connect("/ws").await;
    ann.send("timer 1 1000\nsend set").await;
    ann.expect_text("set").await;
    server.replace_with("sentinel", &with_another_hash(&server));
    server.reload("sentinel").await.expect("it is the same code");
    server.advance(seconds(1));
    ann.expect_text("timer 1").await;
}

/// The same component with a custom section more, so that it is another file.
fn with_another_hash(server: &TestServer) -> Vec<u8> {
    let component = std::fs::read(server.file("sentinel")).expect("the component is there");
    [&component[..], &[0, 5, 4], b"more"].concat()
}

#[tokio::test]
async fn timers_wait_while_a_client_does_not_read() {
    let server = sentinel("mailbox-bytes = 10000");
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/ws").await;
    for client in [&mut ann, &mut bob] {
        client.send("timer 1 1000\nsend set").await;
        client.expect_text("set").await;
    }
    // More than the sockets of both sides take, so that some of it stays in the mailbox.
    for _ in 0..4 {
        ann.send("repeat 3 send-bytes 1300000").await;
    }
    server.until("ann is read from no more", |server| server.metrics().messages_in.get() >= 4).await;
    server.advance(seconds(1));
    bob.expect_text("timer 1").await;
    let told = server.log().records().iter().filter(|record| record.message == "timer 1").count();
    assert_eq!(told, 1, "that is bob's, and ann's waits");
    for _ in 0..3 {
        assert!(matches!(ann.receive().await, Received::Binary(_)));
    }
    while let Received::Binary(_) = ann.receive().await {}
    server
        .until("ann's is told", |server| {
            server.log().records().iter().filter(|record| record.message == "timer 1").count() == 2
        })
        .await;
}

#[tokio::test]
async fn a23_a_ping_is_answered_and_the_guest_sees_pings_and_pongs() {
    let server = serving("sentinel");
    let mut ann = server.connect("/ws").await;
    ann.ping(b"hello").await;
    ann.expect_pong(b"hello").await;
    ann.expect_text("ping hello").await;
    ann.send("ping are you there").await;
    // The client's library answers, and the guest is told of it.
    ann.expect_text("pong are you there").await;
    ann.send("pong unasked").await;
    ann.expect_pong(b"unasked").await;
    for verb in ["ping", "pong"] {
        ann.send(&format!("{verb} {}", "x".repeat(126))).await;
        ann.expect_text(&format!("{verb}: too-large")).await;
    }
}

#[tokio::test]
async fn a_guest_is_told_of_so_many_control_frames_a_second() {
    let server = sentinel("control-events = 2");
    let mut ann = server.connect("/ws").await;
    for payload in ["1", "2", "3"] {
        ann.ping(payload.as_bytes()).await;
        ann.expect_pong(payload.as_bytes()).await;
        if payload != "3" {
            ann.expect_text(&format!("ping {payload}")).await;
        }
    }
    ann.send("send no third").await;
    ann.expect_text("no third").await;
    assert_eq!(server.metrics().control_dropped.get(), 1);
    server.advance(seconds(1));
    ann.ping(b"4").await;
    ann.expect_pong(b"4").await;
    ann.expect_text("ping 4").await;
}

#[tokio::test]
async fn what_is_queued_is_known_and_grows_with_what_the_event_sends() {
    let server = serving("sentinel");
    let mut ann = server.connect("/ws").await;
    ann.send("queued\nsend 12345\nqueued").await;
    ann.expect_text("queued 0").await;
    ann.expect_text("12345").await;
    // Eight bytes for the first answer and five for the message.
    ann.expect_text("queued 13").await;
}

#[tokio::test]
async fn a22_a_guest_streams_as_fast_as_its_client_reads() {
    const MESSAGES: u32 = 2000;
    let server = setup(
        r#"
        [plugins.sentinel]
        path = "sentinel.wasm"

        [[route]]
        path = "/ws"
        handler = "sentinel"
        "#,
    )
    .reuse(Reuse::Always)
    .start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("stream {MESSAGES} 16384")).await;
    server.until("the guest stops at a full mailbox", |server| server.metrics().messages_out.get() > 0).await;
    for left in (0..MESSAGES).rev() {
        let bytes = ann.binary().await;
        assert_eq!((&bytes[..4], bytes.len()), (&left.to_be_bytes()[..], 16384));
    }
    let drained = server.log().records().iter().filter(|record| record.message == "drained").count();
    assert!(drained > 10, "it went on only when little was left: {drained} times");
}
