//! The acceptor: takes sockets from the listener and hands each to the worker with the fewest.
//!
//! A thread of its own that does nothing else. Out of descriptors, it waits instead of spinning; what is open stays.
//! Invariant: a socket belongs to one worker from here to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;

use super::worker::Handle;
use super::{Shared, worker};
use crate::hub::inbox::Received;

/// How long accepting pauses when the system has no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How many of those that wait in the kernel's queue are taken when the server stops.
const MOST_WAITING: usize = 1024;

/// The running server.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the workers, one for each inbox, and begins to accept.
    pub fn start(
        shared: Arc<Shared>,
        listener: std::net::TcpListener,
        inboxes: Vec<Received>,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let workers = inboxes.into_iter().enumerate();
        let workers = workers.map(|(index, inbox)| worker::start(shared.clone(), index, inbox));
        let workers = workers.collect::<std::io::Result<Vec<_>>>()?;
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new().name("acceptor".into()).spawn({
            let shared = shared.clone();
            move || tracing::dispatcher::with_default(&log, || run(&shared, listener, workers))
        })?;
        Ok(Self { shared, address, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, closes those that are open, and waits for their end.
    pub fn stop(&mut self) {
        self.shared.stopping.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the acceptor panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, listener: std::net::TcpListener, mut workers: Vec<Handle>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made where a thread could");
    let (mut serving, mut stopping) = (shared.serving.subscribe(), shared.stopping.subscribe());
    let listener = runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("the listener is set not to block");
        let accepting = async {
            // Until the services have started, the kernel's queue holds whoever comes.
            if serving.wait_for(|serving| *serving).await.is_ok() {
                accept(&listener, &workers).await;
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        listener.into_std()
    });
    if let Ok(listener) = listener {
        take_waiting(&listener, &workers);
    }
    workers.iter_mut().for_each(Handle::join);
}

async fn accept(listener: &TcpListener, workers: &[Handle]) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => drop(socket.into_std().map(|socket| hand_over(socket, workers))),
            Err(error) if is_of_one_socket(&error) => {}
            Err(error) => {
                tracing::warn!("no connection can be accepted for the moment: {error}");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Takes those that the kernel holds when the server stops, so that they are told to come again; else they would be reset.
fn take_waiting(listener: &std::net::TcpListener, workers: &[Handle]) {
    for (socket, _) in std::iter::from_fn(|| listener.accept().ok()).take(MOST_WAITING) {
        hand_over(socket, workers);
    }
}

/// Such an error concerns a client that is gone already.
fn is_of_one_socket(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn hand_over(socket: std::net::TcpStream, workers: &[Handle]) {
    // Small messages go out at once; a socket that cannot do so is slower and no worse.
    let _ = socket.set_nodelay(true);
    let least = workers.iter().min_by_key(|worker| worker.load());
    if !least.is_some_and(|worker| worker.hand_over(socket)) {
        tracing::warn!("a connection was dropped, because too many wait for their worker");
    }
}
