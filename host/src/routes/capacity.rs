//! The slots of a route: how many connections it has, and room for one more or not.
//!
//! One counter for all workers. A slot is taken before any guest is asked and given back when the last guest has
//! heard of the end; see `server/upgrade`.
//! Invariant: never are more slots taken than there are, and each comes back however its connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{CapacityConfig, WhenFull};

/// All slots of one route.
#[derive(Debug)]
pub struct Capacity {
    /// At least 1.
    connections: usize,
    when_full: WhenFull,
    /// Between 0 and `connections`.
    taken: AtomicUsize,
}

/// One taken slot, given back when it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Capacity>);

impl Capacity {
    /// With all slots free.
    pub fn new(config: &CapacityConfig) -> Arc<Self> {
        let when_full = config.when_full.clone();
        Arc::new(Self { connections: config.connections, when_full, taken: AtomicUsize::new(0) })
    }

    /// Takes a slot; where none is free, the error says what to tell the client.
    pub fn take(self: &Arc<Self>) -> Result<Slot, &WhenFull> {
        let one_more = |taken| (taken < self.connections).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more);
        taken.map(|_| Slot(self.clone())).map_err(|_| &self.when_full)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(connections: usize) -> Arc<Capacity> {
        Capacity::new(&CapacityConfig { connections, when_full: WhenFull::default() })
    }

    #[test]
    fn a_slot_comes_back_when_it_is_dropped() {
        let capacity = capacity(2);
        let first = capacity.take().expect("one is free");
        let _second = capacity.take().expect("one is free");
        assert_eq!(capacity.take().err(), Some(&WhenFull::default()));
        drop(first);
        let _third = capacity.take().expect("one came back");
        assert!(capacity.take().is_err());
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
