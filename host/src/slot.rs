//! Counting what there are only so many of: connections of a route or a tenant, live instances.
//!
//! A counter belongs to whoever has the limit, is shared by all workers, and may go on under another limit. What is taken of
//! it is a guard, so that it comes back however its holder ends.
//! Invariant: never are more taken than the limit of that moment allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many slots are taken.
pub type Taken = AtomicUsize;

/// One taken slot, given back when it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Taken>);

impl Slot {
    /// Takes one more, if fewer than `most` are taken.
    pub fn take(taken: &Arc<Taken>, most: usize) -> Option<Self> {
        let one_more = |taken| (taken < most).then_some(taken + 1);
        let before = taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more);
        before.ok().map(|_| Self(taken.clone()))
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

    #[test]
    fn threads_that_race_never_take_more_than_there_are() {
        let (taken, held) = (Arc::<Taken>::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let Some(_slot) = Slot::take(&taken, 2) else { continue };
                        assert!(held.fetch_add(1, Ordering::SeqCst) < 2, "a third was let in");
                        held.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(taken.load(Ordering::SeqCst), 0);
    }
}
