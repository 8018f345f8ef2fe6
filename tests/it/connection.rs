//! Connections and messages: scenarios A1 to A7, A14 to A17, A19 to A21 and A24.

use switchboard_harness::TestServer;

use crate::fixtures::start;

/// A server with one route, `/ws`, and this component as its handler.
fn serving(component: &str) -> TestServer {
    start(&format!(
        r#"
        [plugins.handler]
        path = "{component}.wasm"

        [[route]]
        path = "/ws"
        handler = "handler"
        "#
    ))
}

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
