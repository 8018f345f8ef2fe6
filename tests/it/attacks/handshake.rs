//! Heads of requests: malformed, in two minds, far too large.
//!
//! Each gets a status, with a few words at most, and nothing that tells of the inside.

use futures_util::future::join_all;
use switchboard_harness::{Response, TestServer, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{attacked, serving};
use crate::neighbour::alone;

/// The headers of a good request.
const GOOD: &str = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// What a refusal says beside its words.
const SAID: [&str; 8] = [
    "content-type",
    "content-length",
    "date",
    "connection",
    "upgrade",
    "sec-websocket-version",
    "retry-after",
    "allow",
];
/// Far more than the limit of a head.
const LARGE: usize = 1024 * 1024;

/// A good request with more in its head.
pub fn with(more: &str) -> Vec<u8> {
    format!("GET /ws HTTP/1.1\r\n{GOOD}{more}\r\n").into_bytes()
}

/// The status of the answer, which says nothing of the inside.
pub async fn status(server: &TestServer, request: &[u8]) -> u16 {
    let shown = String::from_utf8_lossy(&request[..request.len().min(300)]);
    let refused = server.http(request).await;
    no_internals(&refused, &shown);
    refused.status
}

fn no_internals(refused: &Response, shown: &str) {
    let known = |(name, _): &(String, String)| SAID.contains(&name.to_ascii_lowercase().as_str());
    assert!(refused.headers.iter().all(known), "{shown}: {refused:?}");
    let (body, few) = (&refused.body, refused.body.lines().count() <= 1 && refused.body.len() < 100);
    assert!(few && !body.contains("::") && !body.contains('/') && !body.contains("wasm"), "{shown}: {refused:?}");
}

#[test]
fn what_is_no_request() {
    alone("attacks::handshake::what_is_no_request", async {
        let server = serving("head-ms = 300");
        attacked(&server, async {
            for request in [
                &b"\x00\xff\r\n\r\n"[..],
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS",
                b"PRI * HTTP/2.0\r\n\r\nand no more of HTTP/2\r\n\r\n",
                b"GET /ws\r\n\r\n",
                b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET /ws HTTP/9.9\r\nHost: a\r\n\r\n",
                b"G@T /ws HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET /w s HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET /ws HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
                b"GET /ws HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
                b"GET /ws HTTP/1.1\r\nHost: a\r\nX-A: \0\r\n\r\n",
                b"GET /ws HTTP/1.1\r\nHost: a\r\nX-A: a\rX-B: b\r\n\r\n",
                b"* * *",
            ] {
                assert_eq!(status(&server, request).await, 400, "{}", String::from_utf8_lossy(request));
            }
            assert_eq!(status(&server, b"GET /ws HT").await, 408, "it is waited for the rest");
        })
        .await;
        server.until("each is counted", |server| server.metrics().bad_heads.get() == 15).await;
    });
}

#[test]
fn what_asks_wrongly_for_a_websocket() {
    alone("attacks::handshake::what_asks_wrongly_for_a_websocket", async {
        let server = serving("");
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let replaced = |from: &str, to: &str| String::from_utf8(with("")).expect("text").replace(from, to).into_bytes();
        attacked(&server, async {
            for (request, expected) in [
                (with("Host: a\r\n"), 400),
                (replaced("Host: a\r\n", ""), 400),
                (replaced("Host: a", "Host: "), 400),
                (replaced("Host: a", "Host: a, b"), 400),
                (replaced("Host: a", "Host: a@b/c"), 400),
                (with(key), 400),
                (replaced(key, ""), 400),
                (replaced("dGhl", "dGh"), 400),
                (with("Sec-WebSocket-Version: 13\r\n"), 426),
                (replaced("13", "8"), 426),
                (replaced("13", "13, 8"), 426),
                (replaced("GET", "POST"), 426),
                (replaced("GET", "CONNECT"), 426),
                (replaced("HTTP/1.1", "HTTP/1.0"), 426),
                (replaced("Connection: Upgrade", "Connection: close"), 426),
                (with("Origin: https://evil.example\r\n"), 403),
                (replaced("/ws", "/nowhere"), 404),
                (replaced("/ws", "*"), 400),
                (replaced("/ws", "a:80"), 400),
            ] {
                let shown = String::from_utf8_lossy(&request);
                assert_eq!(status(&server, &request).await, expected, "{shown}");
            }
        })
        .await;
        assert_eq!(server.metrics().accepted.get(), 1, "the neighbour");
    });
}

/// All that comes back until the server ends it.
async fn all_answers(server: &TestServer, request: &[u8]) -> String {
    let mut socket = server.tcp().await;
    socket.write_all(request).await.expect("it is open");
    let mut answers = Vec::new();
    within("the end of the answers", socket.read_to_end(&mut answers)).await.expect("they end in order");
    String::from_utf8_lossy(&answers).into_owned()
}

#[test]
fn heads_that_two_readers_would_take_in_two_ways() {
    alone("attacks::handshake::heads_that_two_readers_would_take_in_two_ways", async {
        let server = serving("head-ms = 300");
        attacked(&server, async {
            for ambiguous in [
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "Transfer-Encoding: identity\r\n",
                "Transfer-Encoding: xchunked\r\n",
                "Transfer-Encoding: chunked, identity\r\n",
                "Transfer-Encoding: \x0bchunked\r\n",
                "Transfer-Encoding : chunked\r\n",
                " Transfer-Encoding: chunked\r\n",
                "Content-Length: 5\r\nContent-Length: 6\r\n",
                "Content-Length: +5\r\n",
                "Content-Length: 5, 5\r\n",
                "Content-Length: -1\r\n",
                "Content-Length: 99999999999999999999\r\n",
                "X-Folded: a\r\n b\r\n",
            ] {
                // Whatever the length of its body is thought to be, what stands behind must not be a request of its own.
                let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
                let answers = all_answers(&server, &[with(ambiguous), smuggled.into()].concat()).await;
                assert!(answers.starts_with("HTTP/1.1 400 "), "{ambiguous}: {answers}");
                assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{ambiguous}: {answers}");
            }
            for body in ["Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"] {
                assert_eq!(status(&server, &[with(body), b"0\r\n\r\n".into()].concat()).await, 400, "{body}");
            }
        })
        .await;
        assert_eq!(server.metrics().accepted.get(), 1, "the neighbour");
    });
}

#[test]
fn heads_that_are_far_too_large() {
    alone("attacks::handshake::heads_that_are_far_too_large", async {
        let server = serving("");
        let one = format!("GET /ws HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(LARGE));
        let many = format!("GET /ws HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(LARGE / 11));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(LARGE));
        let lines = "\r\n".repeat(LARGE / 2);
        attacked(&server, async {
            for head in [one, many, long, lines] {
                // All of it is sent, and the answer is read all the same.
                let asked = join_all((0..50).map(|_| status(&server, head.as_bytes()))).await;
                assert!(asked.iter().all(|status| *status == 431), "{asked:?}");
            }
            let body = format!("POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n{}", "x".repeat(LARGE));
            assert_eq!(status(&server, body.as_bytes()).await, 426);
        })
        .await;
        server.until("each is counted", |server| server.metrics().bad_heads.get() == 200).await;
    });
}
