//! The slots of a route: how many connections it has, and room for one more or not.
//!
//! One counter for all workers. A slot is taken before any guest is asked and given back when the last guest has
//! heard of the end; see `server/upgrade`.
//! Invariant: never are more slots taken than there are, and each comes back however its connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{CapacityConfig, WhenFull};

/// How many slots of a route are taken: one counter for as long as a route of this name is configured or has connections.
pub type Taken = AtomicUsize;

/// All slots of one route under one configuration.
#[derive(Debug)]
pub struct Capacity {
    /// None for as many as come; they are counted all the same, for a configuration that sets a limit later.
    limit: Option<CapacityConfig>,
    /// More than the limit only where it was lowered under open connections.
    taken: Arc<Taken>,
}

/// One taken slot, given back when it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Taken>);

impl Capacity {
    /// The slots that this counter counts.
    pub fn new(limit: Option<CapacityConfig>, taken: Arc<Taken>) -> Self {
        Self { limit, taken }
    }

    /// Takes a slot; where none is free, the error says what to tell the client.
    pub fn take(&self) -> Result<Slot, WhenFull> {
        let most = self.limit.as_ref().map_or(usize::MAX, |limit| limit.connections);
        let one_more = |taken| (taken < most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more);
        let when_full = || self.limit.as_ref().map(|limit| limit.when_full.clone()).unwrap_or_default();
        taken.map(|_| Slot(self.taken.clone())).map_err(|_| when_full())
    }

    /// The counter.
    pub fn taken(&self) -> &Arc<Taken> {
        &self.taken
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(connections: usize) -> Capacity {
        limited(connections, Arc::default())
    }

    fn limited(connections: usize, taken: Arc<Taken>) -> Capacity {
        Capacity::new(Some(CapacityConfig { connections, when_full: WhenFull::default() }), taken)
    }

    #[test]
    fn a_slot_comes_back_when_it_is_dropped() {
        let capacity = capacity(2);
        let first = capacity.take().expect("one is free");
        let _second = capacity.take().expect("one is free");
        assert_eq!(capacity.take().err(), Some(WhenFull::default()));
        drop(first);
        let _third = capacity.take().expect("one came back");
        assert!(capacity.take().is_err());
    }

    #[test]
    fn what_is_taken_counts_under_the_next_limit_too() {
        let unlimited = Capacity::new(None, Arc::default());
        let mut open = vec![unlimited.take().expect("as many as come"), unlimited.take().expect("as many as come")];
        let limited = limited(1, unlimited.taken().clone());
        for _ in 0..2 {
            assert!(limited.take().is_err());
            open.pop();
        }
        assert!(limited.take().is_ok());
    }

    #[test]
    fn threads_that_race_never_take_more_than_there_are() {
        let (capacity, held) = (capacity(2), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let Ok(_slot) = capacity.take() else { continue };
                        assert!(held.fetch_add(1, Ordering::SeqCst) < 2, "a third was let in");
                        held.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(capacity.taken.load(Ordering::SeqCst), 0);
    }
}
