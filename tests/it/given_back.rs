//! Memory that a connection gives back once it is quiet after a large message.
//!
//! In a process of its own, on a clock that the test drives: one connection after the other has a large message, each a second
//! after the one before, so that what one gives back the next one takes. Kept, it would all add up.

use std::time::Duration;

use switchboard_harness::{Client, Clock, Reuse, TestServer};

use crate::fixtures::setup;
use crate::neighbour::{alone, status};

/// Connections, each with a large message.
const CONNECTIONS: usize = 600;
/// How many of them have it within one second.
const AT_ONCE: usize = 20;
/// The message, in bytes, in either direction.
const LARGE: usize = 256 * 1024;
/// What all of them may leave, in bytes; kept, it would be a third of a gigabyte.
const BOUND: usize = 48 * 1024 * 1024;

fn serving() -> TestServer {
    let toml = "[server]\nworkers = 1\n[server.limits]\nping-ms = 0\n\
                [plugins.puppet]\npath = 'puppet.wasm'\n[[route]]\npath = '/ws'\nhandler = 'puppet'\n";
    setup(toml).reuse(Reuse::Always).clock(Clock::manual()).start()
}

/// Sends it as bytes, which come back. The client's own library keeps what it needed for that, so it is a new one each time.
async fn echo_large(client: &mut Client) {
    let large = vec![b'x'; LARGE];
    client.send_binary(large.clone()).await;
    client.expect_binary(&large).await;
}

#[test]
fn a_quiet_connection_has_no_memory_of_its_large_message() {
    alone("given_back::a_quiet_connection_has_no_memory_of_its_large_message", async {
        let server = serving();
        let mut quiet = Vec::new();
        let mut before = 0;
        for turn in 0..CONNECTIONS / AT_ONCE {
            for _ in 0..AT_ONCE {
                let mut client = server.connect("/ws").await;
                echo_large(&mut client).await;
                quiet.push(client.into_raw());
            }
            server.advance(Duration::from_secs(2));
            if turn == 1 {
                before = status("VmRSS:");
            }
        }
        let grown = status("VmRSS:").saturating_sub(before);
        assert!(grown <= BOUND, "{} connections left {} MiB", quiet.len(), grown >> 20);
        assert_eq!(server.metrics().connections.get(), CONNECTIONS as i64);
    });
}

#[tokio::test]
async fn what_comes_after_memory_was_given_back_is_as_before() {
    let server = serving();
    let mut ann = server.connect("/ws").await;
    for turn in 0..10 {
        echo_large(&mut ann).await;
        // At a boundary of frames, in the middle of a message, and with something to be read.
        match turn % 3 {
            0 => server.advance(Duration::from_secs(2)),
            1 => {
                ann.raw(&[&b"\x01\x80\0\0\0\0"[..], b"\x89\x80\0\0\0\0"].concat()).await;
                ann.expect_pong(b"").await;
                server.advance(Duration::from_secs(2));
                ann.raw(&switchboard_harness::masked(0x80, b"send whole")).await;
                ann.expect_text("whole").await;
            }
            _ => {
                ann.send("send first").await;
                server.advance(Duration::from_secs(2));
                ann.send("send second").await;
                ann.expect_text("first").await;
                ann.expect_text("second").await;
            }
        }
    }
}
