//! The acceptor: takes sockets from the listeners and hands each to the worker with the fewest.
//!
//! A thread of its own that does nothing else. Who comes faster than is accepted waits in the kernel's queue, which costs the
//! server nothing; a refusal would cost a socket and a worker's time, and bring the client back sooner. Out of descriptors, it
//! waits instead of spinning; what is open stays.
//! Invariant: a socket belongs to one worker from here to its end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::listener::{Accepted, Listener, Listening, Socket};
use super::worker::Handle;
use super::{Shared, worker};
use crate::config::ListenConfig;
use crate::engine::Abilities;
use crate::hub::inbox::Received;
use crate::limits::Limits;
use crate::metrics::Failure;
use crate::tenants::rates::Flow;

/// How long accepting pauses when the system has no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);
/// So long without a failure, and a shortage is over.
const OVER: Duration = Duration::from_secs(10);
/// Between two questions of the system to a silent peer.
const PROBES: Duration = Duration::from_secs(10);
/// How many of those that wait in the kernel's queue are taken when the server stops.
const MOST_WAITING: usize = 1024;

/// The running server.
pub struct Server {
    shared: Arc<Shared>,
    places: Vec<ListenConfig>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the workers, one for each inbox, and begins to accept.
    pub fn start(shared: Arc<Shared>, listeners: Vec<Listener>, inboxes: Vec<Received>) -> std::io::Result<Self> {
        let places = listeners.iter().map(Listener::place).collect();
        let workers = inboxes.into_iter().enumerate();
        let workers = workers.map(|(index, inbox)| worker::start(shared.clone(), index, inbox));
        let workers = workers.collect::<std::io::Result<Vec<_>>>()?;
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new().name("acceptor".into()).spawn({
            let shared = shared.clone();
            move || tracing::dispatcher::with_default(&log, || run(&shared, listeners, workers))
        })?;
        Ok(Self { shared, places, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn places(&self) -> &[ListenConfig] {
        &self.places
    }

    /// Takes no more connections, closes those that are open, and waits for their end.
    pub fn stop(&mut self) {
        self.shared.succession.close();
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

fn run(shared: &Shared, listeners: Vec<Listener>, mut workers: Vec<Handle>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made where a thread could");
    let mut acceptor = Acceptor { shared, workers: &workers, rate: Flow::default(), shortage: None };
    let (mut serving, mut stopping) = (shared.serving.subscribe(), shared.stopping.subscribe());
    let listeners = runtime.block_on(async {
        let mut listening = Listening::new(listeners).expect("what is bound can be watched");
        let accepting = async {
            // Until the services have started, the kernel's queue holds whoever comes.
            if serving.wait_for(|serving| *serving).await.is_ok() {
                acceptor.accept(&mut listening).await;
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        listening.into_listeners()
    });
    if shared.succession.has_begun() {
        // Who waits in the kernel's queues waits for the process that has them now.
        drop(listeners);
    } else {
        listeners.for_each(|listener| take_waiting(&listener, &workers));
    }
    workers.iter_mut().for_each(Handle::join);
}

/// Accepts sockets as fast as it may.
struct Acceptor<'a> {
    shared: &'a Shared,
    workers: &'a [Handle],
    rate: Flow,
    shortage: Option<Shortage>,
}

/// A time in which no socket could be accepted.
struct Shortage {
    /// When the last attempt failed.
    last: Instant,
    attempts: u64,
}

impl Acceptor<'_> {
    async fn accept(&mut self, listening: &mut Listening) {
        loop {
            match listening.accept().await {
                Ok(accepted) => {
                    self.note_accepted();
                    self.pay().await;
                    if let Socket::Tcp(socket) = &accepted.socket {
                        set_patience(socket, &self.abilities().limits());
                    }
                    hand_over(accepted, self.workers);
                }
                Err(error) if is_of_one_socket(&error) => {}
                Err(error) => {
                    self.note_failed(&error);
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Waits until one more may be accepted.
    async fn pay(&self) {
        let abilities = self.abilities();
        self.rate.change(abilities.limits().accepts, 0);
        if let Some(wait) = self.rate.take(0, &abilities.clock) {
            abilities.metrics.accept_waits.inc();
            abilities.clock.sleep_until(wait.until).await;
        }
    }

    /// Says once what is wrong, and again only after it was over: each connection that ends lets another one in, and that is no
    /// end of the shortage yet.
    fn note_failed(&mut self, error: &std::io::Error) {
        self.abilities().metrics.count(Failure::NoSocket);
        let shortage = self.shortage.get_or_insert_with(|| {
            let whose = Failure::NoSocket.whose();
            tracing::warn!(
                whose,
                "no connection can be accepted for the moment: {error}; open ones go on, others wait. \
                 If it is the descriptors, raise the limit (`ulimit -n`, `LimitNOFILE`) or lower `connections`"
            );
            Shortage { last: Instant::now(), attempts: 0 }
        });
        shortage.attempts += 1;
        shortage.last = Instant::now();
    }

    fn note_accepted(&mut self) {
        let over = |shortage: &mut Shortage| shortage.last.elapsed() > OVER;
        if let Some(shortage) = self.shortage.take_if(over) {
            tracing::info!("connections are accepted again, after {} attempts that failed", shortage.attempts);
        }
    }

    fn abilities(&self) -> &Abilities {
        self.shared.registry.engine().abilities()
    }
}

/// How long the system waits for a peer that is silent, or does not answer. A socket that cannot be told so waits longer.
fn set_patience(socket: &std::net::TcpStream, limits: &Limits) {
    let (socket, ms) = (SockRef::from(socket), Duration::from_millis);
    if limits.tcp_keepalive_ms > 0 {
        // At least a second, since the system counts in seconds.
        let silence = ms(limits.tcp_keepalive_ms).max(Duration::from_secs(1));
        let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(PROBES));
    }
    if limits.tcp_user_timeout_ms > 0 {
        let _ = socket.set_tcp_user_timeout(Some(ms(limits.tcp_user_timeout_ms)));
    }
}

/// Takes those that the kernel holds when the server stops, so that they are told to come again; else they would be reset.
fn take_waiting(listener: &Listener, workers: &[Handle]) {
    listener.remove();
    std::iter::from_fn(|| listener.take_waiting()).take(MOST_WAITING).for_each(|socket| hand_over(socket, workers));
}

/// Such an error concerns a client that is gone already.
fn is_of_one_socket(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn hand_over(accepted: Accepted, workers: &[Handle]) {
    if let Socket::Tcp(socket) = &accepted.socket {
        // Small messages go out at once; a socket that cannot do so is slower and no worse.
        let _ = socket.set_nodelay(true);
    }
    let least = workers.iter().min_by_key(|worker| worker.load());
    if !least.is_some_and(|worker| worker.hand_over(accepted)) {
        tracing::warn!("a connection was dropped, because too many wait for their worker");
    }
}
