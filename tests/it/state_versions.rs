//! What connections remember, when the plugin that wrote it is another build: L3 and L9.
//!
//! A value that does not fit a build whose roll-out goes on is read by the build before; so where there shall be none, the new
//! build is promoted by its first event.

use serde_json::json;
use switchboard_harness::{Client, Level, LoadError, Record, Reload, Reuse, TestServer};

use crate::fixtures::setup;

/// A server for `profile_1`, with more keys for the plugin and for the limits.
fn profiles(plugin: &str, limits: &str) -> TestServer {
    let toml = format!(
        r#"
        [server.limits]
        {limits}

        [plugins.profiles]
        path = "profile_1.wasm"
        {plugin}

        [[route]]
        path = "/ws"
        handler = "profiles"
        "#
    );
    setup(&toml).reuse(Reuse::Always).start()
}

/// Limits under which the first event promotes.
const AT_ONCE: &str = "rollout-events = 1\nrollout-ms = 0";

const RESET: &str = "on-state-mismatch = 'reset'";

/// Has the server take this build.
async fn take(server: &TestServer, build: &str) {
    server.replace("profiles", build);
    assert!(matches!(server.reload("profiles").await, Ok(Reload::Swapped { .. })), "{build} is a good file");
}

/// The same, and another connection ends its roll-out.
async fn promote(server: &TestServer, build: &str) {
    take(server, build).await;
    server.connect("/ws").await;
    server.logged(|record| record.message.starts_with("promoted")).await;
}

/// Goes back to the build before.
fn roll_back(server: &TestServer) {
    server.app().registry().roll_back("profiles").expect("there is one before");
}

/// Sends, and expects this JSON.
async fn say(client: &mut Client, text: &str, answer: serde_json::Value) {
    client.send(text).await;
    let told: serde_json::Value = serde_json::from_str(&client.text().await).expect("it is JSON");
    assert_eq!(told, answer, "after {text}");
}

/// A connection that said its name to `profile_1`.
async fn named(server: &TestServer, name: &str) -> Client {
    let mut client = server.connect("/ws").await;
    say(&mut client, &format!("name {name}"), json!({"name": name, "messages": 1})).await;
    client
}

/// Migrations that were begun, by what the plugin logs.
fn migrations(server: &TestServer) -> usize {
    server.log().records().iter().filter(|record| record.message == "migrates handler from 0").count()
}

/// What the newest generation did with states: its version of them, values migrated, gone back to, and reset.
fn carried(server: &TestServer) -> (u32, u64, u64, u64) {
    let states = server.app().registry().plugins()["profiles"].report().states;
    (states.version, states.migrated, states.rolled_back, states.reset)
}

/// Mismatches, migrated values and values that went back.
fn counted(server: &TestServer) -> (u64, u64, u64) {
    let metrics = server.metrics();
    (metrics.state_mismatches.get(), metrics.state_migrated.get(), metrics.state_rolled_back.get())
}

#[tokio::test]
async fn l3_a_new_field_has_its_default_and_one_that_is_gone_is_ignored() {
    let server = profiles("", "");
    let mut ann = named(&server, "Ann").await;
    take(&server, "profile_grown").await;
    say(&mut ann, "hi", json!({"name": "Ann", "color": "gray"})).await;
    take(&server, "profile_1").await;
    say(&mut ann, "hi", json!({"name": "Ann", "messages": 2})).await;
    say(&mut ann, "name Bob", json!({"name": "Bob", "messages": 3})).await;
    take(&server, "profile_grown").await;
    say(&mut ann, "hi", json!({"name": "Bob", "color": "gray"})).await;
    assert_eq!((counted(&server), server.metrics().faults.get()), ((0, 0, 0), 0));
}

#[tokio::test]
async fn l3_a_state_that_does_not_fit_closes_with_1012_and_is_counted() {
    let server = profiles("", AT_ONCE);
    let mut ann = named(&server, "Ann").await;
    let mut bob = server.connect("/ws").await;
    promote(&server, "profile_apart").await;
    ann.send("hi").await;
    ann.expect_close(1012, "state does not fit").await;
    say(&mut bob, "hi", json!(["hi"])).await;
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert_eq!((fault.field("cause"), fault.field("event"), fault.field("generation")), ("state", "on-message", "2"));
    assert!(fault.message.contains("\"handler\" does not fit"), "{fault}");
    assert!(fault.field("printed").contains("the stored state does not fit"), "{fault}");
    server.logged(|record| record.message.starts_with("not told of the end")).await;
    assert_eq!((counted(&server), server.metrics().faults.get()), ((1, 0, 0), 0), "its end is not counted again");
}

