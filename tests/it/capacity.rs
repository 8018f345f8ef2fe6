//! Routes with room for so many connections: scenario U7.
//!
//! A slot that is lost shows as a route that stays full, one that comes back too early as a guest too many: the puppet
//! logs when it is connected and when that is over, in the order of its server.

use std::sync::atomic::{AtomicUsize, Ordering};

use switchboard_harness::{Client, Response, TestServer, masked, unmasked, within};
use tokio::io::AsyncWriteExt;

use crate::fixtures::start;

/// A puppet with these keys of its route on `/ws`, behind a gate that knows the token `abc`, and one without any on `/free`.
fn limited(keys: &str) -> TestServer {
    start(&format!(
        r#"
        [server.limits]
        event-cpu-ms = 10000000

        [plugins.auth]
        path = "auth_token.wasm"
        config = {{ tokens = "abc=ann" }}

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        middleware = ["auth"]
        {keys}

        [[route]]
        path = "/free"
        handler = "puppet"
        "#
    ))
}

const TARGET: &str = "/ws?token=abc";

/// The next connection that the route has room for: it is freed shortly after its last client saw the end.
async fn admitted(server: &TestServer) -> Client {
    admitted_to(server, TARGET).await
}

/// The same, of another target.
pub async fn admitted_to(server: &TestServer, target: &str) -> Client {
    within("a free slot", async {
        loop {
            if let Ok(client) = server.request(target).open().await {
                return client;
            }
        }
    })
    .await
}

async fn refused(server: &TestServer) -> Response {
    server.request(TARGET).refused().await
}

