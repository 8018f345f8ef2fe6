//! TLS: both versions, ALPN, and a certificate that changes while connections are open.
//!
//! Each test has certificates of its own, and clients that trust nobody else; `streams` has both.

use switchboard_harness::TestServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::fixtures::setup;
use crate::streams::{Papers, expect_echo, open};

const ECHO: &str = "[plugins.echo]\npath = 'echo.wasm'\n[[route]]\npath = '/ws'\nhandler = 'echo'\n";

fn serving(papers: &Papers, limits: &str) -> TestServer {
    setup(&format!("{}[server.limits]\n{limits}\n{ECHO}", papers.toml())).watch().start()
}

#[tokio::test]
async fn messages_go_to_and_fro_in_both_versions_of_tls() {
    let papers = Papers::new();
    let server = serving(&papers, "");
    assert_eq!(server.app().places()[0].to_string(), format!("https://{}", server.address()));
    for version in [&TLS12, &TLS13] {
        let stream = papers.handshake_with(server.tcp().await, &[], &[version]).await.expect("it is trusted");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let mut ann = open(stream, "/ws").await;
        expect_echo(&mut ann, "hello").await;
        expect_echo(&mut ann, &"long ".repeat(100_000)).await;
    }
}

#[tokio::test]
async fn alpn_chooses_http_2_where_the_client_can_do_both() {
    let papers = Papers::new();
    let server = serving(&papers, "");
    for (offered, chosen) in
        [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let stream = papers.handshake(server.tcp().await, offered).await.expect("it is trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
    }
    assert!(papers.handshake(server.tcp().await, &["spdy/3"]).await.is_err(), "nothing in common");
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_newcomers_and_open_connections_go_on() {
    let mut papers = Papers::new();
    let server = serving(&papers, "");
    let mut ann = open(papers.handshake(server.tcp().await, &[]).await.expect("it is trusted"), "/ws").await;
    papers.replace();
    assert!(papers.handshake(server.tcp().await, &[]).await.is_err(), "of the old one this client knows nothing");
    server.logged(|record| record.message.starts_with("the certificate was read again")).await;
    let mut bob = open(papers.handshake(server.tcp().await, &[]).await.expect("it is trusted"), "/ws").await;
    expect_echo(&mut bob, "hello").await;
    expect_echo(&mut ann, "still here").await;
}

#[tokio::test]
async fn a_key_that_does_not_fit_changes_nothing_and_stops_a_start() {
    let papers = Papers::new();
    let server = serving(&papers, "");
    papers.lose_key();
    let said = server.logged(|record| record.message.starts_with("the certificate is as before")).await;
    assert!(said.message.contains("key.pem: this is not the key of the first certificate in"), "{said}");
    let mut ann = open(papers.handshake(server.tcp().await, &[]).await.expect("it is as before"), "/ws").await;
    expect_echo(&mut ann, "hello").await;
    let refused = setup(&format!("{}{ECHO}", papers.toml())).try_start().err().expect("it does not start");
    assert!(refused.contains("key.pem: this is not the key of the first certificate in"), "{refused}");
}

#[tokio::test]
async fn a_client_that_cannot_do_tls_or_takes_too_long_is_cut() {
    let papers = Papers::new();
    let server = serving(&papers, "head-ms = 300");
    let mut plain = server.tcp().await;
    plain.write_all(b"GET /ws HTTP/1.1\r\nHost: chat.example\r\n\r\n").await.expect("it is open");
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.windows(4).any(|word| word == b"HTTP"), "nothing is said in the clear");
    let mut silent = server.tcp().await;
    assert_eq!(silent.read(&mut [0; 1]).await.ok(), Some(0), "it is cut");
    server.until("both are counted", |server| server.metrics().bad_tls.get() == 2).await;
}
