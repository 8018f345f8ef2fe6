//! What happens when a guest fails: scenarios E1, E2 and E6, and a trap at every place where a guest can have one.
//!
//! A fault is one record in the log and one close for the client, and nobody else notices it. All of it runs on one
//! worker, where the others would notice it first.

use switchboard_harness::{Client, Clock, Received, Record, Reuse, TestServer};

use crate::fixtures::{serving, setup};

const PUPPET: &str = r#"
    [server]
    workers = 1

    [plugins.puppet]
    path = "puppet.wasm"

    [[route]]
    path = "/ws"
    handler = "puppet"
"#;

/// The records of faults so far.
fn faults(server: &TestServer) -> Vec<Record> {
    server.log().records().into_iter().filter(|record| record.message.starts_with("guest fault")).collect()
}

/// That a connection still works.
async fn check(client: &mut Client) {
    client.send("send still here").await;
    client.expect_text("still here").await;
}

#[tokio::test]
async fn e1_a_trap_closes_with_1011_and_tells_the_client_no_more() {
    let server = setup(PUPPET).start();
    let mut bob = server.connect("/ws").await;
    let mut ann = server.connect("/ws").await;
    ann.send("send lost\ntrap the text of the panic").await;
    ann.expect_close(1011, "internal error").await;
    check(&mut bob).await;
    check(&mut server.connect("/ws").await).await;
    assert_eq!(server.metrics().faults.get(), 1);
}

#[tokio::test]
async fn e1_the_fault_is_one_record_with_everything_that_helps() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    ann.send("id").await;
    let id = ann.text().await;
    ann.send("print printed before\ntrap the text of the panic").await;
    ann.expect_close(1011, "internal error").await;
    let [fault] = &faults(&server)[..] else { panic!("not one record") };
    assert_eq!((fault.field("plugin"), fault.field("generation")), ("puppet", "1"));
    assert_eq!((fault.field("connection"), fault.field("event")), (id.as_str(), "on-message"));
    assert_eq!(fault.field("cause"), "trap");
    let printed = fault.field("printed");
    assert!(printed.contains("printed before") && printed.contains("the text of the panic"), "{printed}");
    assert!(printed.contains("script/lib.rs:"), "where in the source: {printed}");
    assert!(fault.field("backtrace").contains("script::misbehave"), "{}", fault.field("backtrace"));
    let elsewhere = |record: &Record| record != fault && record.to_string().contains("the text of the panic");
    let told = server.log().records().into_iter().filter(|r| elsewhere(r) && !r.message.starts_with("in ")).count();
    assert_eq!(told, 0, "nothing of it is in another record");
}

#[tokio::test]
async fn e1_the_instance_is_discarded() {
    let server = setup(PUPPET).reuse(Reuse::Always).start();
    let mut bob = server.connect("/ws").await;
    check(&mut bob).await;
    assert_eq!(server.metrics().instances.get(), 1, "one instance serves them all");
    let mut ann = server.connect("/ws").await;
    ann.send("trap").await;
    ann.expect_close(1011, "internal error").await;
    check(&mut bob).await;
    let [fault] = &faults(&server)[..] else { panic!("not one record") };
    assert_eq!(fault.field("event"), "on-message");
    assert_eq!(server.metrics().instances.get(), 1, "another one has taken its place");
}

#[tokio::test]
async fn e2_a_trap_in_the_handshake_is_500() {
    let server = setup(PUPPET).start();
    let mut bob = server.connect("/ws?do=join+lobby").await;
    let refused = server.request("/ws?do=publish+lobby+hi&do=join+lobby&do=trap+detail").refused().await;
    assert_eq!((refused.status, refused.body.as_str()), (500, "internal error\n"));
    bob.send("count lobby").await;
    bob.expect_text("lobby has 1").await;
    let [fault] = &faults(&server)[..] else { panic!("not one record") };
    assert_eq!((fault.field("event"), fault.field("cause")), ("on-connect", "trap"));
    assert_eq!((server.metrics().refused.get(), server.metrics().faults.get()), (1, 1));
    let disconnects = server.log().records().iter().filter(|record| record.message.starts_with("disconnect")).count();
    assert_eq!(disconnects, 0, "what was never accepted is not disconnected");
}

#[tokio::test]
async fn e6_nothing_of_an_event_happens_that_ends_in_a_trap() {
    // The time for the close never ends, so the connection is still there when others ask.
    let server = setup(PUPPET).clock(Clock::manual()).start();
    let mut bob = server.connect("/ws?do=join+lobby").await;
    bob.send("id").await;
    let id = bob.text().await;
    let mut ann = server.connect("/ws?bye=get+mood").await;
    ann.send("set mood calm\nleave nowhere").await;
    ann.send(&format!(
        "send to myself\nsend-to {id} direct\npublish lobby hello\nclose-other {id} 1000 bye\njoin den\n\
         set mood happy\nset other thing\nping x\nstore-set mood happy\nincrement seats 1\nlog all asked for\ntrap now"
    ))
    .await;
    assert_eq!(ann.receive().await, Received::Close(1011, "internal error".to_owned()));
    server.logged(|record| record.message == "all asked for").await;
    bob.send("count @all").await;
    bob.expect_text("@all has 2").await;
    bob.send("count den\nmembers den").await;
    bob.expect_text("den has 0").await;
    bob.expect_text("").await;
    bob.send("store-get mood\nstore-get seats").await;
    bob.expect_text("mood is not set").await;
    bob.expect_text("seats is not set").await;
    bob.expect_nothing_more().await;
    ann.expect_end().await;
    server.logged(|record| record.message == "mood is calm").await;
}

#[tokio::test]
async fn e6_the_rooms_that_it_was_in_hear_nothing_either() {
    let server = serving("puppet");
    let mut bob = server.connect("/ws?do=join+lobby&do=join+observers").await;
    let mut ann = server.connect("/ws?do=join+lobby").await;
    for _ in 0..3 {
        ann.send("publish lobby 1").await;
        bob.expect_text("1").await;
        ann.expect_text("1").await;
    }
    ann.send("publish lobby 2\nleave lobby\ntrap").await;
    ann.expect_close(1011, "internal error").await;
    bob.expect_text("left 1011 \"internal error\"").await;
    bob.expect_nothing_more().await;
}
