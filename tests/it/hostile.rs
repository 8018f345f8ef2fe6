//! Hostile plugins, and what all tests of them share: a tenant that attacks, and a well-behaved one on the same worker.
//!
//! Each attack runs beside a neighbour, which is of the well-behaved tenant. The attacks lie in `tests/guests/hostile`; here are
//! those that only work, and those on memory. The table of all is in `SECURITY.md`.

use std::fs;
use std::path::PathBuf;

use switchboard_harness::{Reuse, Setup, TestServer};

use crate::fixtures::setup;
use crate::hostile_bytes::{LONGEST_NAME, attack, endless_recursion};
use crate::neighbour::{self, alone};

const MIB: usize = 1024 * 1024;
/// How much more memory the process may take during an attack: what the limits allow a tenant and two messages on their
/// way, the test's own side of them included.
pub const BOUND: usize = 96 * MIB;

/// A tenant `modest` with a puppet, and a tenant `hostile` with these words in its file, on one worker.
pub fn sharing(hostile: &str) -> Setup {
    sharing_within("", hostile)
}

/// The same with limits of the server.
pub fn sharing_within(limits: &str, hostile: &str) -> Setup {
    let modest = r#"
        [plugins.puppet]
        path = "../puppet.wasm"

        [[room]]
        name = "kept-*"
        keep = 10

        [[route]]
        path = "/ws"
        handler = "puppet"
    "#;
    let server = format!("[server]\nworkers = 1\n[server.limits]\n{limits}");
    setup(&server).tenant("modest", modest).tenant("hostile", hostile).reuse(Reuse::Always)
}

/// The words of a tenant with one plugin on `/ws`: its limits, and what is said of the plugin beside its path.
pub fn with(limits: &str, path: &str, about: &str) -> String {
    format!(
        r#"
        [tenant]
        limits = {{ {limits} }}

        [plugins.hostile]
        path = "{path}"
        {about}

        [[room]]
        name = "kept-*"
        keep = 10

        [[route]]
        path = "/ws"
        handler = "hostile"
        "#
    )
}

/// The same with the component that has most of the attacks.
pub fn hostile(limits: &str) -> String {
    with(limits, "../hostile.wasm", "")
}

/// Attacks, while a well-behaved tenant gets its answers, and looks how much memory that took.
pub async fn beside<T>(server: &TestServer, attack: impl Future<Output = T>) -> T {
    beside_within(BOUND, server, attack).await
}

/// The same, where the limits allow the tenant as much memory as this.
pub async fn beside_within<T>(bound: usize, server: &TestServer, attack: impl Future<Output = T>) -> T {
    neighbour::beside((server, "/modest/ws"), bound, attack).await
}

/// Puts a component where a configuration can name it.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.wasm"));
    fs::write(&file, bytes).expect("a file can be written");
    file
}

/// A server whose hostile tenant has an attack in text.
pub fn attacked_by(name: &str, limits: &str) -> TestServer {
    let file = file(name, &attack(name));
    sharing(&with(limits, &file.display().to_string(), "")).start()
}

/// Sends a message that ends its connection as a fault does.
pub async fn fault(server: &TestServer, message: &str) {
    let mut client = server.connect("/hostile/ws").await;
    client.send(message).await;
    client.expect_close(1011, "internal error").await;
}

/// Loops that end only when the operator lowers the limit, so that all that others get is got meanwhile.
async fn endless(message: &str) {
    let long = "event-cpu-ms = 600000, event-wall-ms = 600000";
    let server = sharing_within(&long.replace(',', "\n"), &hostile(long)).start();
    let mut client = server.connect("/hostile/ws").await;
    client.send("send ready").await;
    client.expect_text("ready").await;
    client.expect_text("send: done").await;
    client.send(message).await;
    beside(&server, async {}).await;
    assert_eq!(server.metrics().faults.get(), 0, "it goes on still");
    server.change_tenant("hostile", &hostile("event-cpu-ms = 10")).await.expect("it is right");
    client.expect_close(1011, "internal error").await;
    assert_eq!(server.metrics().faults_deadline.get(), 1);
}

#[test]
fn an_endless_loop() {
    alone("hostile::an_endless_loop", endless("loop alone"));
}

#[test]
fn an_endless_loop_of_host_calls() {
    alone("hostile::an_endless_loop_of_host_calls", endless("loop calls"));
}

#[test]
fn an_endless_loop_of_refused_host_calls() {
    alone("hostile::an_endless_loop_of_refused_host_calls", endless("loop refused"));
}

#[test]
fn bulk_operations_over_all_of_the_memory() {
    alone("hostile::bulk_operations_over_all_of_the_memory", async {
        let server = attacked_by("bulk", "");
        beside(&server, async {
            for _ in 0..3 {
                fault(&server, "").await;
            }
        })
        .await;
        assert_eq!((server.metrics().faults_deadline.get(), server.metrics().faults.get()), (3, 3));
    });
}

#[test]
fn recursion_with_a_name_that_fills_the_log() {
    alone("hostile::recursion_with_a_name_that_fills_the_log", async {
        let file = file("recursion", &endless_recursion(LONGEST_NAME));
        let server = sharing(&with("", &file.display().to_string(), "")).start();
        beside(&server, fault(&server, "")).await;
        let fault = server.logged(|record| record.field("cause") == "trap").await;
        assert!(fault.message.contains("call stack exhausted"), "{}", fault.message);
        assert!(fault.field("backtrace").len() <= 20_000, "{}", fault.field("backtrace").len());
    });
}

#[test]
fn as_much_memory_as_there_is() {
    alone("hostile::as_much_memory_as_there_is", async {
        let server = sharing(&hostile("event-cpu-ms = 10000")).start();
        beside(&server, async {
            for _ in 0..5 {
                fault(&server, "memory all").await;
            }
        })
        .await;
        assert_eq!((server.metrics().faults_memory.get(), server.metrics().faults.get()), (5, 5));
    });
}

#[test]
fn memory_that_grows_with_each_event() {
    alone("hostile::memory_that_grows_with_each_event", async {
        let server = sharing(&hostile("event-cpu-ms = 10000")).start();
        let mut client = server.connect("/hostile/ws").await;
        beside(&server, async {
            // A fault throws the instance away, and what it kept; the connection goes with it and the next one begins anew.
            for _ in 0..60 {
                client.send("memory more").await;
                if client.receive().await != switchboard_harness::Received::Text("memory: done".to_owned()) {
                    client = server.connect("/hostile/ws").await;
                }
            }
        })
        .await;
        assert!(server.metrics().faults_memory.get() >= 2);
    });
}

#[test]
fn tables_that_grow() {
    alone("hostile::tables_that_grow", async {
        let server = attacked_by("table", "event-cpu-ms = 10000");
        let mut client = server.connect("/hostile/ws").await;
        beside(&server, async {
            for _ in 0..3 {
                // It traps if it has more elements than it should.
                client.send("").await;
                client.expect_nothing_more().await;
            }
        })
        .await;
        assert_eq!(server.metrics().faults.get(), 0);
    });
}
