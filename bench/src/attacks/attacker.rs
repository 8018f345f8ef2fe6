//! A thread that attacks until it is told to stop, and what came of it so far.
//!
//! It shares the generator's core, since the other one is the server's, and has what the generator leaves of it: whoever
//! measures comes first.
//! Invariant: it has ended when its [`Attacker`] is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// The least that there is.
const PRIORITY: i32 = 19;

/// How often something happened since the attack began.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    /// Attacks that a guest ran, to whatever end.
    pub events: u64,
    /// Handshakes that were refused before a guest ran.
    pub turned_away: u64,
}

/// What the thread and its owner tell each other.
#[derive(Default)]
pub struct Progress {
    over: AtomicBool,
    events: AtomicU64,
    turned_away: AtomicU64,
}

impl Progress {
    /// Whether it is to stop.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub fn note_events(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    pub fn note_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread; it ends when this is dropped.
pub struct Attacker {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Attacks on a thread of this name until it is over.
    pub fn start(name: &str, attack: impl FnOnce(Arc<Progress>) + Send + 'static) -> Result<Self> {
        let progress = Arc::<Progress>::default();
        let there = progress.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            // The priority is a thread's on Linux. Where it cannot be lowered, the generator's delays say so.
            let _ = rustix::process::nice(PRIORITY);
            attack(there);
        });
        Ok(Self { progress, thread: Some(thread.with_context(|| format!("starting the thread `{name}`"))?) })
    }

    /// What came of it so far.
    pub fn tally(&self) -> Tally {
        let Progress { events, turned_away, .. } = &*self.progress;
        Tally { events: events.load(Ordering::Relaxed), turned_away: turned_away.load(Ordering::Relaxed) }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.progress.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panicked, and has said so.
            let _ = thread.join();
        }
    }
}
