//! Limits of outgoing HTTP, each from both sides: time, sizes, and how many at once.
//!
//! Whom a plugin may ask at all is in `http`. The server's time stands still until a test moves it.

use std::time::Duration;

use switchboard_harness::Clock;

use crate::elsewhere::Elsewhere;
use crate::fixtures::setup;
use crate::http::{config, nothing_left, standing};

#[tokio::test]
async fn an_answer_that_does_not_come_ends_the_request_and_not_the_event() {
    for (message, expected) in [("ask /never", "HttpResponseTimeout"), ("read /half", "HTTP response timeout")] {
        let elsewhere = Elsewhere::start().await;
        let server = standing(&config(&[&elsewhere.entry()], "http-ms = 2000")).start();
        let mut ann = server.connect("/ws").await;
        ann.send(&message.replace('/', &elsewhere.url("/"))).await;
        match message {
            "read /half" => drop(server.logged(|record| record.message == "the head is there").await),
            _ => server.until("she asks", |_| elsewhere.asked().len() == 1).await,
        }
        server.advance(Duration::from_millis(1999));
        assert_eq!((server.metrics().http_late.get(), server.metrics().http_open.get()), (0, 1));
        server.advance(Duration::from_millis(1));
        ann.expect_text(expected).await;
        assert_eq!((server.metrics().http_late.get(), server.metrics().faults.get()), (1, 0));
        nothing_left(&server, &elsewhere).await;
    }
}

#[tokio::test]
async fn a_guest_may_wait_for_less_time_and_not_for_more() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "http-ms = 2000")).start();
    let mut ann = server.connect("/ws").await;
    for (count, ms, passes) in [(1, 500, 500), (2, 60_000, 2000)] {
        ann.send(&format!("within {ms} {}", elsewhere.url("/never"))).await;
        server.until("she asks", |_| elsewhere.asked().len() == count).await;
        server.advance(Duration::from_millis(passes - 1));
        assert_eq!(server.metrics().http_open.get(), 1);
        server.advance(Duration::from_millis(1));
        let told = ann.text().await;
        assert!(told.contains("Timeout"), "{told}");
        nothing_left(&server, &elsewhere).await;
    }
}

#[tokio::test]
async fn the_event_ends_before_a_request_that_may_take_longer() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "http-ms = 60000\nevent-wall-ms = 1000")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask {}", elsewhere.url("/never"))).await;
    server.until("she asks", |_| elsewhere.asked().len() == 1).await;
    server.advance(Duration::from_secs(1));
    ann.expect_close(1011, "internal error").await;
    assert_eq!(server.metrics().faults_deadline.get(), 1);
    nothing_left(&server, &elsewhere).await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask {}", elsewhere.url("/never"))).await;
    server.until("she asks", |_| elsewhere.asked().len() == 1).await;
    ann.reset();
    server.advance(Duration::from_secs(5));
    nothing_left(&server, &elsewhere).await;
    server.until("she is gone", |server| server.metrics().connections.get() == 0).await;
}

#[tokio::test]
async fn an_answer_may_have_so_many_bytes_and_no_more() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "http-response-bytes = 1000")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask {}", elsewhere.url("/bytes/1000"))).await;
    ann.expect_text(&format!("200 {}", "x".repeat(1000))).await;
    assert_eq!(server.metrics().http_over_limit.get(), 0);
    for (count, path) in [(1, "/bytes/1001"), (2, "/endless")] {
        ann.send(&format!("ask {}", elsewhere.url(path))).await;
        let told = ann.text().await;
        assert!(told.starts_with("HttpResponseBodySize") || told.contains("body size exceeds limit"), "{told}");
        assert_eq!(server.metrics().http_over_limit.get(), count);
    }
    nothing_left(&server, &elsewhere).await;
}

#[tokio::test]
async fn the_head_of_an_answer_has_a_bound() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask {}", elsewhere.url("/head/16000"))).await;
    ann.expect_text("200 long").await;
    ann.send(&format!("ask {}", elsewhere.url("/head/40000"))).await;
    let told = ann.text().await;
    assert!(told.starts_with("HttpResponseHeaderSectionSize"), "{told}");
    assert_eq!(server.metrics().http_over_limit.get(), 1);
    nothing_left(&server, &elsewhere).await;
}

#[tokio::test]
async fn a_request_may_have_so_many_bytes_and_no_more() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "http-request-bytes = 8192")).start();
    let (mut ann, url) = (server.connect("/ws").await, elsewhere.url("/length"));
    ann.send(&format!("post {url} 8192\npour 2 {url}")).await;
    ann.expect_text("200 8192").await;
    ann.expect_text("2 written, 200 in time").await;
    assert_eq!(server.metrics().http_over_limit.get(), 0);
    ann.send(&format!("post {url} 8193")).await;
    ann.expect_text("HttpRequestBodySize(Some(8193))").await;
    assert_eq!((server.metrics().http_over_limit.get(), elsewhere.asked().len()), (1, 2), "it does not leave");
    ann.send(&format!("pour 100 {url}")).await;
    let told = ann.text().await;
    assert!(told.ends_with("HttpRequestBodySize(Some(8192))"), "{told}");
    assert_eq!(server.metrics().http_over_limit.get(), 2);
    nothing_left(&server, &elsewhere).await;
}

#[tokio::test]
async fn a_tenant_has_so_many_requests_on_their_way_and_others_have_theirs() {
    let elsewhere = Elsewhere::start().await;
    let tenant = format!(
        "[tenant]\nlimits = {{ http-requests = 1 }}\n[plugins.asker]\npath = '../asker.wasm'\nhttp = ['{}']\n
        [[route]]\npath = '/ws'\nhandler = 'asker'",
        elsewhere.entry()
    );
    let server = setup("").tenant("acme", &tenant).tenant("umbrella", &tenant).clock(Clock::manual()).start();
    let (mut ann, mut bob) = (server.connect("/acme/ws").await, server.connect("/acme/ws").await);
    let mut cy = server.connect("/umbrella/ws").await;
    ann.send(&format!("ask {}", elsewhere.url("/held"))).await;
    server.until("she asks", |_| elsewhere.asked().len() == 1).await;
    bob.send(&format!("ask {}", elsewhere.url("/hello"))).await;
    bob.expect_text("ConnectionLimitReached").await;
    assert_eq!(server.metrics().http_over_limit.get(), 1);
    cy.send(&format!("ask {}", elsewhere.url("/hello"))).await;
    cy.expect_text("200 hello").await;
    elsewhere.let_go();
    ann.expect_text("200 held").await;
    nothing_left(&server, &elsewhere).await;
    bob.send(&format!("ask {}", elsewhere.url("/hello"))).await;
    bob.expect_text("200 hello").await;
}
