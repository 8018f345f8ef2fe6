//! History: the messages that a room keeps, and how they are sent again.
//!
//! What is kept is a list that only ever grows at its end; the room drops its oldest by letting go of them. A [`Cursor`]
//! of one joining connection is a place in the list, so that a join costs the same however much is kept, and a slow
//! reader holds what it has still to be sent. All of it is used under the room's lock, cursors apart.
//! Invariants: kept messages have offsets without a gap, the last being that of the room's newest message; an entry does
//! not change once it is linked; what the entries that live take is in `used`, those that only a cursor holds included.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;

use super::room::RoomKey;
use crate::clock::Clock;
use crate::config::{Keep, RoomConfig};
use crate::event::{Place, Replay};
use crate::id::TenantId;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::tenants::{Tenant, Tenants};

/// What a kept message costs beside its payload, so that a flood of empty ones is bounded too.
pub const ENTRY_COST: usize = 128;
/// The most messages of one page (WIT `rooms.history`).
const PAGE_MESSAGES: usize = 1000;
/// The most bytes of payloads of one page; a first message that is larger comes alone.
const PAGE_BYTES: usize = 1024 * 1024;

/// What rooms may keep, and what all of them need for it.
pub struct Memory {
    /// Asked when a room begins; one that exists keeps what it began with.
    rooms: ArcSwap<Vec<RoomConfig>>,
    clock: Clock,
    /// The epoch of the next room. Begins at the wall clock's microseconds, so that those of an earlier start of the
    /// server lie below it; 2^53 is reached in the year 2255.
    epochs: AtomicU64,
    tenants: Arc<Tenants>,
    dropped: Counter,
}

/// The kept messages of one room.
pub struct History {
    memory: Arc<Memory>,
    keep: Keep,
    epoch: u64,
    window: VecDeque<Arc<Entry>>,
    /// What the window takes.
    bytes: usize,
    /// Payloads since the beginning, so that those of any part are one subtraction.
    total: u64,
    tenant: Arc<Tenant>,
}

/// A kept message. Its payload came out of a guest and is an allocation of its own, so it holds nothing else in memory.
pub struct Entry {
    /// Its number in the room.
    pub offset: u64,
    /// When it was published, in milliseconds since the Unix epoch.
    pub at: u64,
    /// As it was published.
    pub message: Message,
    total: u64,
    used: Arc<AtomicUsize>,
    next: OnceLock<Arc<Entry>>,
}

/// What a connection that joined has still to be sent of the kept messages; at least one.
#[derive(Clone)]
pub struct Cursor {
    room: Arc<str>,
    epoch: u64,
    next: Arc<Entry>,
    /// The offset of its last message; what is published after the join follows in the list and is not its own.
    last: u64,
    bytes: usize,
}

/// What came of a join with a replay.
#[derive(Debug)]
pub struct Replayed {
    /// None where there is nothing to be sent.
    pub cursor: Option<Cursor>,
    /// The place that it reaches.
    pub newest: Place,
    /// Whether all after the asked place is still kept.
    pub complete: bool,
}

/// A part of what a room keeps (WIT `rooms.page`).
#[derive(Default)]
pub struct Page {
    /// 0 where the room has no memory.
    pub epoch: u64,
    /// 0 where nothing is kept.
    pub oldest: u64,
    /// 0 where nothing is kept.
    pub newest: u64,
    /// Oldest first.
    pub entries: Vec<Arc<Entry>>,
}

impl Memory {
    /// What the configuration says of rooms.
    pub fn new(rooms: &[RoomConfig], clock: &Clock, tenants: &Arc<Tenants>, metrics: &Metrics) -> Arc<Self> {
        let epochs = u64::try_from(clock.wall().as_micros()).unwrap_or_default();
        Arc::new(Self {
            rooms: ArcSwap::from_pointee(rooms.to_vec()),
            clock: clock.clone(),
            epochs: AtomicU64::new(epochs),
            tenants: tenants.clone(),
            dropped: metrics.history_dropped.clone(),
        })
    }

    /// Has rooms that begin from now on keep what this says.
    pub fn change(&self, rooms: &[RoomConfig]) {
        self.rooms.store(Arc::new(rooms.to_vec()));
    }

    /// Whether a room of this name that begins now keeps messages.
    pub fn keeps(&self, key: &RoomKey) -> bool {
        self.keep(key).is_some()
    }

    fn keep(&self, key: &RoomKey) -> Option<Keep> {
        let rooms = self.rooms.load();
        let mut own = rooms.iter().filter(|room| room.tenant == key.tenant);
        own.find(|room| room.pattern.matches(&key.name)).map(|room| room.keep)
    }

