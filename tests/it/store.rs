//! The store: values that outlive the instances and connections that wrote them, and are shared by all workers.
//!
//! Part of E6 (a trap leaves nothing behind, increments included) and the limits of the store, each from both sides. Time
//! is the server's own, moved by the test. What a kill leaves on the disk is in `tests/outside`.

use std::time::Duration;

use futures_util::future::join_all;
use switchboard_harness::{Client, Clock, TestServer};

use crate::fixtures::{components, serving, serving_within, setup};

/// A puppet on `/ws`, with these keys of `[server]`.
fn puppet(server: &str) -> String {
    format!(
        r#"
        [server]
        {server}

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        "#
    )
}

/// Says it, and expects one answer for each line.
async fn ask(client: &mut Client, script: &str, answers: &[&str]) {
    client.send(script).await;
    for answer in answers {
        client.expect_text(answer).await;
    }
}

fn over_quota(server: &TestServer) -> u64 {
    server.metrics().over_quota.get()
}

#[tokio::test]
async fn values_are_shared_by_all_instances_and_connections_and_outlive_them() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    let mut bob = server.connect("/ws").await;
    ask(&mut ann, "store-set motd hello there\nsend set", &["set"]).await;
    ask(&mut bob, "store-get motd\nincrement visits 2", &["motd is hello there", "visits is 2"]).await;
    ask(&mut ann, "increment visits -5\nstore-get visits\nstore-remove motd", &["visits is -3", "visits is -3"]).await;
    drop((ann, bob));
    server.until("nobody is there", |server| server.metrics().connections.get() == 0).await;
    let mut cid = server.connect("/ws?do=store-get+motd").await;
    cid.expect_text("motd is not set").await;
    ask(&mut cid, "store-get visits", &["visits is -3"]).await;
}

#[tokio::test]
async fn an_event_reads_what_it_wrote_itself() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    let script = "store-set a 1\nstore-get a\nstore-remove a\nstore-get a\nincrement a 3\nincrement a 4\nstore-get a\n\
                  store-set a x\nincrement a 1";
    let answers = ["a is 1", "a is not set", "a is 3", "a is 7", "a is 7", "increment: invalid"];
    ask(&mut ann, script, &answers).await;
    ask(&mut ann, "store-get a", &["a is x"]).await;
}

#[tokio::test]
async fn e6_an_event_that_traps_after_writes_and_increments_leaves_nothing() {
    let server = serving("puppet");
    let mut bob = server.connect("/ws").await;
    ask(&mut bob, "store-set kept old\nstore-set gone soon\nincrement seats 10", &["seats is 10"]).await;
    let mut ann = server.connect("/ws").await;
    ann.send(
        "store-set kept new\nstore-remove gone\nstore-set fresh x\nincrement seats -3\nincrement seats -3\n\
         increment first 1\ntrap",
    )
    .await;
    ann.expect_close(1011, "internal error").await;
    let answers = ["kept is old", "gone is soon", "fresh is not set", "first is not set", "seats is 10"];
    ask(&mut bob, "store-get kept\nstore-get gone\nstore-get fresh\nstore-get first\nstore-get seats", &answers).await;
}

#[tokio::test]
async fn e6_a_handshake_that_is_refused_or_traps_leaves_nothing() {
    let server = serving("puppet");
    let target = "/ws?do=increment+seats+1&do=store-set+last+ann";
    assert_eq!(server.request(&format!("{target}&do=trap")).refused().await.status, 500);
    assert_eq!(server.request(&format!("{target}&respond=403")).refused().await.status, 403);
    let mut bob = server.connect("/ws").await;
    ask(&mut bob, "store-get seats\nstore-get last", &["seats is not set", "last is not set"]).await;
    server.connect(target).await.expect_text("seats is 1").await;
    ask(&mut bob, "store-get seats\nstore-get last", &["seats is 1", "last is ann"]).await;
}