/// How many connections the handler has heard of, now and at most at once.
fn heard(server: &TestServer) -> (usize, usize) {
    let (mut now, mut most) = (0, 0);
    for record in server.log().records().iter().filter(|record| record.field("plugin") == "puppet") {
        match record.message.split(' ').next() {
            Some("connect") => now += 1,
            Some("disconnect") => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    (now, most)
}

#[tokio::test]
async fn u7_the_third_connection_is_opened_and_closed_with_1008() {
    let server = limited("max-connections = 2\nwhen-full = '1008 Server at capacity'");
    let mut ann = server.connect(TARGET).await;
    let _bob = server.connect(TARGET).await;
    server.connect(TARGET).await.expect_close(1008, "Server at capacity").await;
    assert_eq!((server.metrics().refused_capacity.get(), server.metrics().refused.get()), (1, 1));
    assert_eq!(server.metrics().accepted.get(), 2);
    assert_eq!(heard(&server), (2, 2), "no guest heard of the third");
    ann.send("send hello").await;
    ann.expect_text("hello").await;
    let _of_another_route = server.connect("/free").await;
}

#[tokio::test]
async fn u7_without_a_word_for_it_a_full_route_answers_503() {
    let server = limited("max-connections = 1");
    let _ann = server.connect(TARGET).await;
    let response = refused(&server).await;
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after"), Some("5"));
    assert_eq!((server.metrics().refused_capacity.get(), server.metrics().refused.get()), (1, 1));
}

#[tokio::test]
async fn u7_a_full_route_answers_the_status_that_it_is_told_to() {
    for (status, later) in [(429, Some("5")), (404, None)] {
        let server = limited(&format!("max-connections = 1\nwhen-full = {status}"));
        let _ann = server.connect(TARGET).await;
        let response = refused(&server).await;
        assert_eq!((response.status, response.header("retry-after")), (status, later));
    }
}

#[tokio::test]
async fn u7_what_the_host_refuses_takes_no_slot() {
    let server = limited("max-connections = 1");
    for _ in 0..3 {
        assert_eq!(server.request(TARGET).origin("https://evil.example").refused().await.status, 403);
        assert_eq!(server.request(TARGET).without("Sec-WebSocket-Key").refused().await.status, 400);
        assert_eq!(server.request(TARGET).without("Upgrade").refused().await.status, 426);
    }
    let _ann = server.connect(TARGET).await;
    // These checks come first, also while the route is full.
    assert_eq!(server.request(TARGET).origin("https://evil.example").refused().await.status, 403);
    assert_eq!(server.metrics().refused_capacity.get(), 0);
}

#[tokio::test]
async fn u7_who_is_refused_by_a_guest_gives_the_slot_back_with_the_answer() {
    let server = limited("max-connections = 1");
    for _ in 0..3 {
        server.connect("/ws?token=wrong").await.expect_close(1008, "Unauthorized").await;
        server.connect(&format!("{TARGET}&close=4000+no")).await.expect_close(4000, "no").await;
        assert_eq!(server.request(&format!("{TARGET}&respond=418")).refused().await.status, 418);
        assert_eq!(server.request(&format!("{TARGET}&do=trap+now")).refused().await.status, 500);
    }
    let _ann = server.connect(TARGET).await;
    assert_eq!(refused(&server).await.status, 503);
    assert_eq!(server.metrics().refused_capacity.get(), 1);
}

#[tokio::test]
async fn u7_after_each_way_of_leaving_the_next_is_admitted() {
    const WAYS: usize = 8;
    let server = limited("max-connections = 1");
    for way in 0..WAYS {
        let mut ann = admitted(&server).await;
        assert_eq!(refused(&server).await.status, 503, "way {way}");
        match way {
            0 => ann.close(1000, "done").await,
            1 => ann.reset(),
            2 => drop(ann),
            3 => ann.send("trap now").await,
            4 => ann.send("close 4000 out").await,
            5 => ann.raw(&unmasked(0x81, b"hi")).await,
            6 => ann.raw(&masked(0x81, b"half a message")[..9]).await,
            _ => ann.send("grow 100000000").await,
        }
    }
    let _last = admitted(&server).await;
    assert_eq!(refused(&server).await.status, 503, "exactly one came back each time");
    assert_eq!(heard(&server), (1, 1));
}

#[tokio::test]
async fn u7_a_guest_that_traps_at_the_end_gives_the_slot_back() {
    let server = limited("max-connections = 1");
    drop(server.connect(&format!("{TARGET}&bye=trap+now")).await);
    let _next = admitted(&server).await;
    assert_eq!(refused(&server).await.status, 503);
}

#[tokio::test]
async fn u7_a_client_that_is_gone_within_the_handshake_keeps_its_slot_until_the_guests_have_heard() {
    let server = limited("max-connections = 1");
    let mut gone = server.tcp().await;
    let head = format!(
        "GET {TARGET}&do=await+go HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    gone.write_all(head.as_bytes()).await.expect("it is open");
    server.logged(|record| record.message == "connect").await;
    drop(gone);
    assert_eq!(refused(&server).await.status, 503, "its handler still runs");
    let mut ann = server.connect("/free").await;
    ann.send("join go").await;
    let _next = admitted(&server).await;
    server.logged(|record| record.message.starts_with("disconnect 1006")).await;
    assert_eq!(refused(&server).await.status, 503);
}

#[tokio::test]
async fn u7_a_client_that_does_not_see_its_refusal_through_takes_nothing() {
    let server = limited("max-connections = 1\nwhen-full = '1008 Server at capacity'");
    let ann = server.connect(TARGET).await;
    for _ in 0..3 {
        server.connect(TARGET).await.reset();
    }
    drop(ann);
    server.until("the route is free", |server| server.metrics().connections.get() == 0).await;
    let mut next = admitted(&server).await;
    // One that came too early was opened as well, and hears of its end instead of an answer.
    loop {
        next.send("send in").await;
        match next.receive().await {
            switchboard_harness::Received::Text(text) => break assert_eq!(text, "in"),
            _ => next = admitted(&server).await,
        }
    }
    server.connect(TARGET).await.expect_close(1008, "Server at capacity").await;
}

/// Comes and goes until so many were let in, each time in another way.
async fn come_and_go(server: &TestServer, admissions: &AtomicUsize, wanted: usize) {
    while admissions.load(Ordering::SeqCst) < wanted {
        let Ok(mut client) = server.request(TARGET).open().await else { continue };
        match admissions.fetch_add(1, Ordering::SeqCst) % 4 {
            0 => client.close(1000, "").await,
            1 => client.reset(),
            2 => client.send("trap now").await,
            _ => drop(client),
        }
    }
}

#[tokio::test]
async fn u7_never_three_at_once_however_many_race() {
    const CLIENTS: usize = 24;
    const ADMISSIONS: usize = 300;
    let server = limited("max-connections = 2");
    let admissions = AtomicUsize::new(0);
    let racing = (0..CLIENTS).map(|_| come_and_go(&server, &admissions, ADMISSIONS));
    within("all admissions", futures_util::future::join_all(racing)).await;
    let _two = [admitted(&server).await, admitted(&server).await];
    assert_eq!(refused(&server).await.status, 503, "exactly two fit");
    assert_eq!(heard(&server), (2, 2));
    let metrics = server.metrics();
    assert!(metrics.refused_capacity.get() > 0, "nobody raced");
    assert_eq!(metrics.accepted.get(), heard_connects(&server));
}

fn heard_connects(server: &TestServer) -> u64 {
    let records = server.log().records();
    let connects = records.iter().filter(|r| r.field("plugin") == "puppet" && r.message == "connect");
    connects.count() as u64
}
