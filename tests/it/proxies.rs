//! Behind proxies: whose address guests are told, and who is believed.
//!
//! The client connects from 127.0.0.1, which is a trusted proxy or is not; the mirror tells the request that it got.

use serde_json::Value;
use switchboard_harness::{Request, TestServer, masked, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixtures::start;

const TRUSTED: &str = "trusted-proxies = ['127.0.0.0/8', '10.0.0.0/8']";
const UNTRUSTED: &str = "trusted-proxies = ['10.0.0.0/8', '::1']";

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\x1f\x90\0\x50";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A mirror with these keys of `[server]`.
fn mirror(keys: &str) -> TestServer {
    start(&format!(
        r#"
        [server]
        {keys}

        [plugins.mirror]
        path = "mirror.wasm"

        [[route]]
        path = "/ws"
        handler = "mirror"
        "#
    ))
}

/// The same, where trusted proxies have to speak the PROXY protocol.
fn speaking(keys: &str) -> TestServer {
    mirror(&format!("{keys}\nproxy-protocol = true"))
}

/// What the guest was told of a request.
async fn told(request: Request) -> Value {
    serde_json::from_str(&request.connect().await.text().await).expect("JSON")
}

async fn peer(request: Request) -> String {
    told(request).await["peer"].as_str().expect("a text").to_owned()
}

/// Whether it is the address of the socket itself, whose port only the system knows.
fn is_socket(peer: &str) -> bool {
    peer.strip_prefix("127.0.0.1:").is_some_and(|port| port != "0")
}

/// The server must end the connection without a word of HTTP.
async fn expect_end(mut stream: TcpStream) {
    let mut answer = Vec::new();
    // What the server did not read makes it a reset.
    let _ = within("the end", stream.read_to_end(&mut answer)).await;
    assert_eq!(String::from_utf8_lossy(&answer), "");
}

fn refused(server: &TestServer) -> u64 {
    server.metrics().bad_proxy_headers.get()
}

#[tokio::test]
async fn a_trusted_proxy_reports_its_client_in_x_forwarded_for() {
    let server = mirror(TRUSTED);
    for (lines, expected) in [
        (&["192.0.2.1"][..], "192.0.2.1:0"),
        (&["203.0.113.7, 192.0.2.1:99, 10.0.0.2"], "192.0.2.1:99"),
        (&["203.0.113.7", "[2001:db8::1]:99", "10.0.0.2, 127.0.0.9"], "[2001:db8::1]:99"),
    ] {
        let request = lines.iter().fold(server.request("/ws"), |request, line| request.header("X-Forwarded-For", line));
        assert_eq!(peer(request).await, expected, "{lines:?}");
    }
    assert!(is_socket(&peer(server.request("/ws")).await), "a proxy that reports nobody speaks for itself");
    assert!(is_socket(&peer(server.request("/ws").header("X-Forwarded-For", "192.0.2.1, unknown")).await));
    assert!(
        is_socket(&peer(server.request("/ws").header("Forwarded", "for=192.0.2.1")).await),
        "not the one that is read"
    );
}

#[tokio::test]
async fn a_trusted_proxy_reports_its_client_in_forwarded() {
    let server = mirror(&format!("{TRUSTED}\nforwarded = 'forwarded'"));
    let line = "for=203.0.113.7, For=\"[2001:db8::1]:99\";proto=https;by=_x, for=10.0.0.2";
    assert_eq!(peer(server.request("/ws").header("Forwarded", line)).await, "[2001:db8::1]:99");
    let two = server.request("/ws").header("Forwarded", "for=192.0.2.1;by=\"").header("Forwarded", "for=192.0.2.2");
    assert_eq!(peer(two).await, "192.0.2.2:0");
    for line in ["for=192.0.2.1, for=_hidden", "for=unknown", "for=192.0.2.1;a=\", for=192.0.2.2", "nonsense"] {
        assert!(is_socket(&peer(server.request("/ws").header("Forwarded", line)).await), "{line}");
    }
    assert!(is_socket(&peer(server.request("/ws").header("X-Forwarded-For", "192.0.2.1")).await));
}

#[tokio::test]
async fn headers_that_are_not_asked_for_change_nothing() {
    let server = mirror(&format!("{TRUSTED}\nforwarded = 'none'"));
    let request = server.request("/ws").header("X-Forwarded-For", "192.0.2.1").header("Forwarded", "for=192.0.2.1");
    assert!(is_socket(&peer(request).await));
}

#[tokio::test]
async fn headers_of_an_untrusted_address_change_nothing_and_stay_readable() {
    for keys in [
        "",
        UNTRUSTED,
        &format!("{UNTRUSTED}\nforwarded = 'forwarded'"),
        &format!("{UNTRUSTED}\nproxy-protocol = true"),
    ] {
        let server = mirror(keys);
        let request = server.request("/ws").header("X-Forwarded-For", "192.0.2.1").header("Forwarded", "for=192.0.2.1");
        let told = told(request).await;
        assert!(is_socket(told["peer"].as_str().expect("a text")), "{keys}");
        let headers = told["headers"].as_array().expect("a list");
        assert!(headers.iter().any(|header| header[0] == "x-forwarded-for" && header[1] == "192.0.2.1"));
        assert!(headers.iter().any(|header| header[0] == "forwarded"));
    }
}

#[tokio::test]
async fn a_trusted_proxy_speaks_the_proxy_protocol_and_nothing_behind_its_header_is_lost() {
    let server = speaking(TRUSTED);
    for header in [V1, V2] {
        // The request and a message come in the same piece as the header.
        let request = server.request("/ws").preceded_by(header).and_at_once(&masked(0x81, b"early"));
        let mut ann = request.connect().await;
        let (at_connect, at_message) = (ann.text().await, ann.text().await);
        let told: Value = serde_json::from_str(&at_connect).expect("JSON");
        assert_eq!((told["peer"].as_str(), at_message == at_connect), (Some("192.0.2.1:8080"), true));
    }
    assert_eq!(refused(&server), 0);
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    let server = speaking(TRUSTED);
    for header in [V1, V2] {
        let mut stream = server.tcp().await;
        stream.set_nodelay(true).expect("a socket can be told so");
        let request = [header, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        for byte in request {
            stream.write_all(&[byte]).await.expect("it is open");
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer)).await.expect("it is open");
        assert_eq!(&answer, b"HTTP/1.1 404");
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_keeps_its_address() {
    let server = speaking(TRUSTED);
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        assert!(is_socket(&peer(server.request("/ws").preceded_by(header)).await));
        // And its word counts, as it is trusted.
        let request = server.request("/ws").preceded_by(header).header("X-Forwarded-For", "192.0.2.7");
        assert_eq!(peer(request).await, "192.0.2.7:0");
    }
}

#[tokio::test]
async fn a_client_behind_the_proxy_protocol_is_not_believed_itself() {
    let server = speaking(TRUSTED);
    let request = || server.request("/ws").header("X-Forwarded-For", "203.0.113.7");
    for header in [V1, V2] {
        assert_eq!(peer(request().preceded_by(header)).await, "192.0.2.1:8080");
    }
    let by_a_proxy = b"PROXY TCP4 10.9.9.9 10.0.0.1 8080 80\r\n";
    assert_eq!(peer(request().preceded_by(by_a_proxy)).await, "203.0.113.7:0");
}

#[tokio::test]
async fn a_trusted_proxy_without_a_good_header_is_closed_and_that_is_said_once() {
    let server = speaking(TRUSTED);
    let bad: [&[u8]; 5] = [
        b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 elsewhere 1 1\r\nGET /ws HTTP/1.1\r\nHost: a\r\n\r\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\x1f\x90\0\x50",
        &[0; 1000],
    ];
    for bytes in bad {
        let mut stream = server.tcp().await;
        stream.write_all(bytes).await.expect("it is open");
        expect_end(stream).await;
    }
    assert_eq!(refused(&server), 5);
    let warned = server.log().records().into_iter().filter(|record| record.level.as_str() == "WARN");
    let warned: Vec<_> = warned.map(|record| record.message).collect();
    assert!(warned.len() == 1 && warned[0].contains("PROXY protocol was expected"), "{warned:?}");
    assert_eq!(server.metrics().refused.get(), 0, "it never became a request");
}

#[tokio::test]
async fn a_header_from_an_untrusted_address_is_refused() {
    let server = speaking(UNTRUSTED);
    for header in [V1, V2, LOCAL, b"PROXY UNKNOWN\r\n"] {
        let mut stream = server.tcp().await;
        let request = [header, b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        stream.write_all(&request).await.expect("it is open");
        expect_end(stream).await;
    }
    assert_eq!(refused(&server), 4);
    let said = server.logged(|record| record.message.contains("not among `trusted-proxies`")).await;
    assert!(said.field("peer").starts_with("127.0.0.1:"), "{said}");
    assert!(is_socket(&peer(server.request("/ws")).await), "without one it is served");
}

#[tokio::test]
async fn a_header_that_nobody_reads_is_a_malformed_request() {
    for keys in ["", TRUSTED] {
        let server = mirror(keys);
        let response = server.http(&format!("{}GET /ws HTTP/1.1\r\n\r\n", String::from_utf8_lossy(V1))).await;
        assert_eq!(response.status, 400);
        server.until("it is counted", |server| server.metrics().bad_heads.get() == 1).await;
        assert_eq!(refused(&server), 0);
    }
}

#[tokio::test]
async fn half_a_header_and_then_silence_is_cut_off() {
    let limits = "proxy-protocol = true\n[server.limits]\nhead-ms = 100";
    let server = mirror(&format!("{TRUSTED}\n{limits}"));
    for half in [&V1[..1], &V1[..30], &V2[..14], &V2[..20]] {
        let mut stream = server.tcp().await;
        stream.write_all(half).await.expect("it is open");
        expect_end(stream).await;
    }
    assert_eq!(refused(&server), 4);
    // A header and then silence is a request that is late.
    let mut stream = server.tcp().await;
    stream.write_all(V1).await.expect("it is open");
    server.until("it is cut off", |server| server.metrics().bad_heads.get() == 1).await;
    drop(stream);

    let server = mirror(&format!("{UNTRUSTED}\n{limits}"));
    expect_end(server.tcp().await).await;
    assert_eq!((server.metrics().bad_heads.get(), refused(&server)), (1, 0), "it owes no header");
}

#[tokio::test]
async fn a_check_that_connects_and_goes_is_no_bad_header() {
    let server = speaking(TRUSTED);
    for _ in 0..3 {
        let mut stream = server.tcp().await;
        stream.shutdown().await.expect("it is open");
        expect_end(stream).await;
    }
    assert_eq!(refused(&server), 0);
}

#[tokio::test]
async fn a_server_stops_at_once_while_a_header_is_waited_for() {
    let limits = "[server.limits]\nhead-ms = 600000\ndrain-ms = 600000";
    for keys in [TRUSTED, UNTRUSTED] {
        let mut server = mirror(&format!("{keys}\nproxy-protocol = true\n{limits}"));
        let mut silent = server.tcp().await;
        if keys == TRUSTED {
            silent.write_all(&V1[..20]).await.expect("it is open");
        }
        server.stop().await;
        expect_end(silent).await;
    }
}