#[tokio::test]
async fn an_event_that_is_given_up_by_its_deadline_takes_its_increments_back() {
    let server = serving_within("event-cpu-ms = 20", "puppet");
    let mut ann = server.connect("/ws").await;
    ann.send("increment seats 1\nspin").await;
    ann.expect_close(1011, "internal error").await;
    let mut bob = server.connect("/ws").await;
    ask(&mut bob, "store-get seats", &["seats is not set"]).await;
}

#[tokio::test]
async fn an_increment_is_seen_at_once_and_only_it_is_taken_back() {
    let server = serving_within("event-cpu-ms = 10000", "puppet");
    let mut bob = server.connect("/ws").await;
    let mut ann = server.connect("/ws").await;
    ask(&mut bob, "increment seats 1", &["seats is 1"]).await;
    // Waits in the middle of its event, on the other worker, until somebody is in the den.
    ann.send("increment seats 10\nlog incremented\nawait den\ntrap").await;
    server.logged(|record| record.message == "incremented").await;
    ask(&mut bob, "increment seats 100", &["seats is 111"]).await;
    let _cid = server.connect("/ws?do=join+den").await;
    ann.expect_close(1011, "internal error").await;
    ask(&mut bob, "store-get seats", &["seats is 101"]).await;
}

#[tokio::test]
async fn l4_the_store_outlives_a_reload() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    ask(&mut ann, "store-set motd hello\nincrement visits 2", &["visits is 2"]).await;
    server.replace_with("puppet", &[&components().bytes("puppet")[..], &[0, 3, 2, b'v', b'2']].concat());
    server.reload("puppet").await.expect("the file is good");
    ask(&mut ann, "store-get motd\nincrement visits 1", &["motd is hello", "visits is 3"]).await;
}

#[tokio::test]
async fn a_new_generation_that_faults_and_gives_way_has_incremented_once() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    ask(&mut ann, "increment seats 1", &["seats is 1"]).await;
    server.replace("puppet", "newborn_trap");
    server.reload("puppet").await.expect("it starts");
    // Its first event traps, after an increment by 1000; the event is run again on the puppet.
    ask(&mut ann, "increment seats 1", &["seats is 2"]).await;
}

#[tokio::test]
async fn increments_of_many_clients_on_all_workers_add_up() {
    const CLIENTS: usize = 20;
    const EVENTS: usize = 50;
    let server = serving("puppet");
    let mut clients = join_all((0..CLIENTS).map(|_| server.connect("/ws"))).await;
    let work = clients.iter_mut().map(async |client| {
        for _ in 0..EVENTS {
            client.send("increment hits 3\nincrement hits -2").await;
            client.text().await;
            client.text().await;
        }
    });
    join_all(work).await;
    ask(&mut clients[0], "store-get hits", &[&format!("hits is {}", CLIENTS * EVENTS)]).await;
}

#[tokio::test]
async fn values_end_after_their_time() {
    let server = setup(&puppet("")).clock(Clock::manual()).start();
    let mut ann = server.connect("/ws").await;
    ask(&mut ann, "store-set-for 1000 code 1234\nincrement-for 1000 tries 1\nstore-set stays x", &["tries is 1"]).await;
    server.advance(Duration::from_millis(999));
    // A counter's time runs from its start, whatever is added later.
    let answers = ["code is 1234", "tries is 2", "stays is x"];
    ask(&mut ann, "store-get code\nincrement-for 1000 tries 1\nstore-get stays", &answers).await;
    server.advance(Duration::from_millis(1));
    let answers = ["code is not set", "tries is not set", "stays is x"];
    ask(&mut ann, "store-get code\nstore-get tries\nstore-get stays", &answers).await;
    ask(&mut ann, "increment tries 1", &["tries is 1"]).await;
}

#[tokio::test]
async fn a_tenant_has_so_many_keys() {
    let server = setup(&puppet("limits = { store-keys = 3 }")).clock(Clock::manual()).start();
    let mut ann = server.connect("/ws").await;
    ask(&mut ann, "store-set-for 50 a 1\nstore-set b 1\nincrement c 1", &["c is 1"]).await;
    assert_eq!(over_quota(&server), 0);
    ask(&mut ann, "store-set d 1\nincrement d 1", &["store-set: quota", "increment: quota"]).await;
    assert_eq!(over_quota(&server), 2);
    // What is there may change, and a removal makes room in the same event.
    ask(&mut ann, "store-set b 2\nincrement c 1\nstore-remove b\nstore-set d 1\nstore-get d", &["c is 2", "d is 1"])
        .await;
    server.advance(Duration::from_millis(50));
    ask(&mut ann, "increment e 1", &["e is 1"]).await;
    assert_eq!(over_quota(&server), 2);
}

