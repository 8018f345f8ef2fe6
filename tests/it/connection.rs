//! What a handler and its client say to each other: scenarios A1 to A4, A6, A7, A13, A15, A16, A20 and A21.
//!
//! The plainest use of a server: one route, one handler, and clients that keep to the protocol, or send too much.
//! What is on the wire is in `protocol`, what goes wrong in a guest in `errors`.

use futures_util::future::join_all;
use switchboard::id::ConnectionId;
use switchboard_harness::masked;

use crate::fixtures::{serving, serving_within};

#[tokio::test]
async fn a1_text_comes_back_as_echo() {
    let server = serving("polite_echo");
    let mut ann = server.connect("/ws").await;
    ann.send("hi").await;
    ann.expect_text("Echo: hi").await;
}

#[tokio::test]
async fn a2_the_handler_speaks_first() {
    let server = serving("greeter");
    let mut ann = server.connect("/ws").await;
    ann.expect_text("Connected!").await;
    ann.send("hi").await;
    ann.expect_text("Echo: hi").await;
}

#[tokio::test]
async fn a3_bytes_come_back_as_bytes() {
    let server = serving("polite_echo");
    let mut ann = server.connect("/ws").await;
    ann.send_binary(vec![0, 1]).await;
    ann.expect_binary(&[0, 1]).await;
}

#[tokio::test]
async fn a4_json_is_answered_with_json() {
    let server = serving("strict");
    let mut ann = server.connect("/ws?expects=json").await;
    ann.send(r#"{"a":1}"#).await;
    ann.expect_text(r#"{"status":"success","data":{"a":1}}"#).await;
}

#[tokio::test]
async fn a6_the_client_asks_for_the_end() {
    let server = serving("greeter");
    let mut ann = server.connect("/ws").await;
    ann.expect_text("Connected!").await;
    ann.send("quit").await;
    ann.expect_close(1000, "User requested disconnect").await;
}

#[tokio::test]
async fn a7_the_handler_says_something_and_closes() {
    let server = serving("farewell");
    let mut ann = server.connect("/ws").await;
    ann.expect_text("Closing connection with custom code").await;
    ann.expect_close(1001, "Service shutting down").await;
}

#[tokio::test]
async fn a13_a_message_of_the_wrong_kind_is_closed_with_what_was_expected() {
    let server = serving("strict");
    let mut bob = server.connect("/ws?expects=text").await;
    let mut text_on_bytes = server.connect("/ws?expects=bytes").await;
    text_on_bytes.send("text").await;
    text_on_bytes.expect_close(1003, "expected a binary message, got a text one").await;
    let mut bytes_on_text = server.connect("/ws?expects=text").await;
    bytes_on_text.send_binary(vec![1]).await;
    bytes_on_text.expect_close(1003, "expected a text message, got a binary one").await;
    let mut bytes_on_json = server.connect("/ws?expects=json").await;
    bytes_on_json.send_binary(vec![1]).await;
    bytes_on_json.expect_close(1003, "expected a text message, got a binary one").await;
    let mut bad_json = server.connect("/ws?expects=json").await;
    bad_json.send(r#"{"a":}"#).await;
    bad_json.expect_close(1007, "expected JSON: expected value at line 1 column 6").await;
    bob.send("still here").await;
    bob.expect_text("still here").await;
}

#[tokio::test]
async fn a15_empty_messages_are_delivered_as_empty() {
    let server = serving("echo");
    let mut ann = server.connect("/ws").await;
    ann.send("").await;
    ann.expect_text("").await;
    ann.send_binary(vec![]).await;
    ann.expect_binary(&[]).await;
    ann.send("still here").await;
    ann.expect_text("still here").await;
}

#[tokio::test]
async fn a16_a_message_of_the_limit_is_delivered_and_a_byte_more_is_too_big() {
    let server = serving_within("message-bytes = 1000", "echo");
    let mut ann = server.connect("/ws").await;
    let largest = "x".repeat(1000);
    ann.send(&largest).await;
    ann.expect_text(&largest).await;
    ann.send(&"x".repeat(1001)).await;
    ann.expect_close(1009, "message too big").await;
    assert_eq!(server.metrics().too_big.get(), 1);
}

#[tokio::test]
async fn a16_the_limit_counts_all_fragments_of_a_message() {
    let server = serving_within("message-bytes = 1000", "echo");
    let mut ann = server.connect("/ws").await;
    let half = [b'x'; 500];
    ann.raw(&[masked(0x02, &half), masked(0x80, &half)].concat()).await;
    ann.expect_binary(&[b'x'; 1000]).await;
    ann.raw(&[masked(0x02, &half), masked(0x00, &half), masked(0x80, b"x")].concat()).await;
    ann.expect_close(1009, "message too big").await;
    assert_eq!(server.metrics().too_big.get(), 1);
}

#[tokio::test]
async fn a20_a_close_that_may_not_be_sent_is_invalid_and_harms_nothing() {
    let server = serving("bad_frames");
    let mut ann = server.connect("/ws").await;
    for frame in ["999 0", "1005 0", "1006 0", "1015 0", "2999 0", "5000 0", "1000 124"] {
        ann.send(frame).await;
        ann.expect_text("invalid").await;
    }
    ann.send("4999 123").await;
    ann.expect_close(4999, &"x".repeat(123)).await;
}

#[tokio::test]
async fn a20_a_handshake_cannot_be_answered_with_such_a_close_either() {
    let server = serving("bad_frames");
    let refused = server.request("/ws?close=1006").refused().await;
    assert_eq!((refused.status, refused.body.as_str()), (500, "internal error\n"));
    let record = server.logged(|record| record.field("cause") == "answer").await;
    assert_eq!(record.field("plugin"), "bad_frames");
    server.connect("/ws?close=3000").await.expect_close(3000, "").await;
}

#[tokio::test]
async fn a21_messages_come_before_the_close_and_nothing_is_heard_after_it() {
    let server = serving("puppet");
    let mut observer = server.connect("/ws?do=join+observers").await;
    let mut ann = server.connect("/ws").await;
    let event = masked(0x81, b"send 1\nsend 2\nsend 3\nclose 1000 done\nsend 4");
    ann.raw(&[event, masked(0x81, b"too late"), masked(0x81, b"far too late")].concat()).await;
    for text in ["1", "2", "3"] {
        ann.expect_text(text).await;
    }
    ann.expect_close(1000, "done").await;
    observer.expect_text("left 1000 \"done\"").await;
    assert!(server.log().records().iter().all(|record| !record.message.contains("late")));
}

#[tokio::test]
async fn mail_is_written_while_an_event_waits_and_the_next_message_is_held() {
    let server = serving_within("event-cpu-ms = 60000\nevent-wall-ms = 60000", "puppet");
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    ann.send("join lobby\nsend here").await;
    ann.expect_text("here").await;
    ann.send("await go\nsend waited").await;
    ann.send("send after").await;
    for text in ["one", "two"] {
        bob.send(&format!("publish lobby {text}")).await;
        ann.expect_text(text).await;
    }
    bob.send("join go").await;
    ann.expect_text("waited").await;
    ann.expect_text("after").await;
}

#[tokio::test]
async fn connections_that_come_at_once_are_spread_over_the_workers() {
    let server = serving_within("", "puppet");
    let mut clients = join_all((0..20).map(|_| server.connect("/ws"))).await;
    let mut on_the_first = 0;
    for client in &mut clients {
        client.send("id").await;
        let id = client.text().await.parse().expect("an id");
        on_the_first += usize::from(ConnectionId::from_guest(id).worker() == 0);
    }
    assert_eq!(on_the_first, 10, "of two workers");
}
