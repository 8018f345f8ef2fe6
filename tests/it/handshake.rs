//! The opening handshake: scenarios A8 to A12, A18 and U8.
//!
//! What a client that asks rightly gets and its guest learns, and what one that asks wrongly is told.

use serde_json::{Value, json};
use switchboard_harness::TestServer;

use crate::fixtures::{serving, start};

/// A handler that chooses this subprotocol, offered or not.
fn choosing(subprotocol: &str) -> TestServer {
    start(&format!(
        r#"
        [plugins.chooser]
        path = "subprotocol.wasm"
        config = {{ choose = "{subprotocol}" }}

        [[route]]
        path = "/ws"
        handler = "chooser"
        "#
    ))
}

#[tokio::test]
async fn a8_the_guest_chooses_a_subprotocol_and_adds_a_header() {
    let server = choosing("chat");
    let mut ann = server.request("/ws").subprotocols("chat, b").connect().await;
    assert_eq!(ann.response().header("Sec-WebSocket-Protocol"), Some("chat"));
    assert_eq!(ann.response().header("X-Server"), Some("Switchboard"));
    ann.send("hi").await;
    ann.expect_text("hi").await;
}

#[tokio::test]
async fn a8_without_a_choice_there_is_no_subprotocol() {
    let server = serving("subprotocol");
    let ann = server.request("/ws").subprotocols("chat, b").connect().await;
    assert_eq!(ann.response().header("Sec-WebSocket-Protocol"), None);
    assert_eq!(ann.response().header("X-Server"), Some("Switchboard"));
}

#[tokio::test]
async fn a9_a_subprotocol_that_was_not_offered_is_never_sent() {
    let server = choosing("superchat");
    for request in [server.request("/ws").subprotocols("chat, b"), server.request("/ws")] {
        let refused = request.refused().await;
        assert_eq!((refused.status, refused.body.as_str()), (500, "internal error\n"));
        assert!(!format!("{refused:?}").contains("superchat"), "{refused:?}");
    }
    let record = server.logged(|record| record.message.contains("superchat")).await;
    assert_eq!(record.field("plugin"), "chooser");
    assert_eq!((server.metrics().refused.get(), server.metrics().accepted.get()), (2, 0));
}

#[tokio::test]
async fn a10_the_query_reaches_the_guest_decoded_and_raw() {
    let server = serving("mirror");
    let query = "token=12345&user=dunamis&tag=b&tag=a+c&flag&x=caf%C3%A9";
    let mut ann = server.connect(&format!("/ws?{query}")).await;
    let request: Value = serde_json::from_str(&ann.text().await).expect("JSON");
    let pairs = [["token", "12345"], ["user", "dunamis"], ["tag", "b"], ["tag", "a c"], ["flag", ""], ["x", "café"]];
    assert_eq!(request["query"], json!(pairs));
    assert_eq!(request["query_string"], query);
}

#[tokio::test]
async fn a10_headers_cookies_and_subprotocols_reach_the_guest_and_stay_readable() {
    let server = serving("mirror");
    let request = server.request("/ws").header("X-Two", "1").header("x-two", "2").header("Cookie", "a=1; b=2");
    let mut ann = request.subprotocols("chat, b").connect().await;
    let at_connect: Value = serde_json::from_str(&ann.text().await).expect("JSON");
    let headers = at_connect["headers"].as_array().expect("a list");
    let two: Vec<_> = headers.iter().filter(|header| header[0] == "x-two").map(|header| &header[1]).collect();
    assert_eq!(two, ["1", "2"]);
    assert_eq!(at_connect["cookies"], json!([["a", "1"], ["b", "2"]]));
    assert_eq!(at_connect["subprotocols"], json!(["chat", "b"]));
    assert_eq!(at_connect["host"], server.address().to_string());
    ann.send("and now?").await;
    let at_message: Value = serde_json::from_str(&ann.text().await).expect("JSON");
    assert_eq!(at_message, at_connect);
}

/// What the guest is told of this path.
async fn routed(server: &TestServer, path: &str) -> Value {
    let told = server.connect(path).await.text().await;
    serde_json::from_str(&told).expect("JSON")
}

#[tokio::test]
async fn a11_path_parameters_are_decoded() {
    let server = start(
        r#"
        [plugins.mirror]
        path = "mirror.wasm"

        [[route]]
        path = "/ws/{room_id}"
        handler = "mirror"

        [[route]]
        path = "/files/{user:slug}/{rest:path}"
        handler = "mirror"
        name = "files"
        "#,
    );
    assert_eq!(routed(&server, "/ws/42").await["params"], json!([["room_id", "42"]]));
    for written in ["/ws/caf%C3%A9", "/ws/caf%c3%a9", "/w%73/caf%C3%A9"] {
        let request = routed(&server, written).await;
        assert_eq!(request["params"], json!([["room_id", "café"]]));
        assert_eq!(request["path"], "/ws/caf%C3%A9", "one path has one form");
    }
    assert_eq!(routed(&server, "/ws/a%2Fb").await["params"], json!([["room_id", "a/b"]]));
    let file = routed(&server, "/files/ann/a/b%20c").await;
    assert_eq!(file["params"], json!([["user", "ann"], ["rest", "a/b c"]]));
    assert_eq!(file["route"], "files");
}