#[tokio::test]
async fn a_tenant_has_so_many_bytes() {
    // A key of one byte and 64 for the entry beside the value.
    let server = setup(&puppet("limits = { store-bytes = 1000 }")).start();
    let mut ann = server.connect("/ws").await;
    ask(&mut ann, "store-set-bytes a 435\nstore-set-bytes b 435\nsend both", &["both"]).await;
    assert_eq!(over_quota(&server), 0);
    ask(&mut ann, "store-set-bytes b 436\nincrement c 1", &["store-set-bytes: quota", "increment: quota"]).await;
    ask(&mut ann, "store-set-bytes b 400\nsend less", &["less"]).await;
    assert_eq!(over_quota(&server), 2);
}

#[tokio::test]
async fn a_value_has_so_many_bytes() {
    let server = serving_within("store-value-bytes = 100", "puppet");
    let mut ann = server.connect("/ws").await;
    ask(&mut ann, "store-set-bytes a 100\nsend fits", &["fits"]).await;
    ask(&mut ann, "store-set-bytes a 101", &["store-set-bytes: too-large"]).await;
    assert_eq!(over_quota(&server), 1);
}

#[tokio::test]
async fn an_event_may_write_so_many_keys() {
    let server = serving_within("effects = 3", "puppet");
    let mut ann = server.connect("/ws").await;
    ask(&mut ann, "store-set a 1\nstore-set a 2\nstore-remove b\nincrement c 1", &["c is 1"]).await;
    assert_eq!(over_quota(&server), 0);
    ask(&mut ann, "store-set a 1\nstore-set b 2\nincrement c 1\nstore-set d 1", &["c is 2", "store-set: quota"]).await;
    assert_eq!(over_quota(&server), 1);
}

#[tokio::test]
async fn a_key_has_1_to_128_bytes() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    let longest = "k".repeat(128);
    ask(&mut ann, &format!("store-set {longest} x\nstore-get {longest}"), &[&format!("{longest} is x")]).await;
    for key in ["".to_owned(), format!("{longest}k"), "k".repeat(1_000_000)] {
        for verb in ["store-get", "store-remove", "store-set"] {
            ask(&mut ann, &format!("{verb} {key}"), &[&format!("{verb}: invalid")]).await;
        }
        ask(&mut ann, &format!("increment {key} 1"), &["increment: invalid"]).await;
    }
    assert_eq!(over_quota(&server), 0);
}

#[tokio::test]
async fn a_counter_stays_within_2_to_the_53_and_bytes_are_no_counter() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    let (most, least) = (1_i64 << 53, -(1_i64 << 53));
    ask(&mut ann, &format!("increment n {most}"), &[&format!("n is {most}")]).await;
    for by in [1, i64::MAX, i64::MIN] {
        ask(&mut ann, &format!("increment n {by}"), &["increment: invalid"]).await;
    }
    ask(&mut ann, &format!("increment n {}", 2 * least), &[&format!("n is {least}")]).await;
    ask(&mut ann, "increment n -1\nstore-get n", &["increment: invalid", &format!("n is {least}")]).await;
    ask(&mut ann, "store-set text 5\nsend written", &["written"]).await;
    ask(&mut ann, "increment text 1\nstore-get text", &["increment: invalid", "text is 5"]).await;
}

