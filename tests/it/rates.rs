//! Messages and bytes a second of one tenant, in and out: so many go at once, the rest waits, and nothing is lost.
//!
//! On a clock that the test drives; all run the component `puppet`, whose client says what it does. The arithmetic is tested
//! where it is, in `tenants/rates`.

use std::time::Duration;

use futures_util::future::join_all;
use switchboard_harness::{Client, Clock, Reuse, TestServer};

use crate::fixtures::setup;
use crate::tenants::{SERVER, tenant};

/// One worker, with a tenant that has these limits, one that has the usual ones, and the server's own route without any.
fn server(limits: &str) -> TestServer {
    let server = format!("[server]\nworkers = 1\n{SERVER}");
    setup(&server)
        .tenant("acme", &limited(limits))
        .tenant("umbrella", &tenant(""))
        .reuse(Reuse::Always)
        .clock(Clock::manual())
        .start()
}

fn limited(limits: &str) -> String {
    tenant(&format!("limits = {{ {limits} }}"))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn waits_in(server: &TestServer, times: u64) {
    server.until("a message waits to be told", |server| server.metrics().throttled_in.get() == times).await;
}

async fn waits_out(server: &TestServer, times: u64) {
    server.until("a message waits to be written", |server| server.metrics().throttled_out.get() == times).await;
}

async fn expect_texts(client: &mut Client, texts: &[&str]) {
    for text in texts {
        client.expect_text(text).await;
    }
}

/// Others send and are sent what they want, although one tenant is at its rate and no time passes.
async fn expect_others_unhindered(server: &TestServer) {
    let waited = (server.metrics().throttled_in.get(), server.metrics().throttled_out.get());
    for path in ["/umbrella/ws", "/ws"] {
        let mut client = server.connect(path).await;
        for number in 0..20 {
            client.send(&format!("send-bytes 1000\nsend {number}")).await;
        }
        for number in 0..20 {
            client.expect_binary(&[b'x'; 1000]).await;
            client.expect_text(&number.to_string()).await;
        }
    }
    assert_eq!((server.metrics().throttled_in.get(), server.metrics().throttled_out.get()), waited);
}

#[tokio::test]
async fn as_many_messages_come_in_as_a_second_has_and_the_next_waits() {
    let server = server("messages-in = 3");
    let mut ann = server.connect("/acme/ws").await;
    for text in ["one", "two", "three", "four", "five"] {
        ann.send(&format!("send {text}")).await;
    }
    expect_texts(&mut ann, &["one", "two", "three"]).await;
    waits_in(&server, 1).await;
    assert_eq!(server.metrics().messages_in.get(), 3);
    expect_others_unhindered(&server).await;
    server.advance(ms(334));
    ann.expect_text("four").await;
    waits_in(&server, 2).await;
    server.advance(ms(334));
    ann.expect_text("five").await;
    server.advance(ms(10_000));
    for text in ["six", "seven", "eight"] {
        ann.send(&format!("send {text}")).await;
        ann.expect_text(text).await;
    }
    ann.expect_nothing_more().await;
    assert_eq!(server.metrics().throttled_in.get(), 2);
}

#[tokio::test]
async fn as_many_bytes_come_in_as_a_second_has_and_the_next_wait() {
    let server = server("bytes-in = 100");
    let mut ann = server.connect("/acme/ws").await;
    let text = "x".repeat(45);
    for _ in 0..3 {
        ann.send(&format!("send {text}")).await;
    }
    expect_texts(&mut ann, &[&text, &text]).await;
    waits_in(&server, 1).await;
    expect_others_unhindered(&server).await;
    server.advance(ms(10));
    ann.expect_text(&text).await;
    // One that is larger than all that a second has: it goes, and is paid off.
    server.advance(ms(10_000));
    let large = "x".repeat(1000 - 5);
    ann.send(&format!("send {large}")).await;
    ann.expect_text(&large).await;
    ann.send("send after it").await;
    waits_in(&server, 2).await;
    server.advance(ms(9_000));
    server.advance(ms(10));
    ann.expect_text("after it").await;
}

#[tokio::test]
async fn as_many_messages_go_out_as_a_second_has_and_the_rest_stays_in_the_mailbox() {
    let server = server("messages-out = 3");
    let mut ann = server.connect("/acme/ws").await;
    ann.send("send one\nsend two\nsend three\nsend four\nsend five").await;
    expect_texts(&mut ann, &["one", "two", "three"]).await;
    waits_out(&server, 1).await;
    ann.expect_nothing_more().await;
    assert_eq!(server.metrics().messages_out.get(), 3);
    expect_others_unhindered(&server).await;
    server.advance(ms(334));
    ann.expect_text("four").await;
    waits_out(&server, 2).await;
    ann.expect_nothing_more().await;
    server.advance(ms(334));
    ann.expect_text("five").await;
}

#[tokio::test]
async fn as_many_bytes_go_out_as_a_second_has_and_the_rest_stays_in_the_mailbox() {
    let server = server("bytes-out = 1000");
    let mut ann = server.connect("/acme/ws").await;
    ann.send("send-bytes 600\nsend-bytes 600\nsend-bytes 600").await;
    for _ in 0..2 {
        ann.expect_binary(&[b'x'; 600]).await;
    }
    waits_out(&server, 1).await;
    ann.expect_nothing_more().await;
    expect_others_unhindered(&server).await;
    server.advance(ms(201));
    ann.expect_binary(&[b'x'; 600]).await;
    ann.expect_nothing_more().await;
}

#[tokio::test]
async fn each_member_that_is_published_to_counts_and_what_kept_rooms_replay_too() {
    let kept = format!("{}\n[[room]]\nname = 'kept'\nkeep = 10", limited("messages-out = 4"));
    let server = setup(SERVER).tenant("acme", &kept).clock(Clock::manual()).start();
    let mut ann = server.connect("/acme/ws").await;
    let mut bob = server.connect("/acme/ws").await;
    for client in [&mut ann, &mut bob] {
        client.send("join kept\nsend in").await;
        client.expect_text("in").await;
    }
    server.advance(ms(10_000));
    for number in 1..=3 {
        ann.send(&format!("publish kept {number}")).await;
    }
    server.until("the rest waits", |server| server.metrics().throttled_out.get() >= 1).await;
    server.until("four are written", |server| server.metrics().messages_out.get() == 2 + 4).await;
    server.advance(ms(1000));
    for client in [&mut ann, &mut bob] {
        expect_texts(client, &["1", "2", "3"]).await;
    }
    server.advance(ms(10_000));
    let waited = server.metrics().throttled_out.get();
    let mut cy = server.connect("/acme/ws").await;
    let mut dan = server.connect("/acme/ws").await;
    cy.send("join-newest 3 kept").await;
    expect_texts(&mut cy, &["1", "2", "3"]).await;
    assert!(cy.text().await.starts_with("joined kept"));
    dan.send("join-newest 3 kept").await;
    waits_out(&server, waited + 1).await;
    dan.expect_nothing_more().await;
    server.advance(ms(1000));
    expect_texts(&mut dan, &["1", "2", "3"]).await;
}

#[tokio::test]
async fn connections_of_one_tenant_have_their_turns_one_after_the_other() {
    const CLIENTS: usize = 20;
    let server = server("messages-in = 20");
    let mut clients = join_all((0..CLIENTS).map(|_| server.connect("/acme/ws"))).await;
    for client in &mut clients {
        client.send("send one").await;
        client.expect_text("one").await;
    }
    for client in &mut clients {
        client.send("send two").await;
    }
    waits_in(&server, 20).await;
    assert_eq!(server.metrics().messages_in.get(), 20);
    for turn in 1..=CLIENTS as u64 {
        server.advance(ms(50));
        server.until("one more had its turn", |server| server.metrics().messages_in.get() == 20 + turn).await;
    }
    for client in &mut clients {
        client.expect_text("two").await;
    }
    assert_eq!(server.metrics().throttled_in.get(), 20, "each waited for its own turn, and once");
}

#[tokio::test]
async fn other_rates_apply_to_who_waits_already() {
    let server = server("bytes-in = 1");
    let mut ann = server.connect("/acme/ws").await;
    for text in ["one", "two", "three"] {
        ann.send(&format!("send {text} {}", "x".repeat(1000))).await;
    }
    assert!(ann.text().await.starts_with("one"));
    waits_in(&server, 1).await;
    server.change_tenant("acme", &limited("bytes-in = 0")).await.expect("it is right");
    server.advance(ms(1000));
    for text in ["two", "three"] {
        assert!(ann.text().await.starts_with(text));
    }
    server.change_tenant("acme", &limited("messages-out = 1")).await.expect("it is right");
    ann.send("send one\nsend two").await;
    ann.expect_text("one").await;
    waits_out(&server, 1).await;
    ann.expect_nothing_more().await;
}

#[tokio::test]
async fn a_rate_of_the_server_is_that_of_each_tenant_by_itself() {
    let limited = format!("[server.limits]\nmessages-in = 2\n{SERVER}");
    let server = setup(&limited).tenant("acme", &tenant("")).clock(Clock::manual()).start();
    for (path, waited) in [("/ws", 1), ("/acme/ws", 2)] {
        let mut client = server.connect(path).await;
        for text in ["one", "two", "three"] {
            client.send(&format!("send {text}")).await;
        }
        expect_texts(&mut client, &["one", "two"]).await;
        waits_in(&server, waited).await;
    }
    assert_eq!(server.metrics().messages_in.get(), 4);
}

/// So many times a quarter of a minute, each of which the server has looked at.
async fn time_passes(server: &TestServer, quarters: u32) {
    let mut bob = server.connect("/ws").await;
    for _ in 0..quarters {
        server.advance(ms(15_000));
        bob.send("send time passes").await;
        bob.expect_text("time passes").await;
    }
}

#[tokio::test]
async fn nobody_is_taken_for_silent_while_a_message_of_it_waits() {
    let server = server("bytes-in = 1, idle-ms = 60000");
    let mut ann = server.connect("/acme/ws").await;
    let long = "x".repeat(300);
    ann.send(&format!("send {long}")).await;
    ann.expect_text(&long).await;
    ann.send("send two").await;
    waits_in(&server, 1).await;
    time_passes(&server, 20).await;
    assert_eq!((server.metrics().no_pong.get(), server.metrics().idle.get()), (0, 0));
    server.advance(ms(15_000));
    ann.expect_text("two").await;
}

#[tokio::test]
async fn nobody_is_taken_for_silent_while_what_it_is_sent_waits() {
    let server = server("bytes-out = 1, idle-ms = 60000");
    let mut ann = server.connect("/acme/ws").await;
    ann.send("send-bytes 300\nsend two").await;
    ann.expect_binary(&[b'x'; 300]).await;
    waits_out(&server, 1).await;
    time_passes(&server, 19).await;
    assert_eq!((server.metrics().no_pong.get(), server.metrics().idle.get()), (0, 0));
    server.advance(ms(15_000));
    ann.expect_text("two").await;
}

#[tokio::test]
async fn a_close_waits_for_no_rate() {
    let server = server("bytes-in = 1, messages-out = 2");
    let mut ann = server.connect("/acme/ws").await;
    let mut bob = server.connect("/acme/ws").await;
    ann.send("repeat 10 send one").await;
    expect_texts(&mut ann, &["one", "one"]).await;
    waits_out(&server, 1).await;
    bob.send("send too late").await;
    waits_in(&server, 1).await;
    server
        .change_tenant("acme", &tenant("suspended = true\nlimits = { bytes-in = 1, messages-out = 2 }"))
        .await
        .expect("it is right");
    expect_texts(&mut ann, &["one"; 8]).await;
    ann.expect_close(1013, "suspended").await;
    bob.expect_close(1013, "suspended").await;
    server.until("both are gone", |server| server.metrics().connections.get() == 0).await;
}

#[tokio::test]
async fn a_clients_own_close_is_answered_when_its_last_message_had_its_turn() {
    let server = server("messages-in = 1");
    let mut ann = server.connect("/acme/ws").await;
    ann.send("send one").await;
    ann.send("send two").await;
    ann.close(1000, "enough").await;
    waits_in(&server, 1).await;
    server.advance(ms(1000));
    expect_texts(&mut ann, &["one", "two"]).await;
    ann.expect_close(1000, "enough").await;
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_rate() {
    let mut server = server("messages-out = 1");
    let mut ann = server.connect("/acme/ws").await;
    ann.send("send one\nsend two").await;
    ann.expect_text("one").await;
    waits_out(&server, 1).await;
    let stopping = server.stop();
    let told = async {
        ann.expect_text("two").await;
        ann.expect_close(1012, "server is restarting").await;
    };
    futures_util::future::join(stopping, told).await;
}
