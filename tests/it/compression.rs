//! permessage-deflate from a client that writes its frames by hand: who agrees to what, what is inflated, and what is not.
//!
//! Clients of other people talk compressed in `tests/outside`, and the Autobahn Testsuite has its own cases.

use flate2::{Compress, Compression, FlushCompress};
use switchboard_harness::{Client, Received, TestServer, masked};

use crate::fixtures::setup;

pub const NAME: &str = "sec-websocket-extensions";
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// A whole text that is compressed, the first part of one, the last, and a ping.
pub const TEXT: u8 = 0xc1;
const FIRST: u8 = 0x41;
const LAST: u8 = 0x80;
const PING: u8 = 0x89;
/// Of one message.
const LIMIT: usize = 50_000;

/// A puppet on a route that compresses nothing that it says here, and on one without compression.
fn puppet() -> TestServer {
    let route = |path: &str, more: &str| format!("[[route]]\npath = '{path}'\nhandler = 'puppet'\n{more}\n");
    let routes = route("/ws", "compression = { threshold = 100000 }") + &route("/plain", "");
    let limits = format!("[server.limits]\nmessage-bytes = {LIMIT}\n");
    setup(&format!("{limits}[plugins.puppet]\npath = 'puppet.wasm'\n{routes}")).start()
}

pub async fn offering(server: &TestServer, path: &str, offer: &str) -> Client {
    server.request(path).header(NAME, offer).connect().await
}

pub fn deflated(message: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(message.len() + 100);
    let written = Compress::new(Compression::best(), false).compress_vec(message, &mut deflated, FlushCompress::Sync);
    written.expect("there is room");
    deflated.truncate(deflated.len() - 4);
    deflated
}

#[tokio::test]
async fn a_route_that_compresses_agrees_with_a_client_that_offers_it() {
    let server = puppet();
    for (path, offer, agreed) in [
        ("/ws", OFFER, Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")),
        ("/ws", "permessage-deflate; unknown", None),
        ("/plain", OFFER, None),
    ] {
        let client = offering(&server, path, offer).await;
        assert_eq!(client.response().header(NAME), agreed, "{path}: {offer}");
    }
    assert_eq!(server.connect("/ws").await.response().header(NAME), None);
}

#[tokio::test]
async fn a_compressed_message_is_read_whole_or_in_fragments() {
    let server = puppet();
    let mut ann = offering(&server, "/ws", OFFER).await;
    ann.raw(&masked(TEXT, &deflated(b"send hello"))).await;
    ann.expect_text("hello").await;
    let text = "again and again".repeat(3200);
    let compressed = deflated(format!("send {text}").as_bytes());
    let (first, rest) = compressed.split_at(compressed.len() / 2);
    ann.raw(&[masked(FIRST, first), masked(PING, b"p"), masked(LAST, rest)].concat()).await;
    ann.expect_pong(b"p").await;
    ann.expect_text(&text).await;
    ann.send("send plain").await;
    ann.expect_text("plain").await;
}

#[tokio::test]
async fn what_is_inflated_is_bounded_whatever_it_promises() {
    let server = puppet();
    for (length, fits) in [(LIMIT, true), (LIMIT + 1, false), (64 << 20, false)] {
        let mut ann = offering(&server, "/ws", OFFER).await;
        let message = [b"send ", &vec![b'a'; length - 5][..]].concat();
        ann.raw(&masked(TEXT, &deflated(&message))).await;
        match fits {
            true => ann.expect_text(&"a".repeat(length - 5)).await,
            false => ann.expect_close(1009, "message too big").await,
        }
    }
    assert_eq!(server.metrics().too_big.get(), 2);
}

#[tokio::test]
async fn what_is_no_compressed_message_breaks_the_protocol() {
    let server = puppet();
    for frames in [
        masked(TEXT, &[0xff; 20]),
        [masked(FIRST, &deflated(b"one")), masked(0x81, b"two")].concat(),
        masked(0xc9, b"a compressed ping"),
    ] {
        let mut ann = offering(&server, "/ws", OFFER).await;
        ann.raw(&frames).await;
        ann.expect_close(1002, "protocol error").await;
    }
    let mut ann = server.connect("/ws").await;
    ann.raw(&masked(TEXT, &deflated(b"send hello"))).await;
    ann.expect_close(1002, "protocol error").await;
    assert_eq!(server.metrics().protocol_errors.get(), 4);
}

#[tokio::test]
async fn text_that_is_no_utf_8_is_found_inside() {
    let server = puppet();
    let mut ann = offering(&server, "/ws", OFFER).await;
    ann.raw(&masked(TEXT, &deflated(&[0xff; 30]))).await;
    assert_eq!(ann.receive().await, Received::Close(1007, "invalid UTF-8".into()));
}
