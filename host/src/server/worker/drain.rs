//! How a worker's connections end when the server stops.
//!
//! The part of [`Worker`] behind its serving. Services stop first, so that their last words reach clients that are there still.
//! Each client is told by a close behind all that waits for it, at a random moment of a short time, so that those that come back
//! at once do not all come at once. Events in hand go on to their end.
//! Invariant: it ends, also where a client or a guest does not; guests hear of every connection first, if they listen.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Worker;
use crate::hub::mailbox::Mailbox;
use crate::message::close;
use crate::services::Services;

/// How often a worker that drains looks whether all its sockets are gone.
const LOOK: Duration = Duration::from_millis(20);
/// The time that one connection adds to that in which all are told, up to the limit: a few clients can all come back at once.
const EACH: Duration = Duration::from_millis(1);

/// The longest drain where a process waits to take over, and with it all clients that come meanwhile.
const WHILE_OTHERS_WAIT: Duration = Duration::from_secs(5);

impl Worker {
    /// Stops the services, tells all clients, waits for their connections to end, and cuts those that do not.
    pub(super) async fn drain(&self, services: Option<Services>) {
        let (mut limit, grace) = (self.limits().drain(), self.limits().close());
        if self.shared.succession.has_begun() {
            limit = limit.min(WHILE_OTHERS_WAIT);
        }
        let ending = async {
            if timeout(limit / 2, self.stop_services(services)).await.is_err() {
                tracing::warn!("services did not stop within half of `drain-ms`");
            }
            self.local.work_off_all().await;
            self.tell_all().await;
            self.gone().await;
        };
        if timeout(limit, ending).await.is_ok() {
            return;
        }
        tracing::warn!("{} connections are cut, because they did not end within `drain-ms`", self.open());
        self.cut();
        if timeout(grace, self.gone()).await.is_err() {
            tracing::warn!("{} connections were given up; their guests were not told of the end", self.open());
        }
    }

    /// Waits until connections are cut, because the time for a drain is over.
    pub async fn cutting(&self) {
        // The sender lives as long as the worker.
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }

    /// Whether that is so.
    pub fn is_cutting(&self) -> bool {
        *self.cut.borrow()
    }

    /// The first worker has them all; the others wait for it.
    async fn stop_services(&self, services: Option<Services>) {
        if let Some(services) = services {
            services.stop().await;
            self.shared.serving.send_replace(false);
        }
        // The sender lives as long as the worker.
        let _ = self.shared.serving.subscribe().wait_for(|serving| !serving).await;
    }

    async fn tell_all(&self) {
        let begun = Instant::now();
        for (after, mailbox) in scattered(self.local.mailboxes(), self.limits().drain_spread()) {
            sleep_until(begun + after).await;
            mailbox.close(close::RESTART);
        }
    }

    /// Has each connection look up from what it waits for.
    fn cut(&self) {
        self.cut.send_replace(true);
        self.local.mailboxes().iter().for_each(|mailbox| mailbox.ring());
    }

    async fn gone(&self) {
        while self.open() > 0 {
            sleep(LOOK).await;
        }
    }

    fn open(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

/// Gives each a moment of its own within the time, in the order of these.
fn scattered(mailboxes: Vec<Rc<Mailbox>>, within: Duration) -> Vec<(Duration, Rc<Mailbox>)> {
    let within = within.min(EACH * u32::try_from(mailboxes.len()).unwrap_or(u32::MAX));
    let (random, most) = (RandomState::new(), within.as_micros().max(1) as u64);
    let moment = |mailbox: &Rc<Mailbox>| Duration::from_micros(random.hash_one(mailbox.id()) % most);
    let mut scattered: Vec<_> = mailboxes.into_iter().map(|mailbox| (moment(&mailbox), mailbox)).collect();
    scattered.sort_by_key(|(moment, _)| *moment);
    scattered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SlowPolicy;
    use crate::hub::mailbox::Bounds;
    use crate::id::{ConnectionIds, TenantId};

    fn moments(count: usize, within: u64) -> Vec<Duration> {
        let (ids, bounds) = (ConnectionIds::new(0), Bounds { bytes: 1, messages: 1, slow: SlowPolicy::Close });
        let mailboxes = (0..count).map(|_| Mailbox::new(ids.next(), TenantId::UNNAMED, bounds)).collect();
        scattered(mailboxes, Duration::from_millis(within)).into_iter().map(|(moment, _)| moment).collect()
    }

    #[test]
    fn clients_are_told_one_after_the_other_all_over_the_time_for_it() {
        let moments = moments(5000, 1000);
        assert!(moments.is_sorted() && moments.len() == 5000);
        for tenth in 0..10 {
            let (from, to) = (Duration::from_millis(100 * tenth), Duration::from_millis(100 * (tenth + 1)));
            let told = moments.iter().filter(|moment| (from..to).contains(*moment)).count();
            assert!((300..700).contains(&told), "{told} between {from:?} and {to:?}");
        }
    }

    #[test]
    fn a_few_clients_are_told_at_once_and_without_a_spread_all_are() {
        assert!(moments(10, 1000).iter().all(|moment| *moment < Duration::from_millis(10)));
        assert!(moments(5000, 0).iter().all(Duration::is_zero));
        assert!(moments(0, 1000).is_empty());
    }
}
