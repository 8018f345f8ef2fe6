//! A neighbour: a client on a connection of its own that goes on asking while something is done to the server, and has to get
//! every answer in its order.
//!
//! What is done is done in a process of its own, so that what it takes of the memory is its own.

use std::cell::Cell;
use std::fs;
use std::process::Command;

use futures_util::future::join;
use switchboard_harness::{Client, TestServer};

use crate::fixtures::components;

/// Set in the process of one test.
const ALONE: &str = "SWITCHBOARD_TEST_ALONE";
/// The answers that the neighbour gets at least.
const ANSWERS: u32 = 20;
const MIB: usize = 1024 * 1024;

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

/// Does something to a server, while a neighbour on this path gets its answers; looks that the process took no more memory
/// than `bound` meanwhile, in bytes, the test's own side included. The route has a puppet.
pub async fn beside<T>((server, path): (&TestServer, &str), bound: usize, attack: impl Future<Output = T>) -> T {
    let mut neighbour = server.connect(path).await;
    answer(&mut neighbour, 0).await;
    let over = Cell::new(false);
    let before = begin_peak();
    let attacking = async {
        let outcome = attack.await;
        over.set(true);
        outcome
    };
    let answered = async {
        let mut number = 1;
        while !over.get() || number < ANSWERS {
            answer(&mut neighbour, number).await;
            number += 1;
        }
    };
    let (outcome, ()) = join(attacking, answered).await;
    let grown = peak().saturating_sub(before);
    assert!(grown <= bound, "the process took {} MiB more", grown / MIB);
    assert_eq!(server.metrics().panics.get(), 0, "the host panicked");
    outcome
}

/// One question of a neighbour, and its answer. In bytes, which a puppet gives back and does not log: the log of a test is kept
/// in this process, and a neighbour that asks a hundred thousand times would fill more than the bound with it.
pub async fn answer(neighbour: &mut Client, number: u32) {
    let bytes = number.to_be_bytes().to_vec();
    neighbour.send_binary(bytes.clone()).await;
    neighbour.expect_binary(&bytes).await;
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
