//! A plugin: a name, and the generations that it has had.
//!
//! The current generation is one atomic pointer that workers read at each lease, so a swap is one step, and an event
//! that runs finishes on the generation that it began on.
//! Invariant: a plugin always has a current generation; a rejected one is never current again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::generation::{Generation, Trial};

/// One plugin of the server.
pub struct Plugin {
    name: Arc<str>,
    current: ArcSwap<Generation>,
    /// What takes over again if the current one's first event faults.
    previous: Mutex<Option<Arc<Generation>>>,
    numbers: AtomicU64,
}

impl Plugin {
    /// A plugin with its first generation.
    pub fn new(name: Arc<str>, first: Generation) -> Self {
        let numbers = AtomicU64::new(first.identity.generation + 1);
        Self { name, current: ArcSwap::from_pointee(first), previous: Mutex::default(), numbers }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The generation that takes the next event.
    pub fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// The number for the next generation.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a generation the current one. The one before stays at hand.
    pub fn swap(&self, next: Arc<Generation>) {
        let mut previous = self.lock();
        *previous = Some(self.current.swap(next));
    }

    /// Called when this generation faulted: whether the event can be run again, on another generation. On its very first
    /// event a new generation is rejected, and the one before takes over.
    pub fn fall_back(&self, number: u64) -> bool {
        let mut previous = self.lock();
        let current = self.current.load_full();
        if current.identity.generation != number {
            // Another event of the same generation faulted before this one.
            return previous.as_ref().is_some_and(|last| is_rejected(last, number));
        }
        let Some(before) = previous.clone() else { return false };
        if before.trial() == Trial::Rejected || !current.settle(Trial::Rejected) {
            return false;
        }
        self.current.store(before);
        *previous = Some(current);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Generation>>> {
        self.previous.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_rejected(generation: &Generation, number: u64) -> bool {
    generation.identity.generation == number && generation.trial() == Trial::Rejected
}
