//! The first-party plugin `heartbeat`: scenarios H1 and H2. The server's own keepalive is in `keepalive`, and is off here.
//!
//! The clock is the test's: nothing is waited for in real time.

use std::time::Duration;

use switchboard_harness::{Clock, TestServer};

use crate::fixtures::setup;

fn heartbeat() -> TestServer {
    let toml = r#"
        [server.limits]
        ping-ms = 0

        [plugins.echo]
        path = "echo.wasm"

        [plugins.heartbeat]
        path = "heartbeat.wasm"

        [[route]]
        path = "/ws"
        handler = "echo"
        middleware = ["heartbeat"]
    "#;
    setup(toml).clock(Clock::manual()).start()
}

fn wait(server: &TestServer, milliseconds: u64) {
    server.advance(Duration::from_millis(milliseconds));
}

#[tokio::test]
async fn h1_a_silent_client_is_pinged_after_30_seconds_and_closed_after_60() {
    let server = heartbeat();
    let mut ann = server.connect("/ws").await;
    wait(&server, 29_999);
    ann.expect_nothing_more().await;
    wait(&server, 1);
    ann.expect_text("ping").await;
    wait(&server, 29_999);
    ann.expect_nothing_more().await;
    wait(&server, 1);
    ann.expect_close(1000, "Timeout").await;
}

#[tokio::test]
async fn h2_any_message_starts_the_clock_anew() {
    let server = heartbeat();
    let mut ann = server.connect("/ws").await;
    for _ in 0..3 {
        wait(&server, 29_999);
        ann.send("here").await;
        ann.expect_text("here").await;
        wait(&server, 29_999);
        ann.send_binary(vec![1]).await;
        ann.expect_binary(&[1]).await;
    }
    wait(&server, 30_000);
    ann.expect_text("ping").await;
    wait(&server, 30_000);
    ann.expect_close(1000, "Timeout").await;
}

#[tokio::test]
async fn h2_a_pong_starts_the_clock_anew_and_ends_at_the_filter() {
    let server = heartbeat();
    let mut ann = server.connect("/ws").await;
    for _ in 0..3 {
        wait(&server, 59_999);
        ann.expect_text("ping").await;
        ann.send("pong").await;
        // The echo would have answered it.
        ann.expect_nothing_more().await;
    }
    wait(&server, 30_000);
    ann.expect_text("ping").await;
}

#[tokio::test]
async fn h2_each_connection_has_a_clock_of_its_own() {
    let server = heartbeat();
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    wait(&server, 59_999);
    for client in [&mut ann, &mut bob] {
        client.expect_text("ping").await;
    }
    bob.send("here").await;
    bob.expect_text("here").await;
    wait(&server, 1);
    ann.expect_close(1000, "Timeout").await;
    bob.expect_nothing_more().await;
}