#[tokio::test]
async fn on_disk_an_answer_waits_for_the_increments_that_it_saw() {
    let server = setup(&puppet("store = 'disk'\nlimits = { event-cpu-ms = 10000 }")).start();
    let mut bob = server.connect("/ws").await;
    let mut ann = server.connect("/ws").await;
    let mut cid = server.connect("/ws").await;
    ann.send("increment seats 10\nlog incremented\nawait den").await;
    server.logged(|record| record.message == "incremented").await;
    bob.send("increment seats 1").await;
    server.logged(|record| record.message == "seats is 11").await;
    // What somebody else is told shows that the disk has all that was committed by then, bob's increment too.
    for _ in 0..3 {
        ask(&mut cid, "store-set other x\nsend written", &["written"]).await;
    }
    bob.expect_nothing_more().await;
    ask(&mut cid, "join den", &[]).await;
    bob.expect_text("seats is 11").await;
    ann.expect_text("seats is 10").await;
}

/// The file of a store on disk.
fn file(server: &TestServer) -> std::path::PathBuf {
    server.folder().join(".switchboard/store.redb")
}

#[tokio::test]
async fn on_disk_values_outlive_the_server() {
    let mut server = setup(&puppet("store = 'disk'")).clock(Clock::manual()).start();
    let mut ann = server.connect("/ws").await;
    let script =
        "store-set kept old\nstore-set gone x\nincrement hits 5\nstore-set-for 60000 soon x\nstore-set-for 100 late x";
    ask(&mut ann, script, &["hits is 5"]).await;
    ask(&mut ann, "store-set kept new\nstore-remove gone\nincrement hits 2", &["hits is 7"]).await;
    ann.send("store-set kept newest\nincrement hits 1\ntrap").await;
    ann.expect_close(1011, "internal error").await;
    drop(ann);
    server.advance(Duration::from_millis(100));
    server.restart().await;
    let mut ann = server.connect("/ws").await;
    let answers = ["kept is new", "gone is not set", "hits is 8", "soon is x", "late is not set"];
    ask(&mut ann, "store-get kept\nstore-get gone\nincrement hits 1\nstore-get soon\nstore-get late", &answers).await;
    server.advance(Duration::from_secs(60));
    ask(&mut ann, "store-get soon", &["soon is not set"]).await;
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file(&server)).expect("it is there").permissions());
    assert_eq!(mode & 0o077, 0, "only the server's user reads it");
}

#[tokio::test]
async fn in_memory_values_end_with_the_server() {
    let mut server = setup(&puppet("store = 'memory'")).start();
    ask(&mut server.connect("/ws").await, "increment hits 5", &["hits is 5"]).await;
    server.restart().await;
    ask(&mut server.connect("/ws").await, "store-get hits", &["hits is not set"]).await;
    assert!(!file(&server).exists());
}

#[tokio::test]
async fn a_store_on_disk_that_is_in_use_or_damaged_is_an_error_of_the_start() {
    let state = tempfile::tempdir().expect("a folder can be made");
    let toml = puppet(&format!("store = 'disk'\nstate = '{}'", state.path().display()));
    let first = setup(&toml).start();
    let refused = setup(&toml).try_start().err().expect("the first server has it");
    let file = state.path().join("store.redb");
    let said = format!("{}: another server uses this store; stop it, or give this one another folder", file.display());
    assert!(refused.starts_with(&said), "{refused}");
    drop(first);
    std::fs::write(&file, "no database").expect("it can be written");
    let refused = setup(&toml).try_start().err().expect("it is damaged");
    assert!(refused.starts_with(&format!("{}: the store cannot be read: ", file.display())), "{refused}");
}

#[tokio::test]
async fn where_the_writers_queue_is_short_events_wait_and_all_is_kept() {
    let mut server = setup(&puppet("store = 'disk'\nlimits = { store-writes = 1 }")).start();
    let mut clients = join_all((0..10).map(|_| server.connect("/ws"))).await;
    let work = clients.iter_mut().map(async |client| {
        for _ in 0..10 {
            client.send("increment hits 1\nincrement others 1").await;
            client.text().await;
            client.text().await;
        }
    });
    join_all(work).await;
    assert!(server.metrics().store_waits.get() > 0);
    drop(clients);
    server.restart().await;
    ask(&mut server.connect("/ws").await, "store-get hits\nstore-get others", &["hits is 100", "others is 100"]).await;
    assert_eq!(server.metrics().store_waits.get(), 0, "one event has the queue for itself");
}