#[tokio::test]
async fn l3_a_state_that_does_not_fit_starts_empty_under_reset() {
    let server = profiles(RESET, AT_ONCE);
    let mut ann = named(&server, "Ann").await;
    promote(&server, "profile_apart").await;
    say(&mut ann, "hi", json!(["hi"])).await;
    say(&mut ann, "again", json!(["hi", "again"])).await;
    assert_eq!(carried(&server), (0, 0, 0, 1));
    let record = server.logged(|record| record.message.starts_with("the state starts empty")).await;
    assert_eq!((record.level, record.field("plugin")), (Level::DEBUG, "profiles"));
    assert_eq!((counted(&server), server.metrics().faults.get()), ((1, 0, 0), 0));
}

#[tokio::test]
async fn l3_the_end_of_a_connection_is_told_under_reset_too() {
    let server = profiles(RESET, AT_ONCE);
    let mut ann = named(&server, "Unfit").await;
    promote(&server, "profile_moved").await;
    ann.close(1000, "bye").await;
    ann.expect_close(1000, "bye").await;
    server.until("the end is told", |server| server.metrics().connections.get() == 0).await;
    server.logged(|record| record.message.starts_with("the state starts empty")).await;
    assert!(!server.log().records().iter().any(|record| record.message.starts_with("guest fault")));
}

#[tokio::test]
async fn l3_a_state_that_does_not_fit_a_young_build_is_read_by_the_one_before() {
    let server = profiles(RESET, "");
    let mut ann = named(&server, "Ann").await;
    take(&server, "profile_apart").await;
    let mut bob = server.connect("/ws").await;
    say(&mut bob, "hi", json!(["hi"])).await;
    for messages in 2..5 {
        say(&mut ann, "hi", json!({"name": "Ann", "messages": messages})).await;
    }
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert_eq!((fault.field("cause"), fault.field("generation")), ("state", "2"));
    assert_eq!((counted(&server), server.metrics().events_again.get()), ((3, 0, 0), 3));
}

#[tokio::test]
async fn l3_state_is_migrated_once_for_each_connection() {
    let server = profiles("", "");
    let mut ann = named(&server, "Ann Lee").await;
    let mut bob = named(&server, "Bob").await;
    let mut new = server.connect("/ws").await;
    take(&server, "profile_moved").await;
    assert_eq!(migrations(&server), 0, "no connection is migrated before its next event");
    for _ in 0..3 {
        say(&mut ann, "hi", json!({"first": "Ann", "last": "Lee"})).await;
        say(&mut new, "hi", json!({"first": "", "last": ""})).await;
    }
    assert_eq!((migrations(&server), counted(&server)), (1, (0, 1, 0)));
    assert_eq!(carried(&server), (1, 1, 0, 0));
    say(&mut bob, "name Bob Lee", json!({"first": "Bob", "last": "Lee"})).await;
    say(&mut bob, "hi", json!({"first": "Bob", "last": "Lee"})).await;
    assert_eq!((migrations(&server), counted(&server)), (2, (0, 2, 0)));
    assert_eq!(carried(&server), (1, 2, 0, 0));
}

#[tokio::test]
async fn l3_a_migration_is_undone_with_its_event() {
    let server = profiles("", "");
    let mut ann = named(&server, "Ann Lee").await;
    take(&server, "profile_moved").await;
    ann.send("trap").await;
    let told: serde_json::Value = serde_json::from_str(&ann.text().await).expect("it is JSON");
    assert_eq!(told, json!({"name": "Ann Lee", "messages": 2}), "the build before took the event");
    assert_eq!((migrations(&server), counted(&server)), (1, (0, 1, 0)));
}

/// That a connection of this name cannot be migrated: closed, and with `reset`, started empty.
async fn unfit(name: &str, limits: &str, why: &str) {
    let limits = &format!("{AT_ONCE}\n{limits}");
    let server = profiles("", limits);
    let mut ann = named(&server, name).await;
    promote(&server, "profile_moved").await;
    ann.send("hi").await;
    ann.expect_close(1012, "state does not fit").await;
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert_eq!((fault.field("cause"), fault.field("event")), ("state", "migrate"));
    assert!(format!("{} {}", fault.message, fault.field("printed")).contains(why), "{fault}");
    assert_eq!(counted(&server), (1, 0, 0));
    let server = profiles(RESET, limits);
    let mut ann = named(&server, name).await;
    promote(&server, "profile_moved").await;
    say(&mut ann, "hi", json!({"first": "", "last": ""})).await;
    say(&mut ann, "name Ann Lee", json!({"first": "Ann", "last": "Lee"})).await;
    assert_eq!((migrations(&server), counted(&server)), (1, (1, 0, 0)));
}

#[tokio::test]
async fn l3_a_migration_that_refuses() {
    unfit("Unfit", "", "nobody has this name").await;
}

#[tokio::test]
async fn l3_a_migration_that_traps() {
    unfit("Trap", "", "this name is too much").await;
}

#[tokio::test]
async fn l3_a_migration_that_never_ends() {
    unfit("Endless", "event-cpu-ms = 100", "it ran for more than 100 ms").await;
}

#[tokio::test]
async fn l3_a_migration_that_makes_too_much() {
    unfit("Large", "", "takes at most 16384 bytes").await;
}

