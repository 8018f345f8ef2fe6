//! A guest that traps, loops, grows or prints, at every place in a chain: it harms itself alone.
//!
//! The bystander sits on the same worker and the same route, and says something before and after.

use std::time::Duration;

use switchboard_harness::{Client, Clock, Record, TestServer};

use crate::fixtures::{serving_within, setup, start};

/// A chain `outer`, `inner`, handler on `/ws`, where `inner` does what its configuration says, and `/free` without it.
fn chain(inner: &str) -> TestServer {
    start(&format!(
        r#"
        [server]
        workers = 1

        [plugins.puppet]
        path = "puppet.wasm"

        [plugins.outer]
        path = "link.wasm"

        [plugins.inner]
        path = "link.wasm"
        config = {{ {inner} }}

        [[route]]
        path = "/ws"
        handler = "puppet"
        middleware = ["outer", "inner"]

        [[route]]
        path = "/free"
        handler = "puppet"
        middleware = ["outer"]
        "#
    ))
}

async fn check(client: &mut Client) {
    client.send("send still here").await;
    client.expect_text("still here").await;
}

/// What the log says of these plugins, as `PLUGIN LINE`.
fn told(server: &TestServer, plugins: &[&str]) -> Vec<String> {
    let records = server.log().records().into_iter();
    let of = records.filter(|record| record.is_of_guest() && plugins.contains(&record.field("plugin")));
    of.map(|record| format!("{} {}", record.field("plugin"), record.message)).collect()
}

fn is_fault(record: &Record, plugin: &str, event: &str) -> bool {
    record.message.starts_with("guest fault") && record.field("plugin") == plugin && record.field("event") == event
}

#[tokio::test]
async fn a_gate_that_traps_at_connect_refuses_with_500_and_the_gates_outside_hear_1006() {
    let server = chain("connect = 'trap'");
    let mut bystander = server.connect("/free").await;
    let refused = server.request("/ws").refused().await;
    assert_eq!((refused.status, refused.body.as_str()), (500, "internal error\n"));
    server.logged(|record| is_fault(record, "inner", "on-connect")).await;
    server.logged(|record| record.message == "disconnect 1006").await;
    check(&mut bystander).await;
    let events = told(&server, &["outer", "inner", "puppet"]).into_iter().filter(|line| line.contains("connect"));
    let of_bystander = ["outer connect", "puppet connect"];
    let of_refused = ["outer connect", "inner connect", "outer disconnect 1006"];
    assert_eq!(events.collect::<Vec<_>>(), [&of_bystander[..], &of_refused[..]].concat());
}

#[tokio::test]
async fn a_gate_that_traps_at_disconnect_is_logged_only_and_the_others_hear_of_the_end() {
    let server = chain("disconnect = 'trap'");
    let mut bystander = server.connect("/ws").await;
    let mut ann = server.connect("/ws").await;
    ann.close(1000, "bye").await;
    ann.expect_close(1000, "bye").await;
    server.logged(|record| is_fault(record, "inner", "on-disconnect")).await;
    server.logged(|record| record.field("plugin") == "outer" && record.message == "disconnect 1000 \"bye\"").await;
    let ends = told(&server, &["outer", "inner", "puppet"]).into_iter().filter(|line| line.contains("disconnect"));
    let expected = ["puppet", "inner", "outer"].map(|plugin| format!("{plugin} disconnect 1000 \"bye\""));
    assert_eq!(ends.collect::<Vec<_>>(), expected);
    check(&mut bystander).await;
}

#[tokio::test]
async fn a_handler_that_traps_at_disconnect_is_logged_only_and_the_gates_hear_of_the_end() {
    let server = chain("");
    let mut bystander = server.connect("/ws?do=join+lobby").await;
    let mut ann = server.connect("/ws?bye=publish+lobby+lost&bye=trap").await;
    ann.close(1000, "bye").await;
    ann.expect_close(1000, "bye").await;
    server.logged(|record| is_fault(record, "puppet", "on-disconnect")).await;
    server.logged(|record| record.field("plugin") == "outer" && record.message == "disconnect 1000 \"bye\"").await;
    bystander.expect_nothing_more().await;
    check(&mut bystander).await;
}

