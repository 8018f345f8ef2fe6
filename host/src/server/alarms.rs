//! The alarms of one worker: which connection is to be woken when.
//!
//! One entry for each connection, its earliest; whatever it is for, the connection finds out itself. So a hundred thousand
//! timers and keepalives cost a node of a tree each, and the worker waits for the first of them only.
//! Invariant: a connection has at most one entry, which it removes before it ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::clock::{Clock, Moment};
use crate::hub::mailbox::Mailbox;
use crate::id::ConnectionId;

/// When each connection of a worker is rung.
pub struct Alarms {
    clock: Clock,
    pending: RefCell<BTreeMap<(Moment, ConnectionId), Rc<Mailbox>>>,
    /// Told when the first entry is another one.
    sooner: Notify,
}

impl Alarms {
    /// No alarms yet, on this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, pending: RefCell::default(), sooner: Notify::new() }
    }

    /// Has a connection rung at this moment, if it is not to be rung before.
    pub fn set_before(&self, mailbox: &Rc<Mailbox>, moment: Moment) {
        if mailbox.alarm().is_none_or(|alarm| moment < alarm) {
            self.set(mailbox, Some(moment));
        }
    }

    /// Moves the alarm of a connection to another moment, or takes it away.
    pub fn set(&self, mailbox: &Rc<Mailbox>, to: Option<Moment>) {
        let mut pending = self.pending.borrow_mut();
        if let Some(from) = mailbox.alarm() {
            pending.remove(&(from, mailbox.id()));
        }
        mailbox.note_alarm(to);
        let Some(to) = to else { return };
        let first = pending.first_key_value().is_none_or(|((first, _), _)| to < *first);
        pending.insert((to, mailbox.id()), mailbox.clone());
        if first {
            self.sooner.notify_one();
        }
    }

    /// Rings whoever is due, for as long as the server runs.
    pub async fn serve(&self) {
        loop {
            let first = self.pending.borrow().first_key_value().map(|((first, _), _)| *first);
            match first {
                None => self.sooner.notified().await,
                Some(first) => tokio::select! {
                    () = self.sooner.notified() => {}
                    () = self.clock.sleep_until(first) => self.ring(),
                },
            }
        }
    }

    fn ring(&self) {
        let now = self.clock.now();
        let mut pending = self.pending.borrow_mut();
        while let Some(entry) = pending.first_entry().filter(|entry| entry.key().0 <= now) {
            let mailbox = entry.remove();
            mailbox.note_alarm(None);
            mailbox.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SlowPolicy;
    use crate::hub::mailbox::Bounds;
    use crate::id::{ConnectionIds, TenantId};
    use std::time::Duration;

    fn at(seconds: u64) -> Option<Moment> {
        Some(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn each_connection_is_rung_at_its_time_and_once() {
        let clock = Clock::manual();
        let alarms = Rc::new(Alarms::new(clock.clone()));
        let ids = ConnectionIds::new(0);
        let bounds = Bounds { bytes: 1, messages: 1, slow: SlowPolicy::Close };
        let mailbox = || Mailbox::new(ids.next(), TenantId::UNNAMED, bounds);
        let (ann, bob, cy) = (mailbox(), mailbox(), mailbox());
        let local = tokio::task::LocalSet::new();
        local.spawn_local({
            let alarms = alarms.clone();
            async move { alarms.serve().await }
        });
        let rung = || [&ann, &bob, &cy].map(|mailbox| mailbox.take_ring());
        let settle = || async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        local
            .run_until(async {
                alarms.set(&ann, at(10));
                alarms.set(&bob, at(20));
                alarms.set(&cy, at(5));
                alarms.set(&cy, None);
                settle().await;
                clock.advance(Duration::from_secs(10));
                settle().await;
                assert_eq!(rung(), [true, false, false]);
                for seconds in [30, 15, 16] {
                    alarms.set_before(&bob, Duration::from_secs(seconds));
                }
                settle().await;
                clock.advance(Duration::from_secs(5));
                settle().await;
                assert_eq!(rung(), [false, true, false]);
                clock.advance(Duration::from_secs(100));
                settle().await;
                assert_eq!(rung(), [false, false, false]);
            })
            .await;
    }
}