#[tokio::test]
async fn l3_while_a_build_is_young_a_migration_that_fails_leaves_the_event_to_the_build_before() {
    for (name, why) in [("Unfit", "nobody has"), ("Trap", "is too much"), ("Endless", "ran for more than 100 ms")] {
        let server = profiles("", "event-cpu-ms = 100");
        let mut ann = named(&server, name).await;
        take(&server, "profile_moved").await;
        say(&mut ann, "hi", json!({"name": name, "messages": 2})).await;
        let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
        assert!(format!("{} {}", fault.message, fault.field("printed")).contains(why), "{fault}");
        say(&mut ann, "hi", json!({"name": name, "messages": 3})).await;
    }
}

#[tokio::test]
async fn l3_a_build_that_cannot_say_its_version_is_not_taken() {
    for (version, why) in [("trap", "no version today"), ("endless", "it ran for more than 200 ms")] {
        let server = profiles(&format!("config = {{ version = '{version}' }}"), "event-cpu-ms = 200");
        let mut ann = named(&server, "Ann").await;
        server.replace("profiles", "bad_version");
        let error = server.reload("profiles").await.expect_err("it cannot say its version");
        assert!(matches!(error, LoadError::Start(..)) && error.to_string().contains(why), "{error}");
        say(&mut ann, "hi", json!({"name": "Ann", "messages": 2})).await;
    }
}

#[tokio::test]
async fn l9_an_event_that_is_run_again_on_the_build_before_finds_the_state_of_before() {
    let server = profiles("", "");
    let mut ann = named(&server, "Ann Lee").await;
    take(&server, "profile_moved").await;
    say(&mut ann, "hi", json!({"first": "Ann", "last": "Lee"})).await;
    ann.send("trap").await;
    let told: serde_json::Value = serde_json::from_str(&ann.text().await).expect("it is JSON");
    assert_eq!(told, json!({"name": "Ann Lee", "messages": 2}), "it found what was before");
    say(&mut ann, "hi", json!({"first": "Ann", "last": "Lee"})).await;
    assert_eq!(
        (migrations(&server), counted(&server)),
        (2, (0, 2, 1)),
        "and what the build before wrote is migrated once more"
    );
}

#[tokio::test]
async fn l9_a_build_that_is_gone_back_to_finds_the_state_of_before() {
    let server = profiles("", "");
    let mut ann = named(&server, "Ann Lee").await;
    let mut bob = named(&server, "Bob").await;
    let mut cid = named(&server, "Cid").await;
    take(&server, "profile_moved").await;
    say(&mut ann, "name Eve Lee", json!({"first": "Eve", "last": "Lee"})).await;
    say(&mut bob, "hi", json!({"first": "Bob", "last": ""})).await;
    roll_back(&server);
    say(&mut ann, "hi", json!({"name": "Ann Lee", "messages": 2})).await;
    say(&mut ann, "hi", json!({"name": "Ann Lee", "messages": 3})).await;
    say(&mut bob, "hi", json!({"name": "Bob", "messages": 2})).await;
    say(&mut cid, "hi", json!({"name": "Cid", "messages": 2})).await;
    assert_eq!(counted(&server), (0, 2, 2), "Cid was never migrated");
    assert_eq!(carried(&server), (0, 0, 2, 0));
    let lost = |record: &Record| record.message.contains("what was stored since is lost");
    let record = server.logged(lost).await;
    assert_eq!((record.level, record.field("plugin"), record.field("generation")), (Level::WARN, "profiles", "1"));
    let told = server.log().records().iter().filter(|record| lost(record)).count();
    assert_eq!(told, 1, "once for all connections");
}

#[tokio::test]
async fn l9_the_build_before_as_a_new_file_finds_it_too() {
    let server = profiles("", "");
    let mut ann = named(&server, "Ann Lee").await;
    take(&server, "profile_moved").await;
    say(&mut ann, "name Eve Lee", json!({"first": "Eve", "last": "Lee"})).await;
    take(&server, "profile_1").await;
    say(&mut ann, "hi", json!({"name": "Ann Lee", "messages": 2})).await;
    take(&server, "profile_moved").await;
    say(&mut ann, "hi", json!({"first": "Ann", "last": "Lee"})).await;
    assert_eq!(counted(&server), (0, 2, 1));
}

#[tokio::test]
async fn l9_after_the_promotion_what_was_before_is_gone() {
    let server = profiles("", AT_ONCE);
    let mut ann = named(&server, "Ann Lee").await;
    promote(&server, "profile_moved").await;
    say(&mut ann, "hi", json!({"first": "Ann", "last": "Lee"})).await;
    say(&mut ann, "hi", json!({"first": "Ann", "last": "Lee"})).await;
    roll_back(&server);
    ann.send("hi").await;
    ann.expect_close(1012, "state does not fit").await;
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert!(fault.message.contains("this build exports no `migration`"), "{fault}");
    assert_eq!(counted(&server), (1, 1, 0));
}