    /// Names the life of a room that begins.
    pub fn begin_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed)
    }

    /// The memory of a room that begins; none where it keeps nothing.
    pub fn begin(self: &Arc<Self>, key: &RoomKey, epoch: u64) -> Option<History> {
        let (keep, tenant) = (self.keep(key)?, self.tenants.of(key.tenant));
        Some(History { memory: self.clone(), keep, epoch, window: VecDeque::new(), bytes: 0, total: 0, tenant })
    }

    /// Whose rooms of this tenant are.
    pub fn tenant(&self, id: TenantId) -> Arc<Tenant> {
        self.tenants.of(id)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }
}

impl History {
    /// Keeps the message that follows the newest. One that does not fit is counted, and the window begins anew behind it.
    pub fn push(&mut self, offset: u64, message: &Message) {
        self.expire();
        let cost = message.len() + ENTRY_COST;
        while !self.reserve(cost) {
            if !self.drop_oldest() {
                self.memory.dropped.inc();
                return;
            }
        }
        self.bytes += cost;
        self.total += message.len() as u64;
        let (at, message, used) = (self.memory.now(), message.clone(), self.tenant.kept.clone());
        let entry = Arc::new(Entry { offset, at, message, total: self.total, used, next: OnceLock::new() });
        if let Some(newest) = self.window.back() {
            let linked = newest.next.set(entry.clone());
            debug_assert!(linked.is_ok(), "the newest entry has nothing behind it");
        }
        self.window.push_back(entry);
    }

    /// Takes the cost from what the tenant has, unless one bound or another is in the way.
    fn reserve(&self, cost: usize) -> bool {
        if self.window.len() >= self.keep.messages || self.bytes + cost > self.keep.bytes {
            return false;
        }
        let bound = self.tenant.limits().history_bytes;
        let add = |used: usize| used.checked_add(cost).filter(|sum| *sum <= bound);
        self.tenant.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Lets go of what is older than the time to live. Gives whether anything is left.
    pub fn expire(&mut self) -> bool {
        let now = self.memory.now();
        let ttl = u64::try_from(self.keep.time.as_millis()).unwrap_or(u64::MAX);
        while self.window.front().is_some_and(|oldest| oldest.at.saturating_add(ttl) <= now) {
            self.drop_oldest();
        }
        !self.window.is_empty()
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.window.pop_front() else { return false };
        self.bytes -= oldest.cost();
        true
    }

    /// What a connection is sent that joins behind the message of this offset.
    pub fn replay(&mut self, room: &Arc<str>, newest: u64, asked: Replay) -> Option<Replayed> {
        self.expire();
        let oldest = self.window.front().map_or(newest + 1, |entry| entry.offset);
        let (first, complete) = match asked {
            Replay::Nothing => return None,
            Replay::Newest(count) => (self.window.len().saturating_sub(count), true),
            Replay::Since(place) if place.epoch == self.epoch && (oldest - 1..=newest).contains(&place.offset) => {
                (usize::try_from(place.offset + 1 - oldest).unwrap_or(usize::MAX), true)
            }
            Replay::Since(_) => (0, false),
        };
        let newest = Place { epoch: self.epoch, offset: newest };
        Some(Replayed { cursor: self.cursor(room, first), newest, complete })
    }

    fn cursor(&self, room: &Arc<str>, first: usize) -> Option<Cursor> {
        let (first, last) = (self.window.get(first)?, self.window.back()?);
        let before = first.total - first.message.len() as u64;
        let bytes = usize::try_from(last.total - before).unwrap_or(usize::MAX);
        Some(Cursor { room: room.clone(), epoch: self.epoch, next: first.clone(), last: last.offset, bytes })
    }

    /// At most `limit` kept messages after the offset `since`.
    pub fn page(&mut self, since: Option<u64>, limit: usize) -> Page {
        self.expire();
        let (Some(oldest), Some(newest)) = (self.window.front(), self.window.back()) else {
            return Page { epoch: self.epoch, ..Page::default() };
        };
        let first = since.map_or(0, |since| since.saturating_add(1).saturating_sub(oldest.offset));
        let mut bytes = 0;
        let fits = |(index, entry): &(usize, &Arc<Entry>)| {
            bytes += entry.message.len();
            *index == 0 || bytes <= PAGE_BYTES
        };
        let entries = self.window.iter().skip(usize::try_from(first).unwrap_or(usize::MAX));
        let entries = entries.take(limit.min(PAGE_MESSAGES)).enumerate().take_while(fits);
        let entries = entries.map(|(_, entry)| entry.clone()).collect();
        Page { epoch: self.epoch, oldest: oldest.offset, newest: newest.offset, entries }
    }
}

impl Entry {
    fn cost(&self) -> usize {
        self.message.len() + ENTRY_COST
    }
}

impl Drop for Entry {
    /// Unlinks what nobody else holds one by one: a long list that went by itself would go as deep into the stack.
    fn drop(&mut self) {
        self.used.fetch_sub(self.cost(), Ordering::Relaxed);
        let mut behind = self.next.take();
        while let Some(mut entry) = behind.and_then(Arc::into_inner) {
            behind = entry.next.take();
        }
    }
}

impl Cursor {
    /// The room that it replays.
    pub fn room(&self) -> &Arc<str> {
        &self.room
    }

