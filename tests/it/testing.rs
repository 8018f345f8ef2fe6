//! What a plugin author's own test can do: scenarios X1 to X5. The rest of X5, reloads, is in `reload`.
//!
//! Each is a test as somebody would write it who knows the harness and nothing of the server.

use std::time::Duration;

use switchboard_harness::{Clock, Received};

use crate::fixtures::{serving, setup, start};

#[tokio::test]
async fn x1_a_test_says_hello_and_hears_it_back() {
    let server = serving("polite_echo");
    let mut ann = server.connect("/ws").await;
    ann.send("Hello").await;
    ann.expect_text("Echo: Hello").await;
}

#[tokio::test]
async fn x2_a_test_speaks_json() {
    let server = serving("careful");
    let mut ann = server.connect("/ws").await;
    ann.send(r#"{"type":"ping"}"#).await;
    ann.expect_text(r#"{"type":"pong"}"#).await;
}

#[tokio::test]
async fn x3_a_refused_connect_is_what_a_real_client_would_see() {
    let server = start(
        r#"
        [plugins.auth]
        path = "auth_token.wasm"
        config = { tokens = "abc=ann", refuse = "http" }

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"

        [[route]]
        path = "/members"
        handler = "puppet"
        middleware = ["auth"]
        "#,
    );
    let by_gate = server.request("/members").refused().await;
    assert_eq!((by_gate.status, by_gate.body.as_str()), (401, "Authentication required"));
    assert_eq!(by_gate.header("www-authenticate"), Some("Bearer"));
    let by_handler = server.request("/ws?respond=403").refused().await;
    assert_eq!((by_handler.status, by_handler.body.as_str()), (403, "refused by the puppet"));
    assert_eq!(server.request("/nowhere").refused().await.status, 404);
    // A refusal by a close is an open connection first, as in a browser.
    let mut closed = server.connect("/ws?close=4003+not+today").await;
    assert_eq!(closed.response().status, 101);
    closed.expect_close(4003, "not today").await;
}

#[tokio::test]
async fn x4_a_trap_and_a_close_are_codes_and_reasons() {
    let server = serving("puppet");
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    ann.send("trap").await;
    assert_eq!(ann.receive().await, Received::Close(1011, "internal error".into()));
    assert_eq!(ann.receive().await, Received::End);
    bob.send("close 4000 enough").await;
    assert_eq!(bob.receive().await, Received::Close(4000, "enough".into()));
    assert_eq!(bob.receive().await, Received::End);
}

#[tokio::test]
async fn x5_the_clock_of_the_guests_is_the_tests() {
    let toml = "[plugins.chat]\npath = 'chat.wasm'\n[[route]]\npath = '/ws'\nhandler = 'chat'";
    let server = setup(toml).clock(Clock::manual()).start();
    let mut ann = server.connect("/ws?room=lobby&user=ann").await;
    for timestamp in [1_000_000_000_000_u64, 1_000_000_001_500] {
        ann.send(r#"{"type":"message","content":"now"}"#).await;
        ann.expect_text(&format!(r#"{{"type":"message","user":"ann","content":"now","timestamp":{timestamp}}}"#)).await;
        server.advance(Duration::from_millis(1500));
    }
}
