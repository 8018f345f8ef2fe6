//! Rooms: named groups of one tenant's connections, seen by all workers.
//!
//! Here is who the members are and in which order messages go out; the delivery itself is `hub/local` on each worker.
//! Members lie in one shard per worker, so that connecting, which joins the implicit rooms, does not contend.
//! What a room keeps (`hub/history`) is part of its order.
//! Invariants: a place in the order is given, and its mail put into every inbox, under one lock, so all workers see one
//! order; no lock is held across an await; a room without members and kept messages does not stay in the map, implicit
//! ones apart.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::history::{History, Memory, Page, Replayed};
use super::inbox::{Mail, Permit, Publication};
use crate::event::{Place, Replay};
use crate::id::{ConnectionId, TenantId, WorkerIndex};
use crate::message::Message;
use crate::tenants::Tenant;

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
    memory: Arc<Memory>,
}

/// One room.
pub struct Room {
    /// Its lock is held while a message goes out.
    order: Mutex<Order>,
    /// Which life of the room this is; another one counts its messages anew.
    epoch: u64,
    /// Whether it keeps messages, readable without the lock.
    keeps: bool,
    shards: Box<[Shard]>,
    /// Counts it for its tenant; none for an implicit one.
    counted: Option<Arc<Tenant>>,
}

struct Order {
    /// The offset of the newest message; 0 before the first.
    newest: u64,
    history: Option<History>,
}

/// What came of a join.
#[derive(Debug)]
pub struct Joining {
    /// The member gets the messages after this place.
    pub after: Place,
    /// None where no replay was asked for, or the room keeps nothing.
    pub replayed: Option<Replayed>,
}

#[derive(Default)]
struct Shard {
    count: AtomicUsize,
    members: Mutex<HashSet<ConnectionId>>,
}

impl Rooms {
    /// No rooms yet, for this many workers.
    pub fn new(workers: usize, memory: Arc<Memory>) -> Self {
        Self { rooms: RwLock::default(), workers, memory }
    }

    /// What rooms may keep.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes the connection a member, and says from where on it gets messages.
    pub fn join(&self, key: &RoomKey, worker: WorkerIndex, member: ConnectionId, replay: Replay) -> Joining {
        if let Some(room) = self.read().get(key) {
            return room.join(key, worker, member, replay);
        }
        self.make(key, |room| room.join(key, worker, member, replay))
    }

    /// Ends a membership, and the room with its last one, unless it keeps something.
    pub fn leave(&self, key: &RoomKey, worker: WorkerIndex, member: ConnectionId) {
        let Some(room) = self.find(key) else { return };
        room.shards[worker].remove(member);
        if room.count() == 0 && !key.is_implicit() {
            self.remove_if_idle(key);
        }
    }

    /// Whether a message to the room reaches anyone, or would be kept.
    pub fn takes(&self, key: &RoomKey) -> bool {
        self.read().contains_key(key) || self.memory.keeps(key)
    }

    /// Sends a message to the members and keeps it, as far as the room does either. Permits are by worker; those that
    /// are not needed go back. Done under the map's lock, so that the room is not removed with the message in it.
    pub fn publish(&self, key: &RoomKey, message: (Message, Box<[ConnectionId]>), permits: Vec<Permit>) {
        if let Some(room) = self.read().get(key) {
            return room.publish(key, message, permits);
        }
        if self.memory.keeps(key) {
            self.make(key, |room| room.publish(key, message, permits));
        }
    }

    /// The room, if it has members or messages.
    pub fn find(&self, key: &RoomKey) -> Option<Arc<Room>> {
        self.read().get(key).cloned()
    }

    /// How many rooms have members or messages, implicit ones included.
    pub fn count(&self) -> usize {
        self.read().len()
    }

