//! The hub: how what one event asks for reaches other connections.
//!
//! The shared part is a handle to the rooms and to the inboxes of all workers; each worker has its own side in
//! [`local`]. Commits come in from `server/connection`, items go out into mailboxes.
//! Invariant: the hub knows no sockets and no guests.

pub mod commit;
pub mod history;
pub mod inbox;
pub mod local;
pub mod mailbox;
pub mod room;

use history::{Memory, Page};
use inbox::{Inbox, Received};
use room::{RoomKey, Rooms};

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::id::{ConnectionId, TenantId};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::tenants::Tenant;

/// What all workers share.
pub struct Hub {
    inboxes: Vec<Inbox>,
    rooms: Rooms,
}

impl Hub {
    /// A hub for this many workers, and the receiving ends of their inboxes.
    pub fn new(workers: usize, limits: &Limits, metrics: &Metrics, memory: Arc<Memory>) -> (Arc<Self>, Vec<Received>) {
        let inbox = |_| Inbox::new(limits.inbox_mails, limits.inbox_share(), metrics.inbox_waits.clone());
        let ends = (0..workers).map(inbox);
        let (inboxes, received) = ends.unzip();
        (Arc::new(Self { inboxes, rooms: Rooms::new(workers, memory) }), received)
    }

    /// The inboxes, by worker.
    pub fn inboxes(&self) -> &[Inbox] {
        &self.inboxes
    }

    /// The rooms.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// WIT `rooms.count`.
    pub fn count(&self, tenant: TenantId, room: &str) -> usize {
        self.rooms.find(&key(tenant, room)).map_or(0, |room| room.count())
    }

    /// What keeps a tenant from one more member of this room, if something does.
    pub fn refuses_member(&self, tenant: &Tenant, room: &str) -> Option<String> {
        let most = tenant.limits().room_members;
        match self.rooms.find(&key(tenant.id(), room)) {
            Some(found) => (found.count() >= most).then(|| format!("a room has at most {most} members")),
            None => refuses_room(tenant),
        }
    }

    /// What keeps a tenant from a message to this room, if something does: it may not have one more room that keeps it.
    pub fn refuses_message(&self, tenant: &Tenant, room: &str) -> Option<String> {
        let key = key(tenant.id(), room);
        let begins = self.rooms.memory().keeps(&key) && self.rooms.find(&key).is_none();
        if begins { refuses_room(tenant) } else { None }
    }

    /// WIT `rooms.members`.
    pub fn members(&self, tenant: TenantId, room: &str, limit: usize) -> Vec<ConnectionId> {
        self.rooms.find(&key(tenant, room)).map_or(Vec::new(), |room| room.members(limit))
    }

    /// Whether this room keeps messages, or would where it does not exist yet.
    pub fn keeps(&self, tenant: TenantId, room: &str) -> bool {
        let key = key(tenant, room);
        self.rooms.find(&key).map_or_else(|| self.rooms.memory().keeps(&key), |found| found.keeps())
    }

    /// WIT `rooms.history`, for a room that keeps messages.
    pub fn history(&self, tenant: TenantId, room: &str, (since, limit): (Option<u64>, usize)) -> Page {
        self.rooms.find(&key(tenant, room)).map_or(Page::default(), |room| room.page(since, limit))
    }
}

/// Asked while events run and counted when they have ended, so that events which run at the same time may pass it together.
fn refuses_room(tenant: &Tenant) -> Option<String> {
    let most = tenant.limits().tenant_rooms;
    (tenant.rooms.load(Ordering::Relaxed) >= most).then(|| format!("there are at most {most} rooms"))
}

fn key(tenant: TenantId, name: &str) -> RoomKey {
    RoomKey { tenant, name: name.into() }
}
