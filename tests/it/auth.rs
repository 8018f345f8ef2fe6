//! Who is let in: scenarios U1 to U6 and U9, with the first-party gates `auth-token`, `auth-jwt` and `rate-limit`.
//!
//! The gate stands before the puppet, with another gate on each side, so that it shows who was asked and who was told.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use serde_json::{Value, json};
use switchboard::clock::Clock;
use switchboard_harness::{Received, TestServer};

use crate::fixtures::{setup, start};

#[path = "../../plugins/auth-jwt/tests/keys/sign.rs"]
mod sign;

use sign::{EC_PUBLIC, KEYS, Key, RSA_PUBLIC, SECRET};

fn guarded(config: &str) -> TestServer {
    guarded_by("auth_token", config)
}

fn guarded_by(gate: &str, config: &str) -> TestServer {
    start(&format!(
        r#"
        middleware = ["outside"]

        [plugins.outside]
        path = "link.wasm"

        [plugins.auth]
        path = "{gate}.wasm"
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

/// How the gate is configured to check what this key signs.
fn checked_by(key: Key) -> String {
    let key = match key {
        Key::Hs256(secret) => format!("secret = '{secret}'"),
        Key::Rs256 => format!("public-key = '''{RSA_PUBLIC}'''"),
        Key::Es256 => format!("public-key = '''{EC_PUBLIC}'''"),
    };
    format!("{key}, issuer = 'login', audience = 'chat'")
}

/// Seconds since the Unix epoch, so many from now.
fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as i64 + seconds
}

/// What the gate of the tests wants to be told of ann.
fn ann() -> Value {
    json!({"sub": "ann", "exp": in_seconds(600), "nbf": in_seconds(-600), "iss": "login", "aud": ["chat"]})
}

/// Claims that are good but for one.
fn but(claim: &str, value: Value) -> Value {
    let mut claims = ann();
    claims[claim] = value;
    claims
}

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
    server.connect("/ws?token=wrong&do=log+called").await.expect_close(1008, "Unauthorized").await;
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
async fn u3_a_gate_for_web_tokens_asks_for_one_by_close_or_by_http() {
    let secret = format!("secret = '{SECRET}'");
    let server = guarded_by("auth_jwt", &secret);
    server.connect("/ws").await.expect_close(1008, "Authentication required").await;

    let server = guarded_by("auth_jwt", &format!("{secret}, refuse = 'http'"));
    let refused = server.request("/ws").refused().await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    let refused = server.request("/ws?token=wrong").refused().await;
    assert_eq!((refused.status, refused.body.as_str()), (401, "Invalid token"));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
}

#[tokio::test]
async fn u4_a_web_token_is_good_in_every_respect_or_invalid() {
    for key in KEYS {
        let server = guarded_by("auth_jwt", &checked_by(key));
        let signed = |claims: &Value| key.sign(&claims.to_string());
        let bad = [
            but("exp", json!(in_seconds(-120))),
            but("exp", json!(null)),
            but("nbf", json!(in_seconds(120))),
            but("aud", json!("news")),
            but("iss", json!("elsewhere")),
            but("sub", json!("")),
        ];
        for claims in bad {
            let target = format!("/ws?token={}&do=log+called", signed(&claims));
            server.connect(&target).await.expect_close(1008, "Invalid token").await;
        }
        let good = signed(&ann());
        let changed = good.replace('.', ".e");
        for token in ["wrong", &changed, &format!("{good}AAAA")] {
            server.connect(&format!("/ws?token={token}")).await.expect_close(1008, "Invalid token").await;
        }
        assert!(!told(&server).iter().any(|line| line.starts_with("puppet")), "{:?}", told(&server));
        // Good both in the header and in the query, and the handler knows who it is.
        let mut ann =
            server.request("/ws?do=get+user").header("Authorization", &format!("Bearer {good}")).connect().await;
        ann.expect_text("user is ann").await;
        server.connect(&format!("/ws?token={good}&do=get+user")).await.expect_text("user is ann").await;
    }
}

#[tokio::test]
async fn u4_who_signs_with_the_public_key_as_a_secret_is_refused() {
    let server = guarded_by("auth_jwt", &checked_by(Key::Rs256));
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim()] {
        let token = Key::Hs256(secret).sign(&ann().to_string());
        server.connect(&format!("/ws?token={token}")).await.expect_close(1008, "Invalid token").await;
    }
}

#[tokio::test]
async fn a_gate_that_cannot_be_used_as_configured_lets_nobody_in_and_says_why() {
    let server = guarded_by("auth_jwt", "secret = 'short'");
    assert_eq!(server.request("/ws?token=x").refused().await.status, 500);
    let fault = server.logged(|record| record.to_string().contains("at least 32")).await;
    assert!(fault.to_string().contains("auth"), "{fault}");
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

/// Admits 5 connections of one address in 100 seconds; a window begins with the server.
fn limited() -> TestServer {
    let toml = r#"
        middleware = ["limit"]

        [server]
        workers = 4

        [plugins.limit]
        path = "rate_limit.wasm"
        config = { connections = 5, window-seconds = 100, messages = 3, per-seconds = 10 }

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
    "#;
    setup(toml).clock(Clock::manual()).start()
}

/// How many of so many connections at once are admitted. All others must be refused as the scenario says.
async fn admitted(server: &TestServer, tries: usize) -> usize {
    let mut clients = join_all((0..tries).map(|_| server.connect("/ws?do=send+in"))).await;
    let answers = join_all(clients.iter_mut().map(|client| client.receive())).await;
    let refused = answers.iter().filter(|answer| match answer {
        Received::Close(code, reason) => (*code, reason.as_str()) == (1008, "Rate limit exceeded"),
        _ => false,
    });
    let (refused, came_in) = (refused.count(), answers.iter().filter(|answer| is_text(answer, "in")).count());
    assert_eq!(refused + came_in, tries, "{answers:?}");
    came_in
}

fn is_text(answer: &Received, expected: &str) -> bool {
    matches!(answer, Received::Text(text) if text == expected)
}

#[tokio::test]
async fn u6_no_more_connections_of_an_address_than_the_limit_are_admitted_over_all_workers() {
    let server = limited();
    assert_eq!(admitted(&server, 40).await, 5);
    server.connect("/ws").await.expect_close(1008, "Rate limit exceeded").await;

    // The next window begins with all of them, and half of it later they count half.
    server.advance(Duration::from_secs(100));
    assert_eq!(admitted(&server, 40).await, 0);
    server.advance(Duration::from_secs(50));
    assert_eq!(admitted(&server, 40).await, 2);
    server.advance(Duration::from_secs(200));
    assert_eq!(admitted(&server, 40).await, 5);
}

#[tokio::test]
async fn u6_who_sends_more_messages_than_the_limit_is_closed() {
    let server = limited();
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    for n in 0..3 {
        ann.send(&format!("send {n}")).await;
        ann.expect_text(&n.to_string()).await;
    }
    ann.send("send 3").await;
    ann.expect_close(1008, "Rate limit exceeded").await;
    bob.send("send 4").await;
    bob.expect_text("4").await;
}

#[tokio::test]
async fn u5_a_password_is_changed_for_a_token_that_the_gate_takes() {
    // The hash is that of the example, of what is advised at least.
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$kp0g8W7Db0ZFAh5kT6S4uw$mUpvA9680TowrNW34tXtpL/cjNengmcOj0VukHW4GYk";
    let server = start(&format!(
        r#"
        [server.limits]
        event-cpu-ms = 500

        [plugins.login]
        path = "login.wasm"
        config = {{ secret = "{SECRET}", issuer = "login", audience = "chat", user-ann = "{hash}" }}

        [plugins.auth]
        path = "auth_jwt.wasm"
        config = {{ secret = "{SECRET}", issuer = "login", audience = "chat" }}

        [plugins.whoami]
        path = "whoami.wasm"

        [[route]]
        path = "/login"
        handler = "login"

        [[route]]
        path = "/ws"
        handler = "whoami"
        middleware = ["auth"]
        "#
    ));
    let mut login = server.connect("/login").await;
    for (user, password) in [("ann", "wrong"), ("eve", "correct horse")] {
        login.send(&json!({"type": "login", "user": user, "password": password}).to_string()).await;
        login.expect_text(r#"{"type":"error","error":"Wrong user or password"}"#).await;
    }
    login.send(r#"{"type":"login","user":"ann","password":"correct horse"}"#).await;
    let told: Value = serde_json::from_str(&login.text().await).unwrap();
    let token = told["token"].as_str().unwrap();
    let mut ann = server.connect(&format!("/ws?token={token}")).await;
    ann.expect_text(r#"{"type":"welcome","user":"ann"}"#).await;
    server.connect(&format!("/ws?token={token}x")).await.expect_close(1008, "Invalid token").await;
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
