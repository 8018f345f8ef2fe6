//! Who takes his time: heads that do not end, sockets that never speak, closes that nobody answers, peers that are gone.
//!
//! All of these are given up in the server's own time, which is short here and real; nothing asks how long it took.

use std::time::Duration;

use futures_util::future::join_all;
use switchboard_harness::{Received, masked, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{attacked, crowd, serving, sockets};
use crate::neighbour::alone;

/// Between two bytes of one who is slow.
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn sockets_that_only_begin_a_head() {
    alone("attacks::slow::sockets_that_only_begin_a_head", async {
        let server = serving("head-ms = 1000");
        attacked(&server, async {
            let ends = join_all((0..300).map(async |_| {
                let mut socket = server.tcp().await;
                socket.write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.expect("it is open");
                let mut answer = Vec::new();
                // Byte by byte until nobody listens any more.
                while socket.write_all(b"x").await.is_ok() {
                    if tokio::time::timeout(PAUSE, socket.read_to_end(&mut answer)).await.is_ok() {
                        break;
                    }
                }
                answer
            }));
            for answer in within("all of them to be ended", ends).await {
                assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
            }
        })
        .await;
        server.until("each is counted", |server| server.metrics().bad_heads.get() == 300).await;
    });
}

#[test]
fn sockets_that_never_speak() {
    alone("attacks::slow::sockets_that_never_speak", async {
        let server = serving("head-ms = 500");
        attacked(&server, async {
            let ends = sockets(&server, 500).await.into_iter().map(async |mut socket| {
                let mut answer = Vec::new();
                let _ = socket.read_to_end(&mut answer).await;
                answer
            });
            let answers = within("all of them to be ended", join_all(ends)).await;
            assert!(answers.iter().all(Vec::is_empty), "whoever says nothing is told nothing");
        })
        .await;
        server.until("each is counted", |server| server.metrics().bad_heads.get() == 500).await;
    });
}

#[test]
fn sockets_that_keep_still_after_a_request() {
    alone("attacks::slow::sockets_that_keep_still_after_a_request", async {
        let server = serving("head-ms = 1000");
        attacked(&server, async {
            let ends = (0..300).map(async |_| {
                let mut socket = server.tcp().await;
                socket.write_all(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is open");
                let mut answer = String::new();
                let _ = socket.read_to_string(&mut answer).await;
                answer
            });
            for answer in within("all of them to be ended", join_all(ends)).await {
                assert!(answer.starts_with("HTTP/1.1 404 ") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
            }
        })
        .await;
    });
}

#[test]
fn closes_that_are_never_answered() {
    alone("attacks::slow::closes_that_are_never_answered", async {
        let server = serving("close-ms = 500");
        attacked(&server, async {
            let mut stalling = crowd(&server, 100).await;
            for client in &mut stalling {
                client.send("close 4000 enough").await;
                assert_eq!(client.receive().await, Received::Close(4000, "enough".to_owned()));
            }
            // Neither a close nor an end, but whatever else can be sent.
            let frames = [masked(0x89, b"p"), masked(0x81, b"send more")].concat().repeat(100);
            let ends = stalling.into_iter().map(async |client| {
                let mut socket = client.into_raw();
                while socket.write_all(&frames).await.is_ok() {
                    tokio::time::sleep(PAUSE).await;
                }
            });
            within("all of them to be cut", join_all(ends)).await;
        })
        .await;
        assert_eq!(server.metrics().close_timeouts.get(), 100);
        server.until("only the neighbour is left", |server| server.metrics().connections.get() <= 1).await;
    });
}

#[test]
fn peers_that_are_gone_without_a_word() {
    alone("attacks::slow::peers_that_are_gone_without_a_word", async {
        let server = serving("ping-ms = 200\npong-ms = 3000\nclose-ms = 500");
        attacked(&server, async {
            // Their systems still confirm what is sent to them, so that only a missing pong tells.
            let gone: Vec<_> = crowd(&server, 100).await.into_iter().map(|client| client.into_raw()).collect();
            server.until("all of them are missed", |server| server.metrics().no_pong.get() == 100).await;
            for mut socket in gone {
                let mut told = Vec::new();
                within("the end", socket.read_to_end(&mut told)).await.expect("it ends in order");
                assert!(told.ends_with(b"\x88\x09\x03\xE9no pong"), "{told:?}");
            }
        })
        .await;
    });
}

#[test]
fn messages_that_do_not_come_to_an_end() {
    alone("attacks::slow::messages_that_do_not_come_to_an_end", async {
        let server = serving("message-ms = 500\nclose-ms = 500");
        attacked(&server, async {
            let mut slow = crowd(&server, 100).await;
            // A head for 64 KiB, and hardly any of them.
            for client in &mut slow {
                client.raw(b"\x82\xFF\0\0\0\0\0\x01\0\0\0\0\0\0x").await;
            }
            for mut client in slow {
                client.expect_close(1008, "message took too long").await;
            }
        })
        .await;
        assert_eq!(server.metrics().slow_messages.get(), 100);
    });
}