    /// Payloads that are still to be sent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The payload of the next one.
    pub fn next_bytes(&self) -> usize {
        self.next.message.len()
    }

    /// Messages that are still to be sent; at least one.
    pub fn messages(&self) -> usize {
        usize::try_from(self.last - self.next.offset + 1).unwrap_or(usize::MAX)
    }

    /// The next message and its place, and what is left behind it.
    pub fn advance(self) -> (Message, Place, Option<Self>) {
        let (message, place) = (self.next.message.clone(), Place { epoch: self.epoch, offset: self.next.offset });
        let rest = (self.next.offset < self.last).then(|| {
            let next = self.next.next.get().expect("what lies before the last entry is linked").clone();
            Self { next, bytes: self.bytes - message.len(), ..self }
        });
        (message, place, rest)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({} {}..={})", self.room, self.next.offset, self.last)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::RoomPattern;
    use crate::limits::Limits;

    const ROOM: &str = "room";

    struct Kept {
        history: History,
        clock: Clock,
        metrics: Metrics,
        newest: u64,
    }

    impl Kept {
        fn new(messages: usize, bytes: usize, bound: usize) -> Self {
            let (clock, metrics) = (Clock::manual(), Metrics::default());
            let keep = Keep { messages, bytes, time: Duration::from_secs(60) };
            let rooms = [RoomConfig { tenant: TenantId::UNNAMED, pattern: RoomPattern::Name(ROOM.into()), keep }];
            let limits = Limits { history_bytes: bound, ..Limits::default() };
            let memory = Memory::new(&rooms, &clock, &Tenants::new(&limits), &metrics);
            let key = RoomKey { tenant: TenantId::UNNAMED, name: ROOM.into() };
            Self { history: memory.begin(&key, 7).expect("it keeps"), clock, metrics, newest: 0 }
        }

        fn push(&mut self, payload: usize) {
            self.newest += 1;
            self.history.push(self.newest, &Message::text("x".repeat(payload)));
        }

        fn offsets(&mut self) -> Vec<u64> {
            self.history.page(None, usize::MAX).entries.iter().map(|entry| entry.offset).collect()
        }

        fn replay(&mut self, asked: Replay) -> (Vec<u64>, bool) {
            let replayed = self.history.replay(&ROOM.into(), self.newest, asked).expect("it was asked for");
            assert_eq!(replayed.newest.offset, self.newest);
            (all(replayed.cursor), replayed.complete)
        }

        fn since(&mut self, offset: u64) -> (Vec<u64>, bool) {
            self.replay(Replay::Since(Place { epoch: self.history.epoch, offset }))
        }

        fn used(&self) -> usize {
            self.history.tenant.kept.load(Ordering::Relaxed)
        }
    }

    fn all(mut cursor: Option<Cursor>) -> Vec<u64> {
        let mut offsets = Vec::new();
        while let Some(present) = cursor {
            let (messages, bytes) = (present.messages(), present.bytes());
            let (message, place, rest) = present.advance();
            assert_eq!(rest.as_ref().map_or(0, Cursor::messages), messages - 1);
            assert_eq!(rest.as_ref().map_or(0, Cursor::bytes), bytes - message.len());
            offsets.push(place.offset);
            cursor = rest;
        }
        offsets
    }

    #[test]
    fn the_oldest_goes_where_messages_bytes_or_time_run_out() {
        let mut kept = Kept::new(3, 2 * (100 + ENTRY_COST), usize::MAX);
        (0..4).for_each(|_| kept.push(0));
        assert_eq!(kept.offsets(), [2, 3, 4]);
        (0..3).for_each(|_| kept.push(100));
        assert_eq!(kept.offsets(), [6, 7]);
        kept.clock.advance(Duration::from_secs(59));
        kept.push(1);
        kept.clock.advance(Duration::from_millis(999));
        assert_eq!(kept.offsets(), [7, 8]);
        kept.clock.advance(Duration::from_millis(1));
        assert_eq!((kept.offsets(), kept.used()), (vec![8], 1 + ENTRY_COST));
    }

    #[test]
    fn what_does_not_fit_at_all_is_counted_and_offsets_go_on() {
        let mut kept = Kept::new(10, 1000, usize::MAX);
        kept.push(1);
        kept.push(1001);
        assert_eq!((kept.offsets(), kept.metrics.history_dropped.get()), (vec![], 1));
        assert_eq!(kept.since(1), (vec![], false), "the second is lost");
        assert_eq!(kept.since(2), (vec![], true));
        kept.push(1);
        assert_eq!(kept.since(2), (vec![3], true));
        assert_eq!((kept.used(), kept.metrics.history_dropped.get()), (1 + ENTRY_COST, 1));
    }

    #[test]
    fn a_tenant_has_so_much_and_what_a_slow_reader_holds_is_part_of_it() {
        let mut kept = Kept::new(10, 10_000, 2 * ENTRY_COST);
        (0..3).for_each(|_| kept.push(0));
        assert_eq!(kept.offsets(), [2, 3]);
        let cursor = kept.history.replay(&ROOM.into(), 3, Replay::Newest(2)).and_then(|replayed| replayed.cursor);
        kept.push(0);
        assert_eq!((kept.offsets(), kept.metrics.history_dropped.get()), (vec![], 1), "the reader holds it all");
        assert_eq!(all(cursor), [2, 3]);
        kept.push(0);
        assert_eq!((kept.offsets(), kept.used()), (vec![5], ENTRY_COST));
    }

    #[test]
    fn a_replay_is_the_newest_or_all_since_a_place() {
        let mut kept = Kept::new(5, 10_000, usize::MAX);
        assert_eq!(kept.replay(Replay::Newest(3)), (vec![], true));
        assert_eq!(kept.since(0), (vec![], true), "nothing was there to be lost");
        (0..8).for_each(|_| kept.push(7));
        assert_eq!(kept.replay(Replay::Newest(0)), (vec![], true));
        assert_eq!(kept.replay(Replay::Newest(2)), (vec![7, 8], true));
        assert_eq!(kept.replay(Replay::Newest(99)), (vec![4, 5, 6, 7, 8], true));
        assert_eq!(kept.since(8), (vec![], true));
        assert_eq!(kept.since(6), (vec![7, 8], true));
        assert_eq!(kept.since(3), (vec![4, 5, 6, 7, 8], true), "the oldest kept one is the next");
        for (epoch, offset) in [(0, 2), (0, 9), (0, u64::MAX), (1, 8)] {
            let place = Place { epoch: kept.history.epoch + epoch, offset };
            assert_eq!(kept.replay(Replay::Since(place)), (vec![4, 5, 6, 7, 8], false), "{place:?}");
        }
    }

    #[test]
    fn a_replay_ends_where_its_join_was_and_holds_what_the_room_let_go() {
        let mut kept = Kept::new(2, 10_000, usize::MAX);
        (0..2).for_each(|_| kept.push(1));
        let cursor = kept.history.replay(&ROOM.into(), 2, Replay::Newest(2)).and_then(|replayed| replayed.cursor);
        (0..3).for_each(|_| kept.push(1));
        assert_eq!(kept.offsets(), [4, 5]);
        assert_eq!(all(cursor), [1, 2]);
        assert_eq!(kept.used(), 2 * (1 + ENTRY_COST));
    }

    #[test]
    fn a_long_list_goes_without_a_deep_stack() {
        let mut kept = Kept::new(2, 10_000, usize::MAX);
        kept.push(0);
        let cursor = kept.history.replay(&ROOM.into(), 1, Replay::Newest(1));
        (0..500_000).for_each(|_| kept.push(0));
        assert_eq!(kept.used(), 500_001 * ENTRY_COST);
        drop(cursor);
        assert_eq!(kept.used(), 2 * ENTRY_COST);
    }

    #[test]
    fn a_page_is_bounded_in_messages_and_bytes_and_has_at_least_one() {
        let mut kept = Kept::new(2000, usize::MAX, usize::MAX);
        (0..1500).for_each(|_| kept.push(0));
        let page = kept.history.page(Some(100), usize::MAX);
        assert_eq!((page.oldest, page.newest, page.entries.len(), page.entries[0].offset), (1, 1500, 1000, 101));
        assert_eq!(kept.history.page(Some(1498), 1).entries[0].offset, 1499);
        assert!(kept.history.page(Some(u64::MAX), 10).entries.is_empty());
        (0..3).for_each(|_| kept.push(600_000));
        kept.push(2_000_000);
        assert_eq!(kept.history.page(Some(1500), 10).entries.len(), 1);
        assert_eq!(kept.history.page(Some(1503), 10).entries.len(), 1);
    }
}