#[tokio::test]
async fn a12_a_path_without_a_route_is_404() {
    let server = start(
        r#"
        [plugins.echo]
        path = "echo.wasm"

        [[route]]
        path = "/x/{id:int}"
        handler = "echo"

        [[router]]
        name = "chat"
        prefix = "/chat"

        [[router.route]]
        path = "/{room}"
        handler = "echo"
        "#,
    );
    for path in ["/x/abc", "/x/1.5", "/x/", "/x", "/", "/nowhere", "/chatroom/x", "/chat", "/chat/a/b", "/chat/"] {
        let refused = server.request(path).refused().await;
        assert_eq!((refused.status, refused.body.as_str()), (404, "not found\n"), "{path}");
    }
    for path in ["/x/7", "/x/-7", "/chat/room"] {
        server.connect(path).await;
    }
    assert_eq!(server.metrics().accepted.get(), 3);
}

#[tokio::test]
async fn a12_a_path_that_nobody_may_ask_for_is_400() {
    let server = serving("echo");
    for path in ["/%ff", "/a/../ws", "/a/%2e%2e/ws", "/ws%00", "/ws%0d%0a"] {
        assert_eq!(server.request(path).refused().await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a18_a_websocket_path_takes_nothing_but_an_upgrade() {
    let server = serving("puppet");
    let upgrade = "this path is a WebSocket; send an upgrade request\n";
    for request in [
        "GET /ws HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ] {
        let response = server.http(request).await;
        assert_eq!((response.status, response.body.as_str()), (426, upgrade), "{request}");
        assert_eq!(response.header("upgrade"), Some("websocket"));
    }
    assert_eq!(server.metrics().accepted.get(), 0);
}

#[tokio::test]
async fn a18_each_mistake_in_the_handshake_has_its_answer() {
    let server = serving("puppet");
    let request = || server.request("/ws");
    for (wrong, status) in [
        (request().without("Sec-WebSocket-Version"), 426),
        (request().without("Sec-WebSocket-Version").header("Sec-WebSocket-Version", "8"), 426),
        (request().without("Sec-WebSocket-Key"), 400),
        (request().header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (request().without("Sec-WebSocket-Key").header("Sec-WebSocket-Key", "c2hvcnQ="), 400),
        (request().without("Host"), 400),
        (request().header("Host", "another"), 400),
        (request().header("Content-Length", "2").and_at_once(b"hi"), 400),
        (request().subprotocols("chat, not a token"), 400),
    ] {
        let shown = format!("{wrong:?}");
        let refused = wrong.refused().await;
        assert_eq!(refused.status, status, "{shown}");
        let versions: Vec<_> = refused.header_all("Sec-WebSocket-Version").collect();
        assert_eq!(versions, if status == 426 { vec!["13"] } else { vec![] });
        assert!(refused.body.lines().count() <= 1 && !refused.body.contains("::"), "{refused:?}");
    }
    let guests = server.log().records().iter().filter(|record| record.is_of_guest()).count();
    assert_eq!(guests, 0, "no guest was asked");
}

#[tokio::test]
async fn a18_what_is_no_http_or_too_large_is_refused() {
    let server = serving("puppet");
    assert_eq!(server.http("\x16\x03\x01 this is TLS\r\n\r\n").await.status, 400);
    let large = format!("GET /ws HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(server.http(&large).await.status, 431);
    let many = format!("GET /ws HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(101));
    assert_eq!(server.http(&many).await.status, 431);
    server.until("bad heads are counted", |server| server.metrics().bad_heads.get() == 3).await;
}

#[tokio::test]
async fn u8_a_foreign_origin_is_refused_before_any_guest_runs() {
    let server = start(
        r#"
        origins = ["https://app.example"]

        [plugins.puppet]
        path = "puppet.wasm"

        [plugins.gate]
        path = "link.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        middleware = ["gate"]

        [[route]]
        path = "/own"
        handler = "puppet"
        origins = []

        [[route]]
        path = "/any"
        handler = "puppet"
        origins = ["*"]
        "#,
    );
    for (path, origin) in [
        ("/ws", "https://evil.example"),
        ("/ws", "https://app.example.evil.example"),
        ("/ws", "http://app.example"),
        ("/ws", "null"),
        ("/own", "https://app.example"),
    ] {
        let refused = server.request(path).origin(origin).refused().await;
        assert_eq!((refused.status, refused.body.as_str()), (403, "this Origin is not allowed\n"), "{origin}");
    }
    assert_eq!(server.metrics().refused_origin.get(), 5);
    let guests = server.log().records().iter().filter(|record| record.is_of_guest()).count();
    assert_eq!(guests, 0, "no guest was asked");

    let own = format!("http://{}", server.address());
    for (path, origin) in
        [("/ws", "https://app.example"), ("/ws", &own), ("/own", &own), ("/any", "https://evil.example")]
    {
        server.request(path).origin(origin).connect().await;
    }
}