#[tokio::test]
async fn m5_an_inbound_filter_that_traps_closes_its_sender_with_1011() {
    let server = chain("in = 'set key value; send lost; trap', when = 'boom'");
    let mut bystander = server.connect("/ws").await;
    let mut ann = server.connect("/ws?bye=get+key").await;
    check(&mut ann).await;
    ann.send("boom").await;
    ann.expect_close(1011, "internal error").await;
    server.logged(|record| is_fault(record, "inner", "on-message")).await;
    server.logged(|record| record.message == "key is not set").await;
    assert!(!told(&server, &["puppet"]).contains(&"puppet in boom".to_owned()), "it went no further");
    check(&mut bystander).await;
}

#[tokio::test]
async fn m5_an_outbound_filter_that_traps_closes_the_recipient_and_not_the_sender() {
    let server = chain("out = 'set key value; send lost; trap', when = 'boom'");
    let mut sender = server.connect("/free?do=join+lobby").await;
    let mut recipient = server.connect("/ws?do=join+lobby&bye=get+key").await;
    let mut observer = server.connect("/free?do=join+observers").await;
    sender.send("publish lobby fine").await;
    recipient.expect_text("fine").await;
    sender.expect_text("fine").await;
    sender.send("publish lobby boom").await;
    sender.expect_text("boom").await;
    recipient.expect_close(1011, "internal error").await;
    observer.expect_text("left 1011 \"internal error\"").await;
    server.logged(|record| is_fault(record, "inner", "on-message")).await;
    server.logged(|record| record.message == "key is not set").await;
    check(&mut sender).await;
}

#[tokio::test]
async fn a_guest_that_loops_is_stopped_and_others_go_on_meanwhile() {
    let server = serving_within("event-cpu-ms = 1000\nevent-wall-ms = 600000\n[server]\nworkers = 1", "puppet");
    let mut bob = server.connect("/ws").await;
    let mut ann = server.connect("/ws").await;
    ann.send("log begins to spin\nspin").await;
    server.logged(|record| record.message == "begins to spin").await;
    for _ in 0..10 {
        check(&mut bob).await;
    }
    check(&mut server.connect("/ws").await).await;
    assert_eq!(server.metrics().faults_deadline.get(), 0, "it spins still");
    ann.expect_close(1011, "internal error").await;
    let fault = server.logged(|record| record.field("cause") == "deadline").await;
    assert!(fault.message.contains("1000 ms"), "{fault}");
    assert!(fault.field("backtrace").contains("script::misbehave"), "{fault}");
    assert_eq!((server.metrics().faults_deadline.get(), server.metrics().faults.get()), (1, 1));
    check(&mut bob).await;
}

#[tokio::test]
async fn a_guest_gets_the_memory_of_the_limit_and_no_more() {
    let server = serving_within("guest-memory-bytes = 16777216", "puppet");
    let mut ann = server.connect("/ws").await;
    ann.send("grow 12000000\nsend it fits").await;
    ann.expect_text("it fits").await;
    ann.send("grow 17000000\nsend it does not").await;
    ann.expect_close(1011, "internal error").await;
    let fault = server.logged(|record| record.field("cause") == "memory").await;
    assert!(fault.message.contains("16777216 bytes"), "{fault}");
    assert_eq!((server.metrics().faults_memory.get(), server.metrics().faults.get()), (1, 1));
}

#[tokio::test]
async fn what_a_guest_prints_is_a_line_of_the_log() {
    let server = serving_within("", "puppet");
    let mut ann = server.connect("/ws").await;
    ann.send("id").await;
    let id = ann.text().await;
    ann.send("print to stdout\nprint twice\nsend done").await;
    ann.expect_text("done").await;
    for line in ["to stdout", "twice"] {
        let record = server.logged(|record| record.is_of_guest() && record.message == line).await;
        assert_eq!((record.field("plugin"), record.field("generation")), ("puppet", "1"));
        assert_eq!(record.field("connection"), id);
    }
}

/// A gate that judges faults around a puppet, inside of a filter that traps at `boom`, and outside of another gate that
/// judges as well.
fn judged(outer: &str, inner: &str) -> TestServer {
    start(&format!(
        r#"
        [plugins]
        outer = {{ path = "judge.wasm", config = {{ {outer} }} }}
        inner = {{ path = "judge.wasm", config = {{ {inner} }} }}
        fragile = {{ path = "link.wasm", config = {{ in = "trap in the filter", when = "boom" }} }}
        puppet = {{ path = "puppet.wasm" }}

        [[route]]
        path = "/ws"
        handler = "puppet"
        middleware = ["outer", "fragile", "inner"]
        "#
    ))
}

