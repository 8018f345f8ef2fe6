//! Inboxes: how workers reach each other.
//!
//! Each worker has one bounded inbox. Whoever sends mail first takes a permit, waiting where the inbox is full or the
//! tenant's share of it is used up; with the permit in hand, sending never waits, so that it can be done under a
//! room's lock. What arrives is worked off in turns, a mail of each tenant, in order for each; a share comes back when the
//! mail was worked off.
//! Invariants: no lock is held while waiting for a permit; no more than a share lies here of any tenant.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::room::RoomKey;
use crate::event::Place;
use crate::id::{ConnectionId, TenantId};
use crate::message::{CloseFrame, Control, Message};

/// What is in an inbox.
#[derive(Debug)]
pub enum Mail {
    /// A message for the members that the worker has of a room.
    Publish(Arc<Publication>),
    /// A message for one connection.
    Send(ConnectionId, TenantId, Message),
    /// The end of one connection.
    Close(ConnectionId, TenantId, CloseFrame),
    /// A ping or pong for one connection.
    Control(ConnectionId, TenantId, Control),
}

impl Mail {
    /// Whose it is.
    pub fn tenant(&self) -> TenantId {
        match self {
            Self::Publish(publication) => publication.room.tenant,
            Self::Send(_, tenant, _) | Self::Close(_, tenant, _) | Self::Control(_, tenant, _) => *tenant,
        }
    }
}

/// A message on its way to the members of a room, shared by all workers.
#[derive(Debug)]
pub struct Publication {
    /// Which room.
    pub room: RoomKey,
    /// Its place in the room's order, from 1, and in which life of the room.
    pub place: Place,
    /// Whether the room keeps messages, so that guests are told the place.
    pub is_kept: bool,
    /// What the members are sent.
    pub message: Message,
    /// Who is left out, sorted.
    pub exclude: Box<[ConnectionId]>,
}

/// A mail that arrived; dropped when it was worked off.
pub struct Envelope {
    /// What is to be delivered.
    pub mail: Mail,
    /// The last member that a publication went to, where it did not go to all in one go.
    pub reached: Option<ConnectionId>,
    /// Which of all that arrived it is.
    number: u64,
    _share: OwnedSemaphorePermit,
}

/// The sending end of one worker's inbox.
pub struct Inbox {
    queue: mpsc::Sender<Envelope>,
    shares: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
    share: usize,
    waits: Counter,
}

/// The worker's own end.
pub struct Received {
    queue: mpsc::Receiver<Envelope>,
    /// What is not worked off of each tenant. The last line stays when it is empty, so that one tenant alone costs nothing.
    lines: BTreeMap<TenantId, VecDeque<Envelope>>,
    /// How much is in all lines, and how much there ever was.
    waiting: usize,
    arrived: u64,
    /// Whose turn it was last.
    last: TenantId,
}

/// The right to put one mail into an inbox.
pub struct Permit {
    place: mpsc::OwnedPermit<Envelope>,
    share: OwnedSemaphorePermit,
}

/// The worker has stopped, so nothing can reach its connections any more.
#[derive(Debug)]
pub struct Stopped;

impl Inbox {
    /// An inbox of `capacity` mails, of which one tenant may have `share`; `waits` counts who had to wait for room.
    pub fn new(capacity: usize, share: usize, waits: Counter) -> (Self, Received) {
        let (queue, received) = mpsc::channel(capacity);
        (Self { queue, shares: Mutex::default(), share, waits }, Received::new(received))
    }

    /// Waits for room for one mail of the tenant.
    pub async fn permit(&self, tenant: TenantId) -> Result<Permit, Stopped> {
        let shares = self.share_of(tenant);
        if shares.available_permits() == 0 || self.queue.capacity() == 0 {
            self.waits.inc();
        }
        let share = shares.acquire_owned().await.map_err(|_| Stopped)?;
        let place = self.queue.clone().reserve_owned().await.map_err(|_| Stopped)?;
        Ok(Permit { place, share })
    }

    fn share_of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(self.share))).clone()
    }
}

impl Permit {
    /// Puts the mail in; never waits.
    pub fn send(self, mail: Mail) {
        self.place.send(Envelope { mail, reached: None, number: 0, _share: self.share });
    }
}

impl Received {
    fn new(queue: mpsc::Receiver<Envelope>) -> Self {
        let (lines, waiting, arrived, last) = Default::default();
        Self { queue, lines, waiting, arrived, last }
    }

