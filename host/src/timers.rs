//! The timers of one connection: what its guests asked to be woken for.
//!
//! Few for each connection, so a list is smaller and faster than anything clever; the worker's `server/alarms` holds one
//! entry for each connection, its earliest. Changed by commits only, so a timer of an event that faulted is never set.
//! Invariant: a key is there at most once.

use crate::clock::Moment;

/// Names a timer: two plugins of one chain may use the same token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerKey {
    /// The place in the chain of the plugin that set it, the outermost being 0.
    pub position: usize,
    /// What the plugin calls it.
    pub token: u32,
}

/// The pending timers of one connection.
#[derive(Default, Debug)]
pub struct Timers {
    pending: Vec<(Moment, TimerKey)>,
}

impl Timers {
    /// Sets a timer, or moves it.
    pub fn set(&mut self, key: TimerKey, due: Moment) {
        self.cancel(key);
        self.pending.push((due, key));
    }

    /// Takes a timer back; without one, nothing happens.
    pub fn cancel(&mut self, key: TimerKey) {
        self.pending.retain(|(_, pending)| *pending != key);
    }

    /// When the earliest is due.
    pub fn next(&self) -> Option<Moment> {
        self.pending.iter().map(|(due, _)| *due).min()
    }

    /// How many are due.
    pub fn count_due(&self, now: Moment) -> usize {
        self.pending.iter().filter(|(due, _)| *due <= now).count()
    }

    /// Takes out the earliest of those that are due.
    pub fn take_due(&mut self, now: Moment) -> Option<TimerKey> {
        let due = self.pending.iter().enumerate().filter(|(_, (due, _))| *due <= now);
        let (index, _) = due.min_by_key(|(_, (due, _))| *due)?;
        // Not swapped out, so that timers of one moment come in the order in which they were set.
        Some(self.pending.remove(index).1)
    }

    /// Whether this one is pending.
    pub fn has(&self, key: TimerKey) -> bool {
        self.pending.iter().any(|(_, pending)| *pending == key)
    }

    /// How many are pending.
    pub fn count(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(token: u32) -> TimerKey {
        TimerKey { position: 0, token }
    }

    #[test]
    fn timers_come_in_the_order_of_their_times_and_once() {
        let mut timers = Timers::default();
        for (token, due) in [(1, 30), (2, 10), (3, 10), (4, 99)] {
            timers.set(key(token), Duration::from_secs(due));
        }
        assert_eq!(timers.next(), Some(Duration::from_secs(10)));
        let due: Vec<_> = std::iter::from_fn(|| timers.take_due(Duration::from_secs(30))).collect();
        assert_eq!(due, [key(2), key(3), key(1)]);
        assert_eq!(timers.count(), 1);
    }

    #[test]
    fn a_timer_that_is_set_again_is_moved_and_one_that_is_canceled_is_gone() {
        let mut timers = Timers::default();
        timers.set(key(1), Duration::from_secs(1));
        timers.set(key(1), Duration::from_secs(5));
        timers.set(key(2), Duration::from_secs(1));
        timers.cancel(key(2));
        timers.cancel(key(9));
        assert_eq!(timers.take_due(Duration::from_secs(2)), None);
        assert_eq!(timers.take_due(Duration::from_secs(5)), Some(key(1)));
    }

    #[test]
    fn one_token_of_two_plugins_is_two_timers() {
        let mut timers = Timers::default();
        timers.set(key(1), Duration::from_secs(1));
        timers.set(TimerKey { position: 1, token: 1 }, Duration::from_secs(1));
        assert_eq!(timers.count(), 2);
    }
}
