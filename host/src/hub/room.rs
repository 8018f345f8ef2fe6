//! Rooms: named groups of one tenant's connections, seen by all workers.
//!
//! Here is who the members are and in which order messages go out; the delivery itself is `hub/local` on each worker.
//! Members lie in one shard per worker, so that connecting, which joins the implicit rooms, does not contend.
//! Invariants: a place in the order is given, and its mail put into every inbox, under one lock, so all workers see one
//! order; no lock is held across an await; a room without members is not in the map, implicit ones apart.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::inbox::{Mail, Permit, Publication};
use crate::id::{ConnectionId, TenantId, WorkerIndex};
use crate::message::Message;

/// The name of a room, whose it is included.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RoomKey {
    /// The same name of another tenant is another room.
    pub tenant: TenantId,
    /// As guests write it.
    pub name: Arc<str>,
}

impl RoomKey {
    /// Whether the host itself says who is in it.
    pub fn is_implicit(&self) -> bool {
        self.name.starts_with('@')
    }
}

/// All rooms of the server.
pub struct Rooms {
    rooms: RwLock<HashMap<RoomKey, Arc<Room>>>,
    workers: usize,
}

/// One room.
pub struct Room {
    /// The place that the next message gets. Its lock is held while a message goes out.
    next: Mutex<u64>,
    shards: Box<[Shard]>,
}

#[derive(Default)]
struct Shard {
    count: AtomicUsize,
    members: Mutex<HashSet<ConnectionId>>,
}

impl Rooms {
    /// No rooms yet, for this many workers.
    pub fn new(workers: usize) -> Self {
        Self { rooms: RwLock::default(), workers }
    }

    /// Makes the connection a member; gives the place from which on it gets messages.
    pub fn join(&self, key: &RoomKey, worker: WorkerIndex, member: ConnectionId) -> u64 {
        if let Some(room) = self.read().get(key) {
            return room.join(key, worker, member);
        }
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(key.clone()).or_insert_with(|| Arc::new(Room::new(self.workers)));
        room.join(key, worker, member)
    }

    /// Ends a membership, and the room with its last one.
    pub fn leave(&self, key: &RoomKey, worker: WorkerIndex, member: ConnectionId) {
        let Some(room) = self.find(key) else { return };
        room.shards[worker].remove(member);
        if room.count() == 0 && !key.is_implicit() {
            self.remove_if_empty(key);
        }
    }

    /// The room, if anyone is in it.
    pub fn find(&self, key: &RoomKey) -> Option<Arc<Room>> {
        self.read().get(key).cloned()
    }

    /// How many rooms have members, implicit ones included.
    pub fn count(&self) -> usize {
        self.read().len()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<RoomKey, Arc<Room>>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joining happens under the map's read lock, so nobody can come in between the question and the removal.
    fn remove_if_empty(&self, key: &RoomKey) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        if rooms.get(key).is_some_and(|room| room.count() == 0) {
            rooms.remove(key);
        }
    }
}

impl Room {
    fn new(workers: usize) -> Self {
        Self { next: Mutex::new(0), shards: (0..workers).map(|_| Shard::default()).collect() }
    }

    fn join(&self, key: &RoomKey, worker: WorkerIndex, member: ConnectionId) -> u64 {
        if key.is_implicit() {
            self.shards[worker].insert(member);
            return 0;
        }
        let next = self.order();
        self.shards[worker].insert(member);
        *next
    }

    /// Gives the message its place and mails it to every worker that has members. Permits are by worker; those that
    /// are not needed go back.
    pub fn publish(&self, key: &RoomKey, (message, exclude): (Message, Box<[ConnectionId]>), permits: Vec<Permit>) {
        let mut next = self.order();
        let publication = Publication { room: key.clone(), place: *next, message, exclude };
        *next += 1;
        let publication = Arc::new(publication);
        for (shard, permit) in self.shards.iter().zip(permits) {
            if shard.count.load(Ordering::Acquire) > 0 {
                permit.send(Mail::Publish(publication.clone()));
            }
        }
    }

    /// How many members there are.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.count.load(Ordering::Acquire)).sum()
    }

    /// At most `limit` members, in no particular order.
    pub fn members(&self, limit: usize) -> Vec<ConnectionId> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let members = shard.lock();
            found.extend(members.iter().take(limit - found.len()));
        }
        found
    }

    fn order(&self) -> MutexGuard<'_, u64> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashSet<ConnectionId>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, member: ConnectionId) {
        if self.lock().insert(member) {
            self.count.fetch_add(1, Ordering::Release);
        }
    }

    fn remove(&self, member: ConnectionId) {
        if self.lock().remove(&member) {
            self.count.fetch_sub(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> RoomKey {
        RoomKey { tenant: TenantId::UNNAMED, name: name.into() }
    }

    #[test]
    fn an_empty_room_is_freed_and_an_implicit_one_stays() {
        let rooms = Rooms::new(2);
        let member = ConnectionId::from_guest(7);
        for name in ["lobby", "@all"] {
            rooms.join(&key(name), 1, member);
            assert_eq!(rooms.find(&key(name)).map(|room| room.count()), Some(1));
            rooms.leave(&key(name), 1, member);
        }
        assert!(rooms.find(&key("lobby")).is_none());
        assert!(rooms.find(&key("@all")).is_some());
    }

    #[test]
    fn members_are_counted_and_listed_over_all_workers() {
        let rooms = Rooms::new(2);
        for raw in 0..10 {
            rooms.join(&key("lobby"), raw as usize % 2, ConnectionId::from_guest(raw));
        }
        let room = rooms.find(&key("lobby")).expect("it has members");
        assert_eq!((room.count(), room.members(100).len(), room.members(7).len()), (10, 10, 7));
    }
}
