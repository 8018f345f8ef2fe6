//! Hostile plugins, and what all tests of them share: a tenant that attacks, and a well-behaved one on the same worker.
//!
//! Each attack runs in a process of its own, so that what it takes of the memory is its own; there the well-behaved tenant
//! goes on asking until the attack is over, and must get every answer in its order. The attacks lie in
//! `tests/guests/hostile`; here are those that only work, and those on memory. The table of all is in `SECURITY.md`.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use futures_util::future::join;
use switchboard_harness::{Client, Reuse, Setup, TestServer};

use crate::fixtures::{components, setup};
use crate::hostile_bytes::{LONGEST_NAME, attack, endless_recursion};

/// Set in the process of one attack.
const ALONE: &str = "SWITCHBOARD_TEST_ALONE";
/// The answers that the well-behaved tenant gets at least.
const ANSWERS: u32 = 20;
const MIB: usize = 1024 * 1024;
/// How much more memory the process may take during an attack: what the limits allow a tenant and two messages on their
/// way, the test's own side of them included.
pub const BOUND: usize = 96 * MIB;

/// Runs a test in a process of its own.
pub fn alone(name: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.expect("a runtime can be made").block_on(test);
    }
    // Once for all of them.
    components();
    let this = std::env::current_exe().expect("this program has a path");
    let ran = Command::new(this).args(["--exact", name, "--nocapture"]).env(ALONE, "1").output();
    let ran = ran.expect("this program can be run");
    let (told, failed) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && told.contains("1 passed"), "{told}{failed}");
}

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
    let mut modest = server.connect("/modest/ws").await;
    let over = Cell::new(false);
    let before = begin_peak();
    let attacking = async {
        let outcome = attack.await;
        over.set(true);
        outcome
    };
    let answered = async {
        let mut number = 0;
        while !over.get() || number < ANSWERS {
            answer(&mut modest, number).await;
            number += 1;
        }
    };
    let (outcome, ()) = join(attacking, answered).await;
    let grown = peak().saturating_sub(before);
    assert!(grown <= bound, "the process took {} MiB more", grown / MIB);
    assert_eq!(server.metrics().panics.get(), 0, "the host panicked");
    outcome
}

/// One question of the well-behaved tenant, and its answer.
pub async fn answer(modest: &mut Client, number: u32) {
    modest.send(&format!("send {number}")).await;
    modest.expect_text(&number.to_string()).await;
}

/// Forgets the largest size that this process had; gives its size now, in bytes.
fn begin_peak() -> usize {
    fs::write("/proc/self/clear_refs", "5").expect("a process may do that with itself");
    status("VmRSS:")
}

/// The largest size of this process since then.
fn peak() -> usize {
    status("VmHWM:")
}

/// A size that Linux says of this process, in bytes.
pub fn status(key: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("it has a line of it");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
    kib * 1024
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
