//! What is on the wire: scenarios A14, A17, A19 and A24, and how every end of a connection reaches its handler.
//!
//! The puppet tells the room `observers` how a connection left, so another connection sees what the guest was told.

use std::task::{Poll, ready};

use futures_util::{SinkExt, StreamExt, future::poll_fn};
use switchboard_harness::{Client, TestServer, masked, unmasked, within};
use tokio_tungstenite::tungstenite::Message;

use crate::fixtures::{serving, serving_within};

async fn observe(server: &TestServer) -> Client {
    server.connect("/ws?do=join+observers").await
}

/// A member of a room, so that it can be seen to leave it.
async fn member(server: &TestServer) -> Client {
    server.connect("/ws?do=join+lobby&bye=log+lobby+left&bye=count+lobby").await
}

#[tokio::test]
async fn a14_the_guest_hears_once_how_each_connection_ended() {
    let server = serving("puppet");
    let mut observer = observe(&server).await;

    let mut ann = member(&server).await;
    ann.close(1001, "going").await;
    ann.expect_close(1001, "going").await;
    observer.expect_text("left 1001 \"going\"").await;

    let mut bob = member(&server).await;
    bob.close_without_code().await;
    bob.expect_close(1005, "").await;
    observer.expect_text("left 1005").await;

    member(&server).await.reset();
    observer.expect_text("left 1006").await;

    drop(member(&server).await);
    observer.expect_text("left 1006").await;

    observer.send("count lobby").await;
    observer.expect_text("lobby has 0").await;
    observer.expect_nothing_more().await;
    let told = server.log().records().iter().filter(|record| record.message.starts_with("disconnect")).count();
    assert_eq!(told, 4, "once for each");
}

#[tokio::test]
async fn a14_rooms_are_left_before_the_guest_hears_of_the_end() {
    let server = serving("puppet");
    member(&server).await.reset();
    let at_disconnect = server.logged(|record| record.message.starts_with("lobby has")).await;
    assert_eq!(at_disconnect.message, "lobby has 0");
}

/// A server, and someone who sees what its guest is told.
struct Observed {
    observer: Client,
    server: TestServer,
}

impl Observed {
    async fn new() -> Self {
        let server = serving("puppet");
        Self { observer: observe(&server).await, server }
    }

    /// Sends these bytes on a connection of their own, and checks what the client and its guest are told.
    async fn break_the_rules(&mut self, bytes: &[u8], (code, reason): (u16, &str)) {
        let mut ann = self.server.connect("/ws").await;
        ann.raw(bytes).await;
        ann.expect_close(code, reason).await;
        self.observer.expect_text(&format!("left {code} \"{reason}\"")).await;
    }
}

#[tokio::test]
async fn a17_text_that_is_no_utf_8_is_closed_with_1007() {
    let mut observed = Observed::new().await;
    let invalid = (1007, "invalid UTF-8");
    observed.break_the_rules(&masked(0x81, &[0xff]), invalid).await;
    observed.break_the_rules(&[masked(0x01, b"caf\xc3"), masked(0x80, b"x")].concat(), invalid).await;
    observed.break_the_rules(&masked(0x81, b"caf\xc3"), invalid).await;
    assert_eq!(observed.server.metrics().protocol_errors.get(), 3);
}

#[tokio::test]
async fn a17_a_broken_frame_is_closed_with_1002() {
    let mut observed = Observed::new().await;
    let broken = broken_frames();
    for (what, bytes) in &broken {
        println!("{what}");
        observed.break_the_rules(bytes, (1002, "protocol error")).await;
    }
    assert_eq!(observed.server.metrics().protocol_errors.get(), broken.len() as u64);
}

/// Frames that no client may send, each of which has 1002 for an answer.
pub fn broken_frames() -> [(&'static str, Vec<u8>); 9] {
    [
        ("unmasked", unmasked(0x81, b"hi")),
        ("reserved bit", masked(0xC1, b"hi")),
        ("reserved opcode", masked(0x83, b"hi")),
        ("reserved control opcode", masked(0x8B, b"hi")),
        ("continuation of nothing", masked(0x80, b"hi")),
        ("text within fragments", [masked(0x01, b"a"), masked(0x81, b"b")].concat()),
        ("fragmented ping", masked(0x09, b"hi")),
        ("ping of 126 bytes", masked(0x89, &[0; 126])),
        ("close of one byte", masked(0x88, b"\x03")),
    ]
}

#[tokio::test]
async fn a17_a_close_frame_that_may_not_be_sent_is_closed_with_1002() {
    let mut observed = Observed::new().await;
    for code in [1005_u16, 1006, 1015, 999, 0] {
        // This one case the WebSocket library answers by itself, in its own words.
        observed.break_the_rules(&masked(0x88, &code.to_be_bytes()), (1002, "Protocol violation")).await;
    }
}

#[tokio::test]
async fn a17_a_ping_between_fragments_is_answered_before_the_whole_message() {
    let server = serving("echo");
    let mut ann = server.connect("/ws").await;
    ann.raw(&[masked(0x01, b"caf\xc3"), masked(0x89, b"ping")].concat()).await;
    ann.expect_pong(b"ping").await;
    ann.raw(&masked(0x80, b"\xa9")).await;
    ann.expect_text("café").await;
}

#[tokio::test]
async fn a17_others_go_on_while_one_breaks_the_rules() {
    let server = serving("echo");
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/ws").await;
    bob.raw(&unmasked(0x81, b"hi")).await;
    bob.expect_close(1002, "protocol error").await;
    ann.send("hi").await;
    ann.expect_text("hi").await;
}

#[tokio::test]
async fn a19_a_frame_sent_with_the_handshake_is_not_lost() {
    let server = serving("echo");
    let early = [masked(0x81, b"early"), masked(0x81, b"bird")].concat();
    let mut ann = server.request("/ws").and_at_once(&early).connect().await;
    ann.expect_text("early").await;
    ann.expect_text("bird").await;
}

#[tokio::test]
async fn a24_a_client_that_reads_slower_than_it_writes_is_slowed_down_and_loses_nothing() {
    const MESSAGES: u32 = 4000;
    let server = serving_within("mailbox-messages = 20", "echo");
    let mut ann = server.connect("/ws").await.into_stream();
    let message = |number: u32| Message::binary([&number.to_be_bytes()[..], &[0; 16 * 1024]].concat());
    // At least this many: some may be written while the first counter is read.
    let waiting = || server.metrics().messages_in.get().saturating_sub(server.metrics().messages_out.get());
    let (mut sent, mut received) = (0, 0);
    let exchange = poll_fn(|cx| {
        while sent < MESSAGES && ann.poll_ready_unpin(cx).is_ready() {
            ann.start_send_unpin(message(sent)).expect("the connection is open");
            sent += 1;
        }
        let _ = ann.poll_flush_unpin(cx);
        if sent < MESSAGES && waiting() < 10 && received == 0 {
            // Nothing is read before the server holds as much as it may.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = ready!(ann.poll_next_unpin(cx)).expect("the connection is open").expect("nothing is closed");
        assert_eq!(next, message(received), "in order, and nothing lost");
        assert!(waiting() <= 12, "the server goes on reading: {} messages wait", waiting());
        received += 1;
        cx.waker().wake_by_ref();
        if received == MESSAGES { Poll::Ready(()) } else { Poll::Pending }
    });
    within("all messages", exchange).await;
    assert_eq!(server.metrics().slow_consumers.get(), 0);
}