    /// The next mail of the next tenant that has some; none once every sender is gone.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Envelope>> {
        if self.waiting == 0 {
            let Some(first) = ready!(self.queue.poll_recv(cx)) else { return Poll::Ready(None) };
            self.line_up(first);
        }
        self.sort();
        let others = self.lines.range((Excluded(self.last), Unbounded)).chain(&self.lines);
        let next = { others }.find(|(_, line)| !line.is_empty());
        self.last = *next.expect("something waits").0;
        Poll::Ready(self.next_of(self.last, u64::MAX))
    }

    /// What stands for all mail that is there now.
    pub fn arrived(&mut self) -> u64 {
        self.sort();
        self.arrived
    }

    /// Of whom there is mail now.
    pub fn waiting(&mut self) -> Vec<TenantId> {
        self.sort();
        self.lines.keys().copied().collect()
    }

    /// The next mail of a tenant, if it had arrived by then.
    pub fn next_of(&mut self, tenant: TenantId, by: u64) -> Option<Envelope> {
        let line = self.lines.get_mut(&tenant)?;
        let envelope = line.pop_front_if(|envelope| envelope.number <= by)?;
        self.waiting -= 1;
        if line.is_empty() && self.lines.len() > 1 {
            self.lines.remove(&tenant);
        }
        Some(envelope)
    }

    /// Puts a mail back that was not worked off whole; it is the tenant's next one.
    pub fn put_back(&mut self, envelope: Envelope) {
        self.lines.entry(envelope.mail.tenant()).or_default().push_front(envelope);
        self.waiting += 1;
    }

    fn sort(&mut self) {
        while let Ok(envelope) = self.queue.try_recv() {
            self.line_up(envelope);
        }
    }

    fn line_up(&mut self, mut envelope: Envelope) {
        self.arrived += 1;
        envelope.number = self.arrived;
        self.lines.entry(envelope.mail.tenant()).or_default().push_back(envelope);
        self.waiting += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::future::poll_fn;

    fn mail() -> Mail {
        mail_of(TenantId::UNNAMED, 1)
    }

    fn mail_of(tenant: TenantId, number: u64) -> Mail {
        Mail::Control(ConnectionId::from_guest(number), tenant, Control::Ping(Default::default()))
    }

    fn next(received: &mut Received) -> Envelope {
        poll_fn(|cx| received.poll_next(cx)).now_or_never().flatten().expect("there is one")
    }

    fn number(envelope: &Envelope) -> u64 {
        let Mail::Control(to, ..) = &envelope.mail else { panic!("it is a ping") };
        to.get()
    }

    #[tokio::test]
    async fn a_tenant_waits_once_its_share_is_used_up() {
        let waits = Counter::default();
        let (inbox, mut received) = Inbox::new(4, 1, waits.clone());
        inbox.permit(TenantId::UNNAMED).await.expect("the first fits").send(mail());
        assert_eq!(waits.get(), 0);
        assert!(inbox.permit(TenantId::UNNAMED).now_or_never().is_none(), "the share is used up");
        assert_eq!(waits.get(), 1);
        let first = next(&mut received);
        assert!(inbox.permit(TenantId::UNNAMED).now_or_never().is_none(), "it is not worked off yet");
        drop(first);
        assert!(inbox.permit(TenantId::UNNAMED).now_or_never().is_some(), "worked off, it comes back");
    }

    #[tokio::test]
    async fn tenants_take_turns_and_each_keeps_its_order() {
        let (inbox, mut received) = Inbox::new(100, 100, Counter::default());
        let [flood, modest, other] = ["flood", "modest", "other"].map(TenantId::named);
        for (tenant, numbers) in [(flood, 1..5), (modest, 5..7), (other, 7..8)] {
            for number in numbers {
                inbox.permit(tenant).await.expect("it fits").send(mail_of(tenant, number));
            }
        }
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(number(&next(&mut received)));
        }
        assert_eq!(order, [1, 5, 7, 2, 6, 3]);
    }

    #[tokio::test]
    async fn what_came_before_is_worked_off_by_itself_and_what_comes_later_is_not() {
        let (inbox, mut received) = Inbox::new(100, 100, Counter::default());
        let [one, two] = ["one", "two"].map(TenantId::named);
        for (tenant, number) in [(two, 1), (one, 2), (one, 3)] {
            inbox.permit(tenant).await.expect("it fits").send(mail_of(tenant, number));
        }
        let now = received.arrived();
        inbox.permit(one).await.expect("it fits").send(mail_of(one, 4));
        let half_done = received.next_of(one, now).expect("it is there");
        received.put_back(half_done);
        let worked_off: Vec<_> = std::iter::from_fn(|| received.next_of(one, now)).map(|mail| number(&mail)).collect();
        assert_eq!(worked_off, [2, 3]);
        let mut rest = [number(&next(&mut received)), number(&next(&mut received))];
        rest.sort_unstable();
        assert_eq!(rest, [1, 4]);
    }

    #[tokio::test]
    async fn a_permit_of_a_stopped_worker_is_refused() {
        let (inbox, received) = Inbox::new(4, 4, Counter::default());
        drop(received);
        assert!(inbox.permit(TenantId::UNNAMED).await.is_err());
    }
}
