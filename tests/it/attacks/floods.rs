//! Far too many: connections, of one address or of all, those that go at once, sockets in a second, messages.
//!
//! What is too many is refused with a status that says when to come again, or waits; who is connected goes on.

use futures_util::future::join_all;
use switchboard_harness::{Client, Received, Response, TestServer};

use super::{attacked, crowd, serving, sockets};
use crate::neighbour::alone;

/// Handshakes at once.
const AT_ONCE: usize = 100;

/// A storm of handshakes, all clients of which stay: those that were let in, and what the others were told.
async fn storm(server: &TestServer, size: usize) -> (Vec<Client>, Vec<Response>) {
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..size / AT_ONCE {
        for outcome in join_all((0..AT_ONCE).map(|_| server.request("/ws").open())).await {
            match outcome {
                Ok(client) => open.push(client),
                Err(response) => refused.push(response),
            }
        }
    }
    (open, refused)
}

#[test]
fn storms_of_connections() {
    alone("attacks::floods::storms_of_connections", async {
        for (limit, status) in [("connections = 51", 503), ("address-connections = 51", 429)] {
            let server = serving(limit);
            attacked(&server, async {
                let (open, refused) = storm(&server, 1000).await;
                assert_eq!((open.len(), refused.len()), (50, 950), "{limit}");
                let told = |response: &Response| (response.status, response.header("retry-after") == Some("5"));
                assert!(refused.iter().all(|response| told(response) == (status, true)), "{:?}", refused[0]);
                drop(open);
                server.until("there is room again", |server| server.metrics().connections.get() <= 1).await;
                assert!(!storm(&server, AT_ONCE).await.0.is_empty());
            })
            .await;
        }
    });
}

#[test]
fn clients_that_go_as_soon_as_they_came() {
    alone("attacks::floods::clients_that_go_as_soon_as_they_came", async {
        let server = serving("");
        attacked(&server, async {
            for _ in 0..20 {
                crowd(&server, 50).await.into_iter().for_each(Client::reset);
            }
            // Without a look at the answer.
            for socket in sockets(&server, 500).await {
                let asked = super::handshake::with("");
                assert_eq!(socket.try_write(&asked).expect("it is open"), asked.len());
                socket.set_zero_linger().expect("a socket can be told not to linger");
            }
            server.until("all are gone", |server| server.metrics().connections.get() <= 1).await;
        })
        .await;
    });
}

#[test]
fn sockets_faster_than_they_are_accepted() {
    alone("attacks::floods::sockets_faster_than_they_are_accepted", async {
        let server = serving("accepts = 50");
        attacked(&server, async {
            let asked = join_all((0..200).map(|_| server.http("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"))).await;
            assert!(asked.iter().all(|answer| answer.status == 404), "they wait, and are answered");
        })
        .await;
        assert!(server.metrics().accept_waits.get() > 0);
    });
}

#[test]
fn messages_over_the_rate() {
    alone("attacks::floods::messages_over_the_rate", async {
        let server = serving("connection-messages = 100000\nconnection-bytes = 1000000");
        let large = vec![b'x'; 100_000];
        attacked(&server, async {
            for mut client in crowd(&server, 20).await {
                for _ in 0..30 {
                    client.send_binary(large.clone()).await;
                }
                let mut answers = 0;
                let end = loop {
                    match client.receive().await {
                        Received::Binary(_) => answers += 1,
                        end => break end,
                    }
                };
                assert_eq!(end, Received::Close(1008, "rate".to_owned()));
                assert!((1..30).contains(&answers), "{answers} answers");
            }
        })
        .await;
        assert_eq!(server.metrics().over_rate.get(), 20);
    });
}

#[test]
fn messages_as_fast_as_they_come() {
    const MESSAGES: u32 = 300;
    alone("attacks::floods::messages_as_fast_as_they_come", async {
        let server = serving("");
        attacked(&server, async {
            let flooding = crowd(&server, 50).await.into_iter().map(async |mut client| {
                for number in 0..MESSAGES {
                    client.send(&format!("send {number}")).await;
                }
                for number in 0..MESSAGES {
                    client.expect_text(&number.to_string()).await;
                }
            });
            join_all(flooding).await;
        })
        .await;
        assert_eq!(server.metrics().slow_consumers.get(), 0);
    });
}
