//! A panic of the host itself, which is a bug: it ends the connection that it came in, is counted, and costs others nothing.
//!
//! The server logs into what the test gives it, and that panics at a record: within a host call of a guest, or in the host's own
//! code for a connection. What the panicking connection had is given back: its places, its rooms and its instance.

use switchboard_harness::{Client, Received, Reuse, TestServer};

use crate::fixtures::setup;
use crate::tenants::{SERVER, tenant};

/// One worker, and a tenant with room for two connections and one instance.
fn server() -> TestServer {
    let server = format!("[server]\nworkers = 1\n{SERVER}");
    let about = "limits = { tenant-connections = 2, tenant-instances = 1 }";
    let about = tenant(about).replace("handler = \"puppet\"", "handler = \"puppet\"\nmax-connections = 2");
    setup(&server).tenant("acme", &about).reuse(Reuse::Always).start()
}

async fn member(server: &TestServer) -> Client {
    let mut client = server.connect("/acme/ws").await;
    client.send("join lobby\nsend in").await;
    client.expect_text("in").await;
    client
}

/// Has the host panic where it writes this record, while it does this for a client; then nothing is left of that client, and
/// others go on.
async fn survives(record: &str, says: &str) {
    let server = server();
    let (mut ann, mut bob) = (member(&server).await, member(&server).await);
    let mut cy = server.connect("/ws").await;
    assert_eq!(server.request("/acme/ws").refused().await.status, 503, "both places are taken");
    server.log().panic_at(record);
    ann.send(says).await;
    assert_eq!(ann.receive().await, Received::End);
    server.until("it is counted", |server| server.metrics().panics.get() == 1).await;
    let bug = "the host panicked in this connection, which ends; this is a bug of the server";
    server.logged(|record| record.message == bug && record.field("plugin") == "acme/puppet").await;
    for (client, others) in [(&mut bob, "lobby has 1"), (&mut cy, "lobby has 0")] {
        client.send("count lobby").await;
        client.expect_text(others).await;
    }
    assert_eq!(server.metrics().connections.get(), 2);
    // Once what the task held is gone, there is room for another one.
    server.until("the instance is back", |server| server.metrics().instances.get() <= 2).await;
    let mut dan = member(&server).await;
    assert_eq!(server.request("/acme/ws").refused().await.status, 503);
    bob.send("publish lobby all is well").await;
    for client in [&mut bob, &mut dan] {
        client.expect_text("all is well").await;
    }
    assert_eq!(server.metrics().panics.get(), 1);
}

#[tokio::test]
async fn a_panic_in_a_host_call_ends_one_connection() {
    survives("a bug", "log a bug").await;
}

#[tokio::test]
async fn a_panic_beside_all_guests_ends_one_connection() {
    survives("guest fault: wasm trap: wasm `unreachable` instruction executed", "trap").await;
}

#[tokio::test]
async fn a_panic_in_a_handshake_ends_it_and_gives_its_places_back() {
    let server = server();
    let mut ann = member(&server).await;
    server.log().panic_at("a bug");
    assert_eq!(server.request("/acme/ws?do=log+a+bug").refused().await.status, 500);
    server.until("it is counted", |server| server.metrics().panics.get() == 1).await;
    let bug = "the host panicked in a handshake, which is refused; this is a bug of the server";
    server.logged(|record| record.message == bug && record.field("whose") == "host").await;
    let mut bob = member(&server).await;
    ann.send("publish lobby all is well").await;
    for client in [&mut ann, &mut bob] {
        client.expect_text("all is well").await;
    }
    assert_eq!((server.metrics().panics.get(), server.metrics().connections.get()), (1, 2));
}
