//! Who does not read: pongs, own answers and what others publish, all of which would wait in the server's memory.
//!
//! A connection that takes nothing is not read from any more, and is given up after its time; of what others send to it, only
//! so much is kept.

use futures_util::future::join_all;
use switchboard_harness::{Client, TestServer, masked, within};
use tokio::io::AsyncWriteExt;

use super::{attacked, crowd, serving, serving_file, sockets};
use crate::neighbour::alone;

/// Clients whose systems take little for them.
async fn deaf(server: &TestServer, size: usize) -> Vec<Client> {
    let deaf = || server.request("/ws").receive_buffer(4096).connect();
    join_all((0..size).map(|_| deaf())).await
}

/// Writes these frames again and again, reads nothing, and ends with the connection.
async fn write_on(client: Client, frames: &[u8]) {
    let mut socket = client.into_raw();
    while socket.write_all(frames).await.is_ok() {}
}

#[test]
fn pings_without_end() {
    alone("attacks::readers::pings_without_end", async {
        let server = serving("");
        let pings = masked(0x89, b"p").repeat(10_000);
        attacked(&server, async {
            for mut client in crowd(&server, 50).await {
                client.raw(&pings).await;
                for _ in 0..100 {
                    client.expect_pong(b"p").await;
                }
                client.expect_close(1008, "too many control frames").await;
            }
        })
        .await;
        assert_eq!(server.metrics().control_floods.get(), 50);
    });
}

#[test]
fn pongs_that_nobody_reads() {
    alone("attacks::readers::pongs_that_nobody_reads", async {
        // As many as come, so that nothing but the reading bounds what waits.
        let server = serving("control-frames = 1000000000\nwrite-ms = 2000");
        let pings = masked(0x89, &[b'p'; 125]).repeat(1000);
        attacked(&server, async {
            let writing = deaf(&server, 8).await.into_iter().map(|client| write_on(client, &pings));
            within("all of them to be given up", join_all(writing)).await;
        })
        .await;
        assert_eq!((server.metrics().stalled.get(), server.metrics().control_floods.get()), (8, 0));
    });
}

#[test]
fn answers_that_nobody_reads() {
    alone("attacks::readers::answers_that_nobody_reads", async {
        let server = serving("write-ms = 2000");
        let messages = masked(0x82, &[b'x'; 16 * 1024]).repeat(8);
        attacked(&server, async {
            let writing = deaf(&server, 8).await.into_iter().map(|client| write_on(client, &messages));
            within("all of them to be given up", join_all(writing)).await;
        })
        .await;
        assert_eq!((server.metrics().stalled.get(), server.metrics().slow_consumers.get()), (8, 0));
    });
}

#[test]
fn news_that_nobody_reads() {
    const LARGE: usize = 64 * 1024;
    alone("attacks::readers::news_that_nobody_reads", async {
        let server = serving("close-ms = 500");
        let mut reader = server.connect("/ws?do=join+lobby").await;
        let mut publisher = server.connect("/ws").await;
        attacked(&server, async {
            let mut deaf = deaf(&server, 50).await;
            for client in &mut deaf {
                client.send("join lobby\nsend joined").await;
                client.expect_text("joined").await;
            }
            for number in 0..1000 {
                publisher.send(&format!("publish-bytes lobby {LARGE}\nsend {number}")).await;
                publisher.expect_text(&number.to_string()).await;
                assert_eq!(reader.binary().await.len(), LARGE, "who reads gets all of it");
                if server.metrics().slow_consumers.get() == 50 {
                    break;
                }
            }
            reader.expect_nothing_more().await;
        })
        .await;
        assert_eq!(server.metrics().slow_consumers.get(), 50, "each of the others is closed with 1013");
        server.until("they are gone", |server| server.metrics().connections.get() <= 3).await;
    });
}

#[test]
fn files_and_refusals_that_nobody_reads() {
    alone("attacks::readers::files_and_refusals_that_nobody_reads", async {
        let (server, _folder) = serving_file("tcp-user-timeout-ms = 2000", 8 << 20);
        attacked(&server, async {
            for path in ["nowhere", "file.bin"] {
                let requests = format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(1000);
                let writing = sockets(&server, 20)
                    .await
                    .into_iter()
                    .map(async |mut socket| while socket.write_all(requests.as_bytes()).await.is_ok() {});
                within("all of them to be given up", join_all(writing)).await;
            }
        })
        .await;
    });
}
