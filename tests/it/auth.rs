//! Who is let in: scenarios U1, U2, U3, U5 and U9, with the first-party gate `auth-token`.
//!
//! The gate stands before the puppet, with another gate on each side, so that it shows who was asked and who was told.

use switchboard_harness::TestServer;

use crate::fixtures::start;

fn guarded(config: &str) -> TestServer {
    start(&format!(
        r#"
        middleware = ["outside"]

        [plugins.outside]
        path = "link.wasm"

        [plugins.auth]
        path = "auth_token.wasm"
        config = {{ {config} }}

        [plugins.inside]
        path = "link.wasm"

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        middleware = ["auth", "inside"]
        "#
    ))
}

const TOKENS: &str = "tokens = 'abc=ann, def=bob'";

/// What the guests wrote, as `PLUGIN LINE`.
fn told(server: &TestServer) -> Vec<String> {
    let records = server.log().records().into_iter().filter(|record| record.is_of_guest());
    records.map(|record| format!("{} {}", record.field("plugin"), record.message)).collect()
}

#[tokio::test]
async fn u1_a_wrong_token_is_opened_and_closed_with_1008() {
    let server = guarded(TOKENS);
    server.connect("/ws?token=wrong").await.expect_close(1008, "Unauthorized").await;
    assert_eq!((server.metrics().refused.get(), server.metrics().accepted.get()), (1, 0));
}

#[tokio::test]
async fn u2_who_is_refused_reaches_nobody_inside_and_those_outside_hear_of_it() {
    let server = guarded(TOKENS);
    server.connect("/ws?token=wrong").await.expect_close(1008, "Unauthorized").await;
    server.logged(|record| record.message.starts_with("disconnect")).await;
    assert_eq!(told(&server), ["outside connect", "outside disconnect 1008 \"Unauthorized\""]);
}

#[tokio::test]
async fn u2_a_refusal_by_http_is_heard_outside_as_1006() {
    let server = guarded("tokens = 'abc=ann', refuse = 'http'");
    assert_eq!(server.request("/ws?token=wrong").refused().await.status, 401);
    server.logged(|record| record.message.starts_with("disconnect")).await;
    assert_eq!(told(&server), ["outside connect", "outside disconnect 1006 \"refused\""]);
}

#[tokio::test]
async fn u3_without_a_token_authentication_is_required() {
    let server = guarded(TOKENS);
    for path in ["/ws", "/ws?token=", "/ws?user=ann"] {
        server.connect(path).await.expect_close(1008, "Authentication required").await;
    }
    let bearer = server.request("/ws").header("Authorization", "Bearer wrong");
    bearer.connect().await.expect_close(1008, "Unauthorized").await;

    let server = guarded("tokens = 'abc=ann', refuse = 'http'");
    let refused = server.request("/ws").refused().await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(refused.body, "Authentication required");
}

#[tokio::test]
async fn u5_who_the_gate_let_in_is_known_to_the_handler() {
    let server = guarded(TOKENS);
    let mut ann = server.connect("/ws?token=abc&do=get+user").await;
    ann.expect_text("user is ann").await;
    let mut bob = server.request("/ws").header("Authorization", "Bearer def").connect().await;
    bob.send("get user").await;
    bob.expect_text("user is bob").await;
}

#[tokio::test]
async fn u9_the_chat_plugin_says_what_is_missing() {
    let server = start(
        r#"
        [plugins.chat]
        path = "chat.wasm"
        config = { rooms = "lobby, dev" }

        [[route]]
        path = "/ws"
        handler = "chat"
        "#,
    );
    for path in ["/ws", "/ws?room=lobby", "/ws?user=ann", "/ws?room=&user=ann"] {
        server.connect(path).await.expect_close(1008, "Missing parameters").await;
    }
    server.connect("/ws?room=den&user=ann").await.expect_close(1008, "Room not found").await;
    server.connect("/ws?room=dev&user=ann").await.expect_nothing_more().await;
}
