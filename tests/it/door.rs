//! The limits of the door, each from both sides with its counter: sockets, heads, connections, and what one client may send
//! and leave unread.
//!
//! On a clock that the test drives; keepalive is off, so that only the limit at hand ends anything.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use switchboard_harness::{Client, Clock, Received, TestServer, masked};

use crate::fixtures::{serving_within, setup};

/// Two workers with a puppet on `/ws`.
fn puppet(server: &str, limits: &str) -> TestServer {
    let toml = format!(
        "[server]\n{server}\n[server.limits]\nping-ms = 0\n{limits}\n\
         [plugins.puppet]\npath = 'puppet.wasm'\n[[route]]\npath = '/ws'\nhandler = 'puppet'\n"
    );
    setup(&toml).clock(Clock::manual()).start()
}

/// Answered like the next one if the server is not yet done with this.
async fn answers(client: &mut Client, text: &str) {
    client.send(&format!("send {text}")).await;
    client.expect_text(text).await;
}

async fn status(server: &TestServer, headers: usize, bytes: usize) -> u16 {
    let more: String = (2..headers).map(|number| format!("x-{number}: {}\r\n", "v".repeat(bytes))).collect();
    server.http(&format!("GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n")).await.status
}

#[tokio::test]
async fn a_request_has_so_many_headers() {
    let server = puppet("", "headers = 10");
    assert_eq!(status(&server, 10, 1).await, 404);
    assert_eq!((status(&server, 11, 1).await, server.metrics().bad_heads.get() <= 1), (431, true));
    server.until("it is counted", |server| server.metrics().bad_heads.get() == 1).await;
    let server = puppet("", "");
    assert_eq!((status(&server, 100, 1).await, status(&server, 101, 1).await), (404, 431));
}

#[tokio::test]
async fn a_request_has_so_many_bytes() {
    let server = puppet("", "");
    assert_eq!((status(&server, 3, 7900).await, status(&server, 3, 8300).await), (404, 431));
    server.until("it is counted", |server| server.metrics().bad_heads.get() == 1).await;
    let server = puppet("", "head-bytes = 16384");
    assert_eq!((status(&server, 3, 16000).await, status(&server, 3, 16500).await), (404, 431));
}

