//! HTTP/2: several WebSockets in one connection (RFC 8441), on TLS and without.
//!
//! The client's half of such a connection is a task, which goes on while a server that a test drops waits for it.

use futures_util::SinkExt;
use http_body_util::Empty;
use hyper::http::{Method, Request};
use serde_json::{Value, json};
use switchboard_harness::TestServer;
use tokio_tungstenite::tungstenite::Message;

use crate::fixtures::setup;
use crate::streams::{Http2, NAME, Papers, expect_echo, hear, websocket};

const TOML: &str = "[plugins.echo]\npath = 'echo.wasm'\n[plugins.mirror]\npath = 'mirror.wasm'\n\
                    [[route]]\npath = '/ws'\nhandler = 'echo'\n[[route]]\npath = '/mirror'\nhandler = 'mirror'\n";
const VERSION: (&str, &str) = ("sec-websocket-version", "13");

fn serving(server: &str) -> TestServer {
    setup(&format!("{server}\n{TOML}")).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_several_websockets() {
    let papers = Papers::new();
    let server = serving(&papers.toml());
    let secure = papers.handshake(server.tcp().await, &["h2"]).await.expect("it is trusted");
    let clear = serving("");
    for mut http2 in [Http2::begin(secure).await, Http2::begin(clear.tcp().await).await] {
        let (mut ann, mut bob) = (http2.open("/ws").await, http2.open("/ws").await);
        for number in 0..10 {
            expect_echo(&mut ann, &format!("ann {number}")).await;
            expect_echo(&mut bob, &format!("bob {number}")).await;
        }
        // More than both windows hold.
        expect_echo(&mut ann, &"long ".repeat(100_000)).await;
        // The server may have ended the stream before all of this is done.
        let _ = ann.close(None).await;
        assert!(matches!(hear(&mut ann).await, Message::Close(_)));
        expect_echo(&mut bob, "still here").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_with_the_same_status() {
    let server = serving("");
    let mut http2 = Http2::begin(server.tcp().await).await;
    for (target, headers, status) in [
        ("/ws", &[][..], 426),
        ("/ws", &[("sec-websocket-version", "8")], 426),
        ("/nowhere", &[VERSION], 404),
        ("/ws", &[VERSION, ("origin", "https://evil.example")], 403),
        ("/ws", &[VERSION, ("host", "other.example")], 400),
        ("/ws", &[VERSION, ("sec-websocket-protocol", "a b")], 400),
        ("/a/../ws", &[VERSION], 400),
    ] {
        let response = http2.connect(target, headers).await;
        assert_eq!(response.status(), status, "{target} {headers:?}");
        assert!(!response.headers().contains_key("connection"), "it has no meaning here");
    }
    let connect = Request::builder().method(Method::CONNECT).uri(NAME).body(Empty::new()).expect("a request");
    assert_eq!(http2.ask(connect).await.status(), 400, "this is no proxy");
    assert_eq!(http2.get("/ws").await.status(), 426);
    let mut ann = http2.open("/ws").await;
    expect_echo(&mut ann, "the others were refused, and this one is open").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_so_many_headers_and_bytes() {
    let server = serving("[server.limits]\nheaders = 10");
    let mut http2 = Http2::begin(server.tcp().await).await;
    // Beside these it has its version, and its host, which stands among them too.
    let names: Vec<_> = (0..9).map(|number| format!("x-{number}")).collect();
    let mut headers: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    headers[0] = VERSION;
    assert_eq!(http2.connect("/ws", &headers).await.status(), 200);
    headers.push(("x-one", "too many"));
    assert_eq!(http2.connect("/ws", &headers).await.status(), 431);
    assert_eq!(server.metrics().bad_heads.get(), 1);
    let large = "x".repeat(9000);
    assert_eq!(http2.connect("/ws", &[VERSION, ("x-large", &large)]).await.status(), 431);
    expect_echo(&mut http2.open("/ws").await, "the connection goes on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_see_the_same_request_and_its_end() {
    let server = serving("");
    let mut http2 = Http2::begin(server.tcp().await).await;
    let own = format!("http://{NAME}");
    let offered = [VERSION, ("origin", own.as_str()), ("sec-websocket-protocol", "chat, b")];
    let response = http2.connect("/mirror?a=b", &offered).await;
    assert_eq!(response.status(), 200, "its own Origin is that of `:authority`");
    assert!(!response.headers().contains_key("sec-websocket-accept"), "there was no key");
    let mut ann = websocket(response).await;
    let seen: Value = serde_json::from_str(hear(&mut ann).await.to_text().expect("it is text")).expect("JSON");
    assert_eq!((&seen["host"], &seen["path"]), (&json!(NAME), &json!("/mirror")));
    assert_eq!((&seen["subprotocols"], &seen["query_string"]), (&json!(["chat", "b"]), &json!("a=b")));
    assert_eq!(server.metrics().connections.get(), 1);
    // Without a close: the client resets the stream.
    drop(ann);
    server.until("its end is seen", |server| server.metrics().connections.get() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_closes_them_with_1012() {
    let mut server = serving("");
    let mut http2 = Http2::begin(server.tcp().await).await;
    let mut ann = http2.open("/ws").await;
    expect_echo(&mut ann, "hello").await;
    let stopped = async {
        server.stop().await;
        true
    };
    let told = async {
        let Message::Close(Some(frame)) = hear(&mut ann).await else { panic!("no close with a code") };
        let _ = ann.flush().await;
        u16::from(frame.code)
    };
    assert_eq!(tokio::join!(stopped, told), (true, 1012));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_requests_is_ended() {
    let server = serving("[server.limits]\nhead-ms = 200");
    let mut http2 = Http2::begin(server.tcp().await).await;
    let mut ann = http2.open("/ws").await;
    let idle = Http2::begin(server.tcp().await).await;
    server.until("the idle one is gone", |_| idle.is_closed()).await;
    expect_echo(&mut ann, "one with a WebSocket stays").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_a_connection_may_have_wait_or_are_refused() {
    let server = serving("");
    let mut http2 = Http2::begin(server.tcp().await).await;
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(http2.open("/ws").await);
    }
    for ws in &mut open {
        expect_echo(ws, "all of them").await;
    }
    let mut other = http2.clone();
    let more = tokio::spawn(async move { other.open("/ws").await });
    drop(open.pop());
    let mut ws = more.await.expect("it waited for its turn");
    expect_echo(&mut ws, "one is gone").await;
}
