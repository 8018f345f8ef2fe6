//! Who pretends: pages of other sites, paths that are written as others, and words of clients that would become headers.
//!
//! A path has one form before anything looks at it; an Origin is compared as a whole; nothing of a client gets out of its line.

use switchboard_harness::{Response, TestServer};

use super::handshake::{status, with};
use super::{attacked, serving, serving_file};
use crate::neighbour::alone;

#[test]
fn pages_of_other_sites() {
    alone("attacks::disguise::pages_of_other_sites", async {
        let server = serving("");
        attacked(&server, async {
            let foreign = [
                "https://evil.example",
                "http://a.evil.example",
                "http://xa",
                "http://x.a",
                "http://a:81",
                "http://a/",
                "http://a@evil.example",
                "http://evil@a",
                "http://a http://evil.example",
                "ftp://a",
                "a",
                "null",
                "",
                "\u{e9}",
            ];
            for origin in foreign {
                assert_eq!(status(&server, &with(&format!("Origin: {origin}\r\n"))).await, 403, "{origin}");
            }
            assert_eq!(status(&server, &with("Origin: http://a\r\nOrigin: http://a\r\n")).await, 403, "two of them");
            // Its own words about the host count no more than the target's.
            let absolute = String::from_utf8(with("Origin: http://a\r\n")).expect("text").replace("/ws", "http://b/ws");
            assert_eq!(status(&server, absolute.as_bytes()).await, 403, "for another host");
            assert_eq!(server.metrics().refused_origin.get(), foreign.len() as u64 + 2);
            for origin in ["http://a", "https://A", "http://a:80"] {
                assert_eq!(server.http(with(&format!("Origin: {origin}\r\n"))).await.status, 101, "{origin}");
            }
        })
        .await;
    });
}

/// What the server answers to a request for this target.
async fn target(server: &TestServer, target: &[u8]) -> Response {
    let good = with("");
    let rest = good.strip_prefix(b"GET /ws").expect("it begins so");
    server.http([b"GET ", target, rest].concat()).await
}

#[test]
fn paths_in_disguise() {
    alone("attacks::disguise::paths_in_disguise", async {
        let (server, _folder) = serving_file("", 8);
        attacked(&server, async {
            for (path, expected) in [
                (&b"/ws"[..], 101),
                (b"/%77%73", 101),
                (b"http://a/ws", 101),
                (b"/ws?to=/../secret", 101),
                (b"/ws/a%2Fb", 404),
                (b"/ws/a%2fb", 404),
                (b"/ws/%252e%252e", 404),
                (b"/%2577s", 404),
                (b"/%2Fws", 404),
                (b"//ws", 404),
                (b"/ws/", 404),
                (b"/ws//", 404),
                (b"/ws/a/b", 404),
                (b"/x\\..\\ws", 404),
                (b"/WS", 404),
                (b"/ws;a=b", 404),
                (b"/ws/..", 400),
                (b"/ws/../ws", 400),
                (b"/./ws", 400),
                (b"/ws/%2e%2E", 400),
                (b"/ws/.%2e", 400),
                (b"/%2e/ws", 400),
                (b"/ws/%00", 400),
                (b"/ws/%0d%0aX-A:%201", 400),
                (b"/ws/%ff", 400),
                (b"/ws/%c0%ae", 400),
                (b"/ws/%", 400),
                (b"/ws/%2", 400),
                (b"/ws/%gg", 400),
                (b"/ws/\xe9", 400),
                (b"ws", 400),
                (b"ftp://a/ws", 400),
                (b"http://ann:secret@a/ws", 400),
            ] {
                let answer = target(&server, path).await;
                assert_eq!(answer.status, expected, "{}: {answer:?}", String::from_utf8_lossy(path));
            }
            for path in
                ["/../secret", "/..%2fsecret", "/..%5csecret", "/%2e%2e/secret", "/%2e%2e%2fsecret", "//../secret"]
            {
                let answer = server.http(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
                assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
            }
            let file = server.http("GET /%66ile.bin HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!((file.status, file.body.as_str()), (200, "xxxxxxxx"));
        })
        .await;
    });
}

#[test]
fn words_of_clients_that_would_become_headers() {
    alone("attacks::disguise::words_of_clients_that_would_become_headers", async {
        let server = serving("");
        attacked(&server, async {
            for offered in ["a\tb", "a b", "a,,b", "a;b", "\"a\"", "caf\u{e9}", ""] {
                let refused = server.request("/ws").subprotocols(offered).refused().await;
                assert_eq!(refused.status, 400, "{offered}");
            }
            // A guest that hands on what its client says.
            for query in [
                "header=X-A+1%0D%0AX-B:+2",
                "header=X-A+1%0AX-B:+2",
                "header=X-A:+1%0D%0AX-B+2",
                "header=X-A+%00",
                "header=Sec-WebSocket-Accept+mine",
                "header=Content-Length+5",
                "header=Transfer-Encoding+chunked",
                "subprotocol=b",
                "subprotocol=a%0D%0AX-B:+2",
            ] {
                let refused = server.request(&format!("/ws?{query}")).subprotocols("a").refused().await;
                assert_eq!((refused.status, refused.body.as_str()), (500, "internal error\n"), "{query}");
                assert_eq!(refused.header("x-b"), None, "{query}");
            }
            let good = server.request("/ws?header=X-A+1&subprotocol=a").subprotocols("a, b").connect().await;
            let said = ["x-a", "sec-websocket-protocol"].map(|name| good.response().header(name));
            assert_eq!(said, [Some("1"), Some("a")]);
        })
        .await;
    });
}
