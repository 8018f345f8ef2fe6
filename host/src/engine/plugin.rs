//! A plugin: a name, and the generations that it has had.
//!
//! The current generation is one atomic pointer that workers read at each lease, so a swap is one step, and an event
//! that runs finishes on the generation that it began on.
//! Invariant: a plugin always has a current generation; a rejected one is never current again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::generation::{Generation, Trial};

/// One plugin of the server.
pub struct Plugin {
    name: Arc<str>,
    current: ArcSwap<Generation>,
    past: Mutex<Past>,
    numbers: AtomicU64,
    /// The number of the current generation, for those who have to notice a change by themselves.
    changes: watch::Sender<u64>,
}

/// What came before the current generation.
#[derive(Default)]
struct Past {
    /// What takes over again if the current one's first event faults.
    before: Option<Arc<Generation>>,
    /// The generation that was rejected last.
    rejected: Option<Arc<Generation>>,
}

impl Plugin {
    /// A plugin with its first generation.
    pub fn new(name: Arc<str>, first: Generation) -> Self {
        let number = first.identity.generation;
        let (numbers, changes) = (AtomicU64::new(number + 1), watch::Sender::new(number));
        Self { name, current: ArcSwap::from_pointee(first), past: Mutex::default(), numbers, changes }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The generation that takes the next event.
    pub fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// Tells when the current generation is another one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The number for the next generation.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a generation the current one. The one before stays at hand, unless no event has shown yet that it works.
    pub fn swap(&self, next: Arc<Generation>) {
        let mut past = self.lock();
        let before = self.set(next);
        if past.before.is_none() || before.trial() == Trial::Proven {
            past.before = Some(before);
        }
    }

    /// Called when this generation faulted: whether the event can be run again, on another generation. On its very first
    /// event a new generation is rejected, and the one before takes over. Other events of it that ran at the same time are
    /// run again as well.
    pub fn fall_back(&self, number: u64) -> bool {
        let mut past = self.lock();
        let current = self.current.load_full();
        if current.identity.generation != number {
            return past.rejected.as_ref().is_some_and(|rejected| rejected.identity.generation == number);
        }
        if past.before.is_none() || !current.settle(Trial::Rejected) {
            return false;
        }
        past.before.take().into_iter().for_each(|before| drop(self.set(before)));
        past.rejected = Some(current);
        true
    }

    /// Whether this content was rejected last; known here before the archive has written it down.
    pub fn has_rejected(&self, hash: &str) -> bool {
        self.lock().rejected.as_ref().is_some_and(|rejected| rejected.hash == hash)
    }

    /// Makes a generation the current one; gives the one before.
    fn set(&self, next: Arc<Generation>) -> Arc<Generation> {
        let number = next.identity.generation;
        let before = self.current.swap(next);
        self.changes.send_replace(number);
        before
    }

    fn lock(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
