//! What servers are attacked with by those who only connect: one test for each, beside a neighbour on the same worker.
//!
//! Each says what the attacker is told, that the process does not grow beyond a bound, and that the neighbour goes on getting its
//! answers in order. The attacker is a part of the same process, so it keeps as little as it can. The table of all is in
//! `SECURITY.md`; attacks by plugins are in `hostile`.

mod disguise;
mod floods;
mod frames;
mod handshake;
mod readers;
mod slow;

use std::fs;

use futures_util::future::join_all;
use switchboard_harness::{Client, Reuse, Setup, TestServer};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::fixtures::setup;
use crate::neighbour;

/// How much more memory the process may take during an attack: some connections, their buffers, and a message or two.
const BOUND: usize = 24 * 1024 * 1024;

/// A server with these limits, one worker and a puppet on `/ws`.
fn serving(limits: &str) -> TestServer {
    within(limits, "").start()
}

/// The same with more in its configuration, still to be started.
fn within(limits: &str, more: &str) -> Setup {
    let toml = format!(
        "{more}\n[server]\nworkers = 1\n[server.limits]\n{limits}\n\
         [plugins.puppet]\npath = 'puppet.wasm'\n[[route]]\npath = '/ws'\nhandler = 'puppet'\n"
    );
    setup(&toml).reuse(Reuse::Always)
}

/// A server that serves one file too, of so many bytes, with its folder.
fn serving_file(limits: &str, size: usize) -> (TestServer, TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let page = folder.path().join("page");
    fs::create_dir_all(&page).expect("a folder can be made");
    for (file, content) in [("page/file.bin", vec![b'x'; size]), ("secret", b"secret".to_vec())] {
        fs::write(folder.path().join(file), content).expect("a file can be written");
    }
    let more = format!("[[static]]\npath = '/'\nfolder = '{}'\n", page.display());
    (within(limits, &more).start(), folder)
}

/// Attacks, while the neighbour gets its answers, and looks how much memory that took.
async fn attacked<T>(server: &TestServer, attack: impl Future<Output = T>) -> T {
    let outcome = neighbour::beside((server, "/ws"), BOUND, attack).await;
    assert_eq!(server.metrics().panics.get(), 0, "the host panicked");
    outcome
}

/// So many connections to the puppet.
async fn crowd(server: &TestServer, size: usize) -> Vec<Client> {
    join_all((0..size).map(|_| server.connect("/ws"))).await
}

/// So many sockets that have not said anything.
async fn sockets(server: &TestServer, size: usize) -> Vec<TcpStream> {
    join_all((0..size).map(|_| server.tcp())).await
}
