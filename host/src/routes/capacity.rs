//! The slots of a route: how many connections it has, and room for one more or not.
//!
//! One counter for all workers. A slot is taken before any guest is asked and given back when the last guest has
//! heard of the end; see `server/upgrade`.
//! Invariant: never are more slots taken than there are, and each comes back however its connection ends.

use std::sync::Arc;

use crate::config::{CapacityConfig, WhenFull};
use crate::slot::{Slot, Taken};

/// All slots of one route under one configuration.
#[derive(Debug)]
pub struct Capacity {
    /// None for as many as come; they are counted all the same, for a configuration that sets a limit later.
    limit: Option<CapacityConfig>,
    /// One for as long as a route of this name is configured or has connections. More than the limit only where that was
    /// lowered under open connections.
    taken: Arc<Taken>,
}

impl Capacity {
    /// The slots that this counter counts.
    pub fn new(limit: Option<CapacityConfig>, taken: Arc<Taken>) -> Self {
        Self { limit, taken }
    }

    /// Takes a slot; where none is free, the error says what to tell the client.
    pub fn take(&self) -> Result<Slot, WhenFull> {
        let most = self.limit.as_ref().map_or(usize::MAX, |limit| limit.connections);
        let when_full = || self.limit.as_ref().map(|limit| limit.when_full.clone()).unwrap_or_default();
        Slot::take(&self.taken, most).ok_or_else(when_full)
    }

    /// The counter.
    pub fn taken(&self) -> &Arc<Taken> {
        &self.taken
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
}
