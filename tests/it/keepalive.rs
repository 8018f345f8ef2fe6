//! Keepalive and the idle limit: scenario H3, on a clock that the test drives.
//!
//! The frames are read and written by hand, because every client library answers pings by itself.

use std::time::Duration;

use futures_util::SinkExt;
use switchboard_harness::{Client, Clock, TestServer, masked, within};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use crate::fixtures::setup;

/// `limits` are keys of `[server.limits]`, `route` is added to the route.
fn server(limits: &str, route: &str) -> TestServer {
    let toml = format!(
        r#"
        [server.limits]
        {limits}

        [plugins.sentinel]
        path = "sentinel.wasm"

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "sentinel"
        {route}

        [[route]]
        path = "/puppet"
        handler = "puppet"
        "#
    );
    setup(&toml).clock(Clock::manual()).start()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A client whose bytes are seen as they are.
struct Wire(tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>);

impl Wire {
    async fn of(mut client: Client) -> Self {
        client.send("send ready").await;
        client.expect_text("ready").await;
        Self(client.into_stream())
    }

    async fn expect(&mut self, what: &str, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        within(what, self.0.get_mut().read_exact(&mut read)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(read, bytes, "{what}");
    }

    async fn expect_ping(&mut self) {
        self.expect("a ping", &[0x89, 0]).await;
    }

    /// Answers a ping, and waits until the server has seen it: its guest says so.
    async fn pong(&mut self) {
        let frame = masked(0x8A, b"");
        tokio::io::AsyncWriteExt::write_all(self.0.get_mut(), &frame).await.expect("a pong can be written");
        self.expect("what the guest says of it", b"\x81\x05pong ").await;
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(format!("send {text}"))).await.expect("a message can be written");
        let length = u8::try_from(text.len()).expect("a short text");
        self.expect(text, &[&[0x81, length], text.as_bytes()].concat()).await;
    }
}

#[tokio::test]
async fn h3_a_silent_client_is_pinged_after_25_s_and_lost_10_s_later() {
    let server = server("", "");
    let mut ann = Wire::of(server.connect("/ws").await).await;
    server.advance(seconds(24));
    ann.say("still here").await;
    server.advance(seconds(24));
    ann.say("and here").await;
    server.advance(seconds(25));
    ann.expect_ping().await;
    assert_eq!(server.metrics().no_pong.get(), 0);
    server.advance(seconds(10));
    ann.expect("a close", b"\x88\x09\x03\xE9no pong").await;
    assert_eq!(server.metrics().no_pong.get(), 1);
    drop(ann);
    server.logged(|record| record.message == "disconnect 1006").await;
}

#[tokio::test]
async fn h3_a_client_that_only_listens_and_answers_pings_stays_for_hours() {
    let server = server("", "");
    let mut ann = Wire::of(server.connect("/ws").await).await;
    for _ in 0..300 {
        server.advance(seconds(25));
        ann.expect_ping().await;
        server.advance(seconds(9));
        ann.pong().await;
    }
    ann.say("for three hours").await;
}

#[tokio::test]
async fn h3_any_frame_is_a_sign_of_life() {
    let server = server("", "");
    let mut ann = Wire::of(server.connect("/ws").await).await;
    server.advance(seconds(25));
    ann.expect_ping().await;
    server.advance(seconds(9));
    ann.say("busy").await;
    server.advance(seconds(2));
    ann.say("no pong, and not lost").await;
}

#[tokio::test]
async fn h3_a_client_that_reads_slowly_is_not_lost() {
    const MESSAGES: u32 = 600;
    // The clock is moved while events run, which must not end them.
    let server = server("event-wall-ms = 1000000", "");
    let mut ann = server.request("/ws").receive_buffer(16 * 1024).connect().await;
    ann.send(&format!("stream {MESSAGES} 65536")).await;
    for _ in 0..10 {
        server.until("the client is behind", |server| server.metrics().blocked_peers.get() == 1).await;
        server.advance(seconds(10));
        // About two megabytes, which is less than what lies between a ping and the client.
        for _ in 0..30 {
            assert_eq!(ann.binary().await.len(), 65536);
        }
    }
    for _ in 300..MESSAGES {
        assert_eq!(ann.binary().await.len(), 65536);
    }
    ann.send("send slow, and still here").await;
    ann.expect_text("slow, and still here").await;
}

#[tokio::test]
async fn h3_keepalive_can_be_set_and_switched_off() {
    let server = server("ping-ms = 1000\npong-ms = 500", "");
    let mut ann = Wire::of(server.connect("/ws").await).await;
    server.advance(seconds(1));
    ann.expect_ping().await;
    server.advance(Duration::from_millis(500));
    ann.expect("a close", b"\x88\x09\x03\xE9no pong").await;
    drop(ann);
    let off = self::server("ping-ms = 0", "");
    let mut bob = Wire::of(off.connect("/ws").await).await;
    off.advance(seconds(100_000));
    bob.say("nobody pings").await;
}

#[tokio::test]
async fn a_route_closes_connections_without_messages_for_so_long() {
    // Without keepalive, whose pongs the guest would speak of.
    let server = server("ping-ms = 0", "idle-ms = 20000");
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/puppet").await;
    for step in ["one", "two"] {
        server.advance(seconds(19));
        // A message to the client counts as much as one from it.
        ann.send("id").await;
        let id = ann.text().await;
        server.advance(seconds(19));
        bob.send(&format!("send-to {id} {step}\nsend done")).await;
        ann.expect_text(step).await;
        bob.expect_text("done").await;
    }
    server.advance(seconds(20));
    ann.expect_close(1001, "idle").await;
    server.logged(|record| record.message == "disconnect 1001 \"idle\"").await;
    assert_eq!(server.metrics().idle.get(), 1);
    bob.send("send the other route has no such limit").await;
    bob.expect_text("the other route has no such limit").await;
}