#[tokio::test]
async fn the_server_has_so_many_connections_and_others_are_told_to_come_again() {
    let server = puppet("", "connections = 2");
    let (ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    let refused = server.request("/ws").refused().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!((server.metrics().refused_server.get(), server.metrics().refused.get()), (1, 1));
    assert_eq!(status(&server, 2, 0).await, 404, "files are served all the same");
    answers(&mut bob, "still here").await;
    drop(ann);
    server.until("its place is free", |server| server.metrics().connections.get() == 1).await;
    let mut cy = loop {
        // The place is given back a moment after the guest was told.
        if let Ok(client) = server.request("/ws").open().await {
            break client;
        }
    };
    answers(&mut cy, "let in").await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_behind_a_proxy_that_is_the_clients() {
    let server = puppet("trusted-proxies = ['127.0.0.0/8']", "address-connections = 2");
    let of = |address: &str| server.request("/ws").header("X-Forwarded-For", address);
    let _first = (of("192.0.2.1").connect().await, of("203.0.113.7, 192.0.2.1:99").connect().await);
    let refused = of("192.0.2.1").refused().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")));
    assert_eq!(server.metrics().refused_address.get(), 1);
    let _other = (of("192.0.2.2").connect().await, of("192.0.2.2").connect().await);
    let server = puppet("", "address-connections = 1");
    let _first = server.request("/ws").header("X-Forwarded-For", "192.0.2.1").connect().await;
    let refused = server.request("/ws").header("X-Forwarded-For", "192.0.2.2").refused().await;
    assert_eq!(refused.status, 429, "what nobody vouches for changes nothing");
}

#[tokio::test]
async fn so_many_sockets_are_accepted_in_a_second_and_the_next_wait() {
    let server = puppet("", "accepts = 3");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(server.connect("/ws").await);
    }
    assert_eq!(server.metrics().accept_waits.get(), 0);
    let (fourth, ()) = futures_util::future::join(server.connect("/ws"), async {
        server.until("it waits", |server| server.metrics().accept_waits.get() == 1).await;
        for client in &mut open {
            answers(client, "open ones go on").await;
        }
        assert_eq!(server.metrics().accepted.get(), 3);
        server.advance(Duration::from_millis(334));
    })
    .await;
    drop(fourth);
    server.advance(Duration::from_secs(10));
    for _ in 0..3 {
        server.connect("/ws").await;
    }
    assert_eq!(server.metrics().accept_waits.get(), 1);
}

#[tokio::test]
async fn a_client_sends_so_many_control_frames_in_a_second() {
    let server = puppet("", "control-frames = 5");
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    for _ in 0..2 {
        for _ in 0..5 {
            ann.ping(b"p").await;
            ann.expect_pong(b"p").await;
        }
        answers(&mut ann, "within its limit").await;
        server.advance(Duration::from_secs(1));
    }
    assert_eq!(server.metrics().control_floods.get(), 0);
    ann.raw(&masked(0x8A, b"unasked").repeat(6)).await;
    ann.expect_close(1008, "too many control frames").await;
    assert_eq!(server.metrics().control_floods.get(), 1);
    answers(&mut bob, "others go on").await;
}

#[tokio::test]
async fn a_client_sends_so_many_messages_and_bytes_in_a_second() {
    for (limit, length) in [("connection-messages = 3", 1), ("connection-bytes = 300", 95)] {
        let server = puppet("", limit);
        let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
        let text = "x".repeat(length);
        for _ in 0..2 {
            for _ in 0..3 {
                answers(&mut ann, &text).await;
            }
            server.advance(Duration::from_secs(1));
        }
        assert_eq!(server.metrics().over_rate.get(), 0, "{limit}");
        for _ in 0..4 {
            ann.send(&format!("send {text}")).await;
        }
        for _ in 0..3 {
            ann.expect_text(&text).await;
        }
        ann.expect_close(1008, "rate").await;
        assert_eq!((server.metrics().over_rate.get(), server.metrics().messages_in.get()), (1, 9), "{limit}");
        answers(&mut bob, "each has its own").await;
    }
}

#[tokio::test]
async fn a_message_has_so_many_fragments() {
    let server = puppet("", "fragments = 4");
    let mut ann = server.connect("/ws").await;
    let (begin, empty, end) = (masked(0x01, b"send "), masked(0x00, b""), masked(0x80, b"whole"));
    for _ in 0..2 {
        ann.raw(&[&begin[..], &empty, &masked(0x89, b"p"), &empty, &end].concat()).await;
        ann.expect_pong(b"p").await;
        ann.expect_text("whole").await;
    }
    assert_eq!(server.metrics().over_fragments.get(), 0);
    ann.raw(&[begin, empty.repeat(4)].concat()).await;
    ann.expect_close(1008, "too many fragments").await;
    assert_eq!(server.metrics().over_fragments.get(), 1);
}

#[tokio::test]
async fn a_message_comes_within_a_time_however_many_fragments_it_has() {
    let server = puppet("", "message-ms = 30000");
    let mut ann = server.connect("/ws").await;
    let ping = masked(0x89, b"p");
    for (begin, rest) in
        [(&b"\x01\x80\0\0\0\0"[..], masked(0x80, b"send in time")), (b"", masked(0x81, b"send in time"))]
    {
        // The pong says that the server has seen what was sent.
        ann.raw(&[begin, &ping].concat()).await;
        ann.expect_pong(b"p").await;
        server.advance(Duration::from_secs(29));
        ann.raw(&rest).await;
        ann.expect_text("in time").await;
    }
    ann.raw(&[b"\x01\x80\0\0\0\0", &ping[..]].concat()).await;
    ann.expect_pong(b"p").await;
    assert_eq!(server.metrics().slow_messages.get(), 0);
    slow(&server, ann).await;
}

#[tokio::test]
async fn a_message_in_one_frame_comes_within_a_time_too() {
    let server = puppet("", "message-ms = 30000");
    let mut ann = server.connect("/ws").await;
    answers(&mut ann, "whole").await;
    ann.raw(b"\x81\xFE\x01\x00\0\0\0\0send").await;
    slow(&server, ann).await;
}

/// A message is on its way and does not end.
async fn slow(server: &TestServer, mut client: Client) {
    server
        .until("it is given up", |server| {
            server.advance(Duration::from_secs(1));
            server.metrics().slow_messages.get() == 1
        })
        .await;
    // Its own close would be a part of that message.
    assert_eq!(client.receive().await, Received::Close(1008, "message took too long".to_owned()));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_and_one_that_reads_late_is_not() {
    let server = puppet("", "write-ms = 60000");
    let mut observer = server.connect("/ws?do=join+observers").await;
    let stuck = async || {
        let mut client = server.request("/ws").receive_buffer(4096).connect().await;
        client.send("repeat 4 send-bytes 1000000").await;
        server.until("nothing goes", |server| server.metrics().blocked_peers.get() == 1).await;
        client
    };
    let mut late = stuck().await;
    server.advance(Duration::from_secs(59));
    for _ in 0..4 {
        assert!(matches!(late.receive().await, Received::Binary(_)));
    }
    answers(&mut late, "caught up").await;
    assert_eq!(server.metrics().stalled.get(), 0);
    let _stuck = stuck().await;
    server
        .until("it is given up", |server| {
            server.advance(Duration::from_secs(1));
            server.metrics().stalled.get() == 1
        })
        .await;
    observer.expect_text("left 1006").await;
    answers(&mut late, "others go on").await;
}

/// Whether the system asks this client's system from time to time whether it is there: the timer of the server's side.
fn is_kept_alive(server: SocketAddr, client: &Client) -> bool {
    let client = client.local_address().port();
    let (own, other) = (format!(":{:04X}", server.port()), format!(":{client:04X}"));
    let sockets = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let socket = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut socket = socket.filter(|fields| fields[1].ends_with(&own) && fields[2].ends_with(&other));
    socket.next().expect("the server has such a socket")[5].starts_with("02:")
}

#[tokio::test]
async fn the_system_looks_after_silent_peers_unless_it_is_not_to() {
    for (limits, is_kept) in [("", true), ("tcp-keepalive-ms = 0", false)] {
        let server = puppet("", limits);
        let mut ann = server.connect("/ws").await;
        answers(&mut ann, "hi").await;
        let what = "nothing else is on its way";
        server.until(what, |server| is_kept_alive(server.address(), &ann) == is_kept).await;
    }
}

#[tokio::test]
async fn a_peer_whose_system_confirms_nothing_is_lost() {
    let server = serving_within("tcp-user-timeout-ms = 500", "puppet");
    let mut observer = server.connect("/ws?do=join+observers").await;
    let mut stuck = server.request("/ws").receive_buffer(4096).connect().await;
    stuck.send("repeat 4 send-bytes 1000000").await;
    observer.expect_text("left 1006").await;
}
