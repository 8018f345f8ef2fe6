//! Frames: lengths that lie, fragments without end, what breaks the protocol, and messages that grow as they are inflated.
//!
//! A connection is closed with the code that the protocol has for it; nothing is allocated for what a frame only claims.

use futures_util::future::join_all;
use switchboard_harness::{Client, Received, TestServer, masked};

use super::{attacked, crowd, serving, within};
use crate::compression::{NAME, OFFER, TEXT, deflated, offering};
use crate::neighbour::alone;
use crate::protocol::broken_frames;

const MIB: usize = 1024 * 1024;

/// The head of a frame of bytes that says it has this length.
fn claiming(length: u64) -> Vec<u8> {
    [&[0x82, 0xFF][..], &length.to_be_bytes(), &[0; 4]].concat()
}

/// Many clients that write these bytes, each on a connection of its own, as far as they are taken, and are closed for it.
async fn closed(server: &TestServer, bytes: &[u8], (code, reason): (u16, &str)) {
    let ends = crowd(server, 10).await.into_iter().map(async |client| written(client, bytes).await);
    for mut client in join_all(ends).await {
        let end = loop {
            match client.receive().await {
                Received::Pong(_) => {}
                end => break end,
            }
        };
        assert_eq!(end, Received::Close(code, reason.to_owned()));
        client.expect_end().await;
    }
}

async fn written(mut client: Client, bytes: &[u8]) -> Client {
    client.raw(bytes).await;
    client
}

#[test]
fn lengths_that_lie() {
    alone("attacks::frames::lengths_that_lie", async {
        let server = serving("");
        attacked(&server, async {
            for length in [MIB as u64 + 1, 16 << 20, u64::from(u32::MAX) + 1, i64::MAX as u64] {
                closed(&server, &claiming(length), (1009, "message too big")).await;
            }
            // As much as is allowed, by many, and nothing of it comes.
            let claim = [claiming(MIB as u64), vec![b'x'; 100]].concat();
            let mut waiting =
                join_all(crowd(&server, 300).await.into_iter().map(|client| written(client, &claim))).await;
            for client in &mut waiting {
                // It is read, and the message goes on.
                client.raw(&vec![b'x'; 1000]).await;
            }
            server.until("they are open", |server| server.metrics().connections.get() >= 300).await;
        })
        .await;
        assert_eq!(server.metrics().too_big.get(), 40);
    });
}

#[test]
fn a_length_that_no_frame_may_have() {
    alone("attacks::frames::a_length_that_no_frame_may_have", async {
        let server = serving("");
        attacked(&server, async {
            for length in [1 << 63, u64::MAX] {
                closed(&server, &claiming(length), (1009, "message too big")).await;
            }
        })
        .await;
    });
}

#[test]
fn fragments_without_end() {
    alone("attacks::frames::fragments_without_end", async {
        let server = serving("fragments = 20000");
        let begin = masked(0x01, b"x");
        attacked(&server, async {
            let limit = (1008, "too many fragments");
            closed(&server, &[&begin[..], &masked(0x00, b"").repeat(20_000)].concat(), limit).await;
            closed(&server, &[&begin[..], &masked(0x00, b"x").repeat(20_000)].concat(), limit).await;
            // Many pings between them end no differently.
            let pinged = [masked(0x00, b""), masked(0x89, b"")].concat();
            closed(&server, &[&begin[..], &pinged.repeat(150)].concat(), (1008, "too many control frames")).await;
            // Few and large ones: the limit of a message counts them together.
            let large = masked(0x00, &vec![b'x'; MIB / 4]);
            closed(&server, &[&begin[..], &large.repeat(4)].concat(), (1009, "message too big")).await;
        })
        .await;
        let metrics = server.metrics();
        let counted = [&metrics.over_fragments, &metrics.control_floods, &metrics.too_big].map(|counter| counter.get());
        assert_eq!(counted, [20, 10, 10]);
    });
}

#[test]
fn frames_that_break_the_protocol() {
    alone("attacks::frames::frames_that_break_the_protocol", async {
        let server = serving("");
        attacked(&server, async {
            for (what, bytes) in broken_frames() {
                println!("{what}");
                closed(&server, &bytes, (1002, "protocol error")).await;
            }
            for text in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"caf\xc3"] {
                closed(&server, &masked(0x81, text), (1007, "invalid UTF-8")).await;
            }
            for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535] {
                closed(&server, &masked(0x88, &code.to_be_bytes()), (1002, "Protocol violation")).await;
            }
        })
        .await;
    });
}

/// A server that agrees to compression.
fn inflating() -> TestServer {
    let more = "[[route]]\npath = '/deflate'\nhandler = 'puppet'\ncompression = { threshold = 100000 }\n";
    within("", more).start()
}

#[test]
fn messages_that_grow_as_they_are_inflated() {
    alone("attacks::frames::messages_that_grow_as_they_are_inflated", async {
        let server = inflating();
        let bomb = deflated(&vec![b'a'; 16 * MIB]);
        let inner = deflated(&vec![b'a'; 64 * MIB]);
        let twice = deflated(&inner);
        attacked(&server, async {
            for round in 0..10 {
                let clients = join_all((0..10).map(|_| offering(&server, "/deflate", OFFER))).await;
                // In one frame, and in many: what is inflated counts, not what comes.
                let (first, rest) = bomb.split_at(bomb.len() / 2);
                let halves = [masked(0x41, first), masked(0x80, rest)].concat();
                let bytes = if round % 2 == 0 { masked(TEXT, &bomb) } else { halves };
                for mut client in join_all(clients.into_iter().map(|client| written(client, &bytes))).await {
                    client.expect_close(1009, "message too big").await;
                }
            }
            // One within another is inflated once.
            let mut client = offering(&server, "/deflate", OFFER).await;
            client.raw(&masked(0xc2, &twice)).await;
            client.expect_binary(&inner).await;
        })
        .await;
        assert_eq!(server.metrics().too_big.get(), 100);
    });
}

#[test]
fn compression_that_nobody_can_keep() {
    alone("attacks::frames::compression_that_nobody_can_keep", async {
        let server = inflating();
        attacked(&server, async {
            for parameter in [
                "server_max_window_bits=8",
                "server_max_window_bits=0",
                "server_max_window_bits=-1",
                "server_max_window_bits=16",
                "server_max_window_bits=4294967305",
                "server_max_window_bits",
                "client_max_window_bits=99",
                "client_max_window_bits; client_max_window_bits",
                "server_no_context_takeover=1",
                "x-unknown",
            ] {
                let mut client = offering(&server, "/deflate", &format!("permessage-deflate; {parameter}")).await;
                assert_eq!(client.response().header(NAME), None, "{parameter}");
                client.raw(&masked(TEXT, &deflated(b"send hello"))).await;
                client.expect_close(1002, "protocol error").await;
            }
        })
        .await;
    });
}
