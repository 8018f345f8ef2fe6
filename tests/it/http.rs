//! Outgoing HTTP: whom a plugin may ask, and what becomes of an event that asks.
//!
//! The asker asks what its client says, another host of the test (`elsewhere`) answers, and the address of that is a loopback
//! address, which no plugin may ask that does not list it. Time, sizes and numbers are in `http_limits`.

use switchboard_harness::{Clock, Reuse, Setup, TestServer};

use crate::elsewhere::Elsewhere;
use crate::fixtures::setup;

/// The asker with these hosts, and these keys of the server's limits.
pub fn config(http: &[&str], limits: &str) -> String {
    let http = if http.is_empty() { String::new() } else { format!("http = {http:?}") };
    format!(
        r#"
        [server]
        workers = 1

        [server.limits]
        {limits}

        [plugins.asker]
        path = "asker.wasm"
        {http}

        [[route]]
        path = "/ws"
        handler = "asker"
        "#
    )
}

/// A server whose instances take events of all connections, and whose time stands still.
pub fn standing(toml: &str) -> Setup {
    setup(toml).reuse(Reuse::Always).clock(Clock::manual())
}

/// Waits until nothing is on its way, on neither side.
pub async fn nothing_left(server: &TestServer, elsewhere: &Elsewhere) {
    server.until("no request is on its way", |server| server.metrics().http_open.get() == 0).await;
    server.until("no connection is open", |_| elsewhere.open() == 0).await;
}

#[tokio::test]
async fn a_listed_host_is_asked_and_answers() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask {}\npost {} 5000", elsewhere.url("/hello"), elsewhere.url("/length"))).await;
    ann.expect_text("200 hello").await;
    ann.expect_text("200 5000").await;
    let host = format!("host: {}", elsewhere.entry());
    assert_eq!(elsewhere.asked(), [format!("GET /hello HTTP/1.1 {host}"), format!("POST /length HTTP/1.1 {host}")]);
    nothing_left(&server, &elsewhere).await;
    assert_eq!((server.metrics().http_requests.get(), server.metrics().denied.get()), (2, 0));
}