    /// Lets go of kept messages whose time is over, and of rooms that nothing is left of.
    pub fn sweep(&self) {
        // One without memory can be empty where another configuration came between its last question and its beginning.
        let over = |(key, room): &(&RoomKey, &Arc<Room>)| room.keeps || (!key.is_implicit() && room.count() == 0);
        let rooms: Vec<_> = self.read().iter().filter(over).map(|(key, room)| (key.clone(), room.clone())).collect();
        for (key, room) in rooms {
            if room.is_idle() {
                self.remove_if_idle(&key);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<RoomKey, Arc<Room>>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<RoomKey, Arc<Room>>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something in a room that is made where it is not there.
    fn make<T>(&self, key: &RoomKey, act: impl FnOnce(&Room) -> T) -> T {
        let begin = || Arc::new(Room::new(self.workers, key, &self.memory));
        act(self.write().entry(key.clone()).or_insert_with(begin))
    }

    /// Joining and publishing happen under the map's lock, so nobody can come in between the question and the removal.
    fn remove_if_idle(&self, key: &RoomKey) {
        let mut rooms = self.write();
        if rooms.get(key).is_some_and(|room| room.is_idle()) {
            rooms.remove(key);
        }
    }
}

impl Room {
    fn new(workers: usize, key: &RoomKey, memory: &Arc<Memory>) -> Self {
        let epoch = memory.begin_epoch();
        let history = memory.begin(key, epoch);
        let (keeps, shards) = (history.is_some(), (0..workers).map(|_| Shard::default()).collect());
        let counted = (!key.is_implicit()).then(|| memory.tenant(key.tenant));
        if let Some(tenant) = &counted {
            tenant.rooms.fetch_add(1, Ordering::Relaxed);
        }
        Self { order: Mutex::new(Order { newest: 0, history }), epoch, keeps, shards, counted }
    }

    fn join(&self, key: &RoomKey, worker: WorkerIndex, member: ConnectionId, replay: Replay) -> Joining {
        if key.is_implicit() {
            self.shards[worker].insert(member);
            return Joining { after: Place { epoch: self.epoch, offset: 0 }, replayed: None };
        }
        let mut order = self.order();
        self.shards[worker].insert(member);
        let after = Place { epoch: self.epoch, offset: order.newest };
        let replayed = order.history.as_mut().and_then(|history| history.replay(&key.name, after.offset, replay));
        Joining { after, replayed }
    }

    fn publish(&self, key: &RoomKey, (message, exclude): (Message, Box<[ConnectionId]>), permits: Vec<Permit>) {
        let mut order = self.order();
        order.newest += 1;
        let place = Place { epoch: self.epoch, offset: order.newest };
        if let Some(history) = &mut order.history {
            history.push(place.offset, &message);
        }
        let (room, is_kept) = (key.clone(), self.keeps);
        let publication = Arc::new(Publication { room, place, is_kept, message, exclude });
        for (shard, permit) in self.shards.iter().zip(permits) {
            if shard.count.load(Ordering::Acquire) > 0 {
                permit.send(Mail::Publish(publication.clone()));
            }
        }
    }

    /// At most `limit` kept messages after the offset `since`.
    pub fn page(&self, since: Option<u64>, limit: usize) -> Page {
        self.order().history.as_mut().map_or(Page::default(), |history| history.page(since, limit))
    }

    /// Whether it has no members, and keeps nothing whose time is not over.
    fn is_idle(&self) -> bool {
        let kept = self.keeps && self.order().history.as_mut().is_some_and(History::expire);
        !kept && self.count() == 0
    }

    /// Whether it keeps messages, as the configuration said when it began.
    pub fn keeps(&self) -> bool {
        self.keeps
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

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(tenant) = &self.counted {
            tenant.rooms.fetch_sub(1, Ordering::Relaxed);
        }
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
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Keep, RoomConfig, RoomPattern};
    use crate::limits::Limits;
    use crate::metrics::Metrics;
    use crate::tenants::Tenants;

    fn key(name: &str) -> RoomKey {
        RoomKey { tenant: TenantId::UNNAMED, name: name.into() }
    }

    /// Rooms of two workers, of which those that begin with `kept/` keep messages for a second.
    fn rooms(clock: &Clock) -> Rooms {
        let keep = Keep { messages: 10, bytes: 10_000, time: Duration::from_secs(1) };
        let kept = RoomConfig { tenant: TenantId::UNNAMED, pattern: RoomPattern::Prefix("kept/".into()), keep };
        Rooms::new(2, Memory::new(&[kept], clock, &Tenants::new(&Limits::default()), &Metrics::default()))
    }

    fn join(rooms: &Rooms, name: &str, raw: u64) -> Joining {
        rooms.join(&key(name), raw as usize % 2, ConnectionId::from_guest(raw), Replay::Newest(10))
    }

    fn publish(rooms: &Rooms, name: &str) {
        rooms.publish(&key(name), (Message::text("x"), Box::default()), Vec::new());
    }

    #[test]
    fn an_empty_room_is_freed_and_an_implicit_one_stays() {
        let rooms = rooms(&Clock::manual());
        for name in ["lobby", "@all"] {
            join(&rooms, name, 7);
            assert_eq!(rooms.find(&key(name)).map(|room| room.count()), Some(1));
            rooms.leave(&key(name), 1, ConnectionId::from_guest(7));
        }
        assert!(rooms.find(&key("lobby")).is_none());
        assert!(rooms.find(&key("@all")).is_some());
    }

    #[test]
    fn members_are_counted_and_listed_over_all_workers() {
        let rooms = rooms(&Clock::manual());
        for raw in 0..10 {
            join(&rooms, "lobby", raw);
        }
        let room = rooms.find(&key("lobby")).expect("it has members");
        assert_eq!((room.count(), room.members(100).len(), room.members(7).len()), (10, 10, 7));
    }

    #[test]
    fn a_room_that_keeps_outlives_its_members_until_its_messages_are_over() {
        let clock = Clock::manual();
        let rooms = rooms(&clock);
        publish(&rooms, "lobby");
        publish(&rooms, "kept/a");
        assert_eq!(rooms.count(), 1, "where nobody is, only a room that keeps takes a message");
        let joining = join(&rooms, "kept/a", 7);
        let replayed = joining.replayed.expect("it keeps");
        assert_eq!((joining.after.offset, replayed.cursor.map(|cursor| cursor.messages())), (1, Some(1)));
        rooms.leave(&key("kept/a"), 1, ConnectionId::from_guest(7));
        clock.advance(Duration::from_millis(999));
        rooms.sweep();
        assert_eq!(rooms.count(), 1);
        clock.advance(Duration::from_millis(1));
        rooms.sweep();
        assert_eq!(rooms.count(), 0);
        let again = join(&rooms, "kept/a", 7).replayed.expect("it keeps").newest;
        assert_eq!((again.epoch > replayed.newest.epoch, again.offset), (true, 0), "another life of its memory");
    }

    #[test]
    fn each_life_of_a_room_is_another() {
        let rooms = rooms(&Clock::manual());
        let first = join(&rooms, "lobby", 7).after;
        assert_eq!(join(&rooms, "lobby", 8).after.epoch, first.epoch);
        [7, 8].into_iter().for_each(|raw| rooms.leave(&key("lobby"), raw as usize % 2, ConnectionId::from_guest(raw)));
        assert_ne!(join(&rooms, "lobby", 7).after.epoch, first.epoch);
    }

    #[test]
    fn a_room_with_members_goes_on_counting_when_all_that_it_kept_is_over() {
        let clock = Clock::manual();
        let rooms = rooms(&clock);
        join(&rooms, "kept/a", 7);
        publish(&rooms, "kept/a");
        clock.advance(Duration::from_secs(2));
        rooms.sweep();
        publish(&rooms, "kept/a");
        let page = rooms.find(&key("kept/a")).expect("it has a member").page(None, 10);
        assert_eq!((page.oldest, page.newest, page.entries.len()), (2, 2, 1));
    }
}