#[tokio::test]
async fn e7_the_innermost_gate_around_a_fault_says_how_the_connection_ends() {
    let server = judged("fault = '4001 outer'", "fault = '4002 inner', do = 'send we are sorry'");
    let mut ann = server.connect("/ws").await;
    ann.send("send lost\ntrap now").await;
    ann.expect_text("we are sorry").await;
    ann.expect_close(4002, "inner").await;
    server.logged(|record| record.message == "puppet faulted: trap").await;
    server.logged(|record| record.message == "disconnect 4002 \"inner\"").await;
    let mut bob = server.connect("/ws").await;
    bob.send("boom").await;
    bob.expect_close(4001, "outer").await;
    server.logged(|record| record.message == "fragile faulted: trap").await;
    let asked = server.log().records().iter().filter(|record| record.message.contains(" faulted: ")).count();
    assert_eq!(asked, 2, "one gate for each fault");
}

#[tokio::test]
async fn e7_a_gate_that_says_nothing_or_faults_itself_leaves_it_to_the_next() {
    let server = judged("fault = '4001 outer'", "do = 'log heard'");
    let mut ann = server.connect("/ws").await;
    ann.send("spin").await;
    ann.expect_close(4001, "outer").await;
    server.logged(|record| record.message == "puppet faulted: deadline").await;
    let server = judged("", "do = 'trap as well'");
    let mut ann = server.connect("/ws").await;
    ann.send("trap now").await;
    ann.expect_close(1011, "internal error").await;
    server.logged(|record| record.message == "puppet faulted: trap" && record.field("plugin") == "outer").await;
}

/// A plugin that gets no events for a second after three faults within ten, and what it is beside.
fn breaking() -> TestServer {
    let toml = r#"
        [server.limits]
        breaker-faults = 3
        breaker-ms = 10000
        breaker-pause-ms = 1000

        [plugins]
        puppet = { path = "puppet.wasm" }
        other = { path = "puppet.wasm" }

        [[route]]
        path = "/ws"
        handler = "puppet"

        [[route]]
        path = "/other"
        handler = "other"
    "#;
    setup(toml).clock(Clock::manual()).start()
}

/// Has the plugin fault in a connection of its own.
async fn fault(server: &TestServer) {
    let mut client = server.connect("/ws").await;
    client.send("trap on purpose").await;
    client.expect_close(1011, "internal error").await;
}

#[tokio::test]
async fn after_many_faults_a_plugin_gets_no_events_for_a_while_and_others_notice_nothing() {
    let server = breaking();
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/other").await;
    for _ in 0..2 {
        fault(&server).await;
    }
    ann.send("send still here").await;
    ann.expect_text("still here").await;
    fault(&server).await;
    let refused = server.request("/ws").refused().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    ann.send("send too late").await;
    ann.expect_close(1013, "not available").await;
    bob.send("send untouched").await;
    bob.expect_text("untouched").await;
    assert_eq!((server.metrics().plugins_stopped.get(), server.metrics().refused_stopped.get()), (1, 1));
    let told = server.logged(|record| record.message.starts_with("stopped for")).await;
    assert_eq!((told.field("plugin"), told.field("pause_ms")), ("puppet", "1000"));
}

#[tokio::test]
async fn a_stopped_plugin_is_tried_again_after_pauses_that_grow() {
    let server = breaking();
    for _ in 0..3 {
        fault(&server).await;
    }
    server.advance(Duration::from_millis(999));
    assert_eq!(server.request("/ws").refused().await.status, 503);
    server.advance(Duration::from_millis(1));
    fault(&server).await;
    server.advance(Duration::from_millis(1999));
    assert_eq!(server.request("/ws").refused().await.status, 503);
    server.advance(Duration::from_millis(1));
    let mut ann = server.connect("/ws").await;
    server.advance(Duration::from_secs(10));
    fault(&server).await;
    ann.send("send back for good").await;
    ann.expect_text("back for good").await;
}