#[tokio::test]
async fn a_plugin_without_a_list_asks_nobody() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[], "")).start();
    server.logged(|record| record.field("denied") == "http").await;
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask {}\nsend and on", elsewhere.url("/hello"))).await;
    ann.expect_text("HttpRequestDenied").await;
    ann.expect_text("and on").await;
    assert_eq!((server.metrics().denied.get(), server.metrics().http_requests.get()), (1, 0));
    assert_eq!(elsewhere.asked(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_listed_is_denied_and_counted() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&["127.0.0.1:1", "127.0.0.2", "api.example.com"], "")).start();
    assert!(!server.log().records().iter().any(|record| record.field("denied") == "http"));
    let mut ann = server.connect("/ws").await;
    let port = elsewhere.port();
    for (count, url) in (1..).zip([
        elsewhere.url("/hello"),
        format!("http://127.0.0.2:{port}/hello"),
        format!("http://localhost:{port}/hello"),
        format!("http://[::ffff:127.0.0.1]:{port}/hello"),
        format!("http://2130706433:{port}/hello"),
        format!("http://127.1:{port}/hello"),
        format!("http://api.example.com.localhost:{port}/hello"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
    ]) {
        ann.send(&format!("ask {url}")).await;
        ann.expect_text("HttpRequestDenied").await;
        assert_eq!(server.metrics().denied.get(), count, "{url}");
    }
    ann.send(&format!("ask http://api.example.com@127.0.0.1:{port}/hello")).await;
    ann.expect_text("HttpRequestUriInvalid").await;
    assert_eq!(elsewhere.asked(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_turns_out_to_be_a_loopback_address_is_refused_unless_that_is_listed_too() {
    let elsewhere = Elsewhere::start().await;
    let name = format!("localhost:{}", elsewhere.port());
    let server = standing(&config(&[&name], "")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask http://{name}/hello")).await;
    ann.expect_text("DestinationIpProhibited").await;
    assert_eq!(server.metrics().denied.get(), 1);
    assert_eq!(elsewhere.asked(), [""; 0]);

    server.reconfigure(&config(&[&name, &elsewhere.entry()], "")).await.expect("it is right");
    ann.send(&format!("ask http://{name}/hello")).await;
    ann.expect_text("200 hello").await;
    assert_eq!(elsewhere.asked(), [format!("GET /hello HTTP/1.1 host: {name}")]);
    nothing_left(&server, &elsewhere).await;
}

#[tokio::test]
async fn another_list_applies_to_connections_that_are_open() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let mut ann = server.connect("/ws").await;
    for (http, expected) in [(None, "200 hello"), (Some(vec![]), "HttpRequestDenied")] {
        if let Some(http) = http {
            server.reconfigure(&config(&http, "")).await.expect("it is right");
        }
        ann.send(&format!("ask {}", elsewhere.url("/hello"))).await;
        ann.expect_text(expected).await;
    }
}

#[tokio::test]
async fn what_one_tenant_may_ask_no_other_may() {
    let elsewhere = Elsewhere::start().await;
    let tenant = |http: &str| {
        format!("[plugins]\nasker = {{ path = '../asker.wasm'{http} }}\n[[route]]\npath = '/ws'\nhandler = 'asker'")
    };
    let listed = format!(", http = ['{}']", elsewhere.entry());
    let server = setup("").tenant("acme", &tenant(&listed)).tenant("umbrella", &tenant("")).start();
    for (path, expected) in [("/acme/ws", "200 hello"), ("/umbrella/ws", "HttpRequestDenied")] {
        let mut client = server.connect(path).await;
        client.send(&format!("ask {}", elsewhere.url("/hello"))).await;
        client.expect_text(expected).await;
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask {}", elsewhere.url("/moved"))).await;
    ann.expect_text("302 ").await;
    assert_eq!(elsewhere.asked().len(), 1);
}

#[tokio::test]
async fn a_host_that_is_not_there_or_does_not_speak_tls_is_told_apart() {
    let elsewhere = Elsewhere::start().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let nobody = free.local_addr().expect("it has an address").to_string();
    drop(free);
    let listed = [&*elsewhere.entry(), &nobody, "nobody.invalid:80"];
    let server = standing(&config(&listed, "")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("ask http://{nobody}/")).await;
    ann.expect_text("ConnectionRefused").await;
    ann.send(&format!("ask https://{}/hello", elsewhere.entry())).await;
    assert_ne!(ann.text().await, "200 hello");
    ann.send("ask http://nobody.invalid/").await;
    let told = ann.text().await;
    assert!(told.starts_with("DnsError"), "{told}");
    nothing_left(&server, &elsewhere).await;
}

#[tokio::test]
async fn while_one_event_waits_others_of_the_same_worker_go_on() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    ann.send(&format!("ask {}", elsewhere.url("/held"))).await;
    server.until("she asks", |_| elsewhere.asked().len() == 1).await;
    for _ in 0..3 {
        bob.send("send hi").await;
        bob.expect_text("hi").await;
    }
    ann.ping(b"there?").await;
    ann.expect_pong(b"there?").await;
    assert_eq!(server.metrics().http_open.get(), 1);
    elsewhere.let_go();
    ann.expect_text("200 held").await;
    nothing_left(&server, &elsewhere).await;
}

#[tokio::test]
async fn an_event_that_asked_is_not_run_again_where_the_new_generation_is_rolled_back() {
    let elsewhere = Elsewhere::start().await;
    let calm = config(&[&elsewhere.entry()], "");
    let moody = calm.replace("path = \"asker.wasm\"", "path = \"asker.wasm\"\nconfig = { moody = 'yes' }");
    for (message, again) in [("mood".to_owned(), true), (format!("ask {}\nmood", elsewhere.url("/hello")), false)] {
        let server = standing(&calm).start();
        let mut ann = server.connect("/ws").await;
        server.reconfigure(&moody).await.expect("it starts well");
        let asked = elsewhere.asked().len();
        ann.send(&message).await;
        match again {
            true => ann.expect_text("fine").await,
            false => ann.expect_close(1011, "internal error").await,
        }
        assert_eq!(server.metrics().events_again.get(), u64::from(again));
        assert_eq!(server.metrics().rollbacks.get(), 1, "in either case");
        assert_eq!(elsewhere.asked().len() - asked, usize::from(!again), "once, and not twice");
        let mut bob = server.connect("/ws").await;
        bob.send("mood").await;
        bob.expect_text("fine").await;
    }
}

#[tokio::test]
async fn requests_that_a_guest_forgets_end_with_its_event() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let mut ann = server.connect("/ws").await;
    ann.send(&format!("forget 10 {}", elsewhere.url("/never"))).await;
    ann.expect_text("forgot 10").await;
    nothing_left(&server, &elsewhere).await;
    assert_eq!(server.metrics().http_requests.get(), 10);
    ann.send(&format!("ask {}\ncalls", elsewhere.url("/hello"))).await;
    ann.expect_text("200 hello").await;
    ann.expect_text("1").await;
    assert_eq!((server.metrics().instances.get(), server.metrics().faults.get()), (1, 0), "the instance is the same");
}

#[tokio::test]
async fn a_guest_that_keeps_too_many_handles_harms_itself() {
    let elsewhere = Elsewhere::start().await;
    let server = standing(&config(&[&elsewhere.entry()], "")).start();
    let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
    ann.send(&format!("forget 2000 {}", elsewhere.url("/never"))).await;
    ann.expect_close(1011, "internal error").await;
    bob.send(&format!("ask {}", elsewhere.url("/hello"))).await;
    bob.expect_text("200 hello").await;
    nothing_left(&server, &elsewhere).await;
}
