//! Inboxes: how workers reach each other.
//!
//! Each worker has one bounded inbox. Whoever sends mail first takes a permit, waiting where the inbox is full or the
//! tenant's share of it is used up; with the permit in hand, sending never waits, so that it can be done under a
//! room's lock. A share comes back when the mail was worked off.
//! Invariant: no lock is held while waiting for a permit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

struct Envelope {
    mail: Mail,
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
        (Self { queue, shares: Mutex::default(), share, waits }, Received { queue: received })
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
        self.place.send(Envelope { mail, _share: self.share });
    }
}

impl Received {
    /// The next mail; none once every sender is gone.
    pub fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Mail>> {
        self.queue.poll_recv(cx).map(|envelope| envelope.map(|envelope| envelope.mail))
    }

    /// A mail that is already there.
    pub fn ready(&mut self) -> Option<Mail> {
        self.queue.try_recv().ok().map(|envelope| envelope.mail)
    }

    /// How much mail is there.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn mail() -> Mail {
        Mail::Control(ConnectionId::from_guest(1), TenantId::UNNAMED, Control::Ping(Default::default()))
    }

    #[tokio::test]
    async fn a_tenant_waits_once_its_share_is_used_up() {
        let waits = Counter::default();
        let (inbox, mut received) = Inbox::new(4, 1, waits.clone());
        inbox.permit(TenantId::UNNAMED).await.expect("the first fits").send(mail());
        assert_eq!(waits.get(), 0);
        assert!(inbox.permit(TenantId::UNNAMED).now_or_never().is_none(), "the share is used up");
        assert_eq!(waits.get(), 1);
        assert!(received.ready().is_some());
        assert!(inbox.permit(TenantId::UNNAMED).now_or_never().is_some(), "worked off, it comes back");
    }

    #[tokio::test]
    async fn a_permit_of_a_stopped_worker_is_refused() {
        let (inbox, received) = Inbox::new(4, 4, Counter::default());
        drop(received);
        assert!(inbox.permit(TenantId::UNNAMED).await.is_err());
    }
}
