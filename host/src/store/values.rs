//! The values of one tenant, in memory.
//!
//! Knows neither events nor locks: `store/draft` calls it under the lock of the store. A counter is the sum of what was
//! committed and of the shares of events that still run, so that a share can be taken back whatever others did meanwhile.
//! Invariants: a value whose time is over is never given out; whichever shares are taken back, a counter stays in range.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Add, Sub};
use std::sync::Arc;

use bytes::Bytes;

use super::{Refusal, WallTime};
use crate::limits::Limits;

/// Counters stay within plus or minus this, so that every language's numbers hold them.
pub const COUNTER_LIMIT: i64 = 1 << 53;
/// What an entry costs beside its key and value, so that a flood of empty ones is bounded too.
const ENTRY_COST: usize = 64;
/// So many values are freed at once; more would keep others from the lock.
const FREED_AT_ONCE: usize = 100;

/// What a key holds, once it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As a guest wrote them.
    Bytes(Bytes),
    /// What increments made.
    Counter(i64),
}

/// A value and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Value,
    /// None where it stays.
    pub ends: Option<WallTime>,
}

/// Names an event that uses the store.
pub type EventId = u64;

/// How much is taken, or how much more.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Size {
    /// Entries.
    pub keys: i64,
    /// Keys, values and a fixed cost of each entry.
    pub bytes: i64,
}

/// All of one tenant.
#[derive(Default)]
pub struct Values {
    entries: HashMap<Arc<str>, Entry>,
    /// What has an end, the first to end first.
    ends: BTreeSet<(WallTime, Arc<str>)>,
    size: Size,
}

struct Entry {
    content: Content,
    ends: Option<WallTime>,
}

enum Content {
    Bytes(Bytes),
    Counter(Counter),
}

/// A sum of what is committed and of what events that still run have added.
#[derive(Default)]
struct Counter {
    /// None where no event has committed it yet.
    settled: Option<i64>,
    /// One for each event.
    shares: Vec<(EventId, i64)>,
}

impl Values {
    /// How many entries there are, those that are over and not yet freed included.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The value as it is now, and which other events have a share in it.
    pub fn get(&self, key: &str, now: WallTime, event: EventId) -> Option<(Value, Vec<EventId>)> {
        let entry = self.entries.get(key).filter(|entry| is_ahead(entry.ends, now))?;
        Some(match &entry.content {
            Content::Bytes(bytes) => (Value::Bytes(bytes.clone()), Vec::new()),
            Content::Counter(counter) => (Value::Counter(counter.sum()), counter.others(event)),
        })
    }

    /// Adds an event's share to a counter, which begins here where there is none, within the size that is given.
    pub fn increment(
        &mut self,
        (key, event): (&Arc<str>, EventId),
        by: i64,
        (now, ends): (WallTime, Option<WallTime>),
        fits: impl FnOnce(&Self, Size) -> Result<(), Refusal>,
    ) -> Result<i64, Refusal> {
        if self.entries.get(key).is_some_and(|entry| !is_ahead(entry.ends, now)) {
            self.remove(key);
        }
        if let Some(entry) = self.entries.get_mut(key) {
            return match &mut entry.content {
                Content::Bytes(_) => Err(Refusal::NoCounter),
                Content::Counter(counter) => counter.increment(event, by),
            };
        }
        let mut counter = Counter::default();
        let sum = counter.increment(event, by)?;
        fits(self, Size::of(key, &Value::Counter(0)))?;
        self.insert(key, Entry { content: Content::Counter(counter), ends });
        Ok(sum)
    }

    /// The event's share of a counter counts for good; gives what is then committed, unless the counter is gone.
    pub fn settle(&mut self, key: &str, event: EventId) -> Option<Record> {
        let (counter, ends) = self.counter(key)?;
        let share = counter.take(event)?;
        let settled = counter.settled.unwrap_or_default() + share;
        counter.settled = Some(settled);
        Some(Record { value: Value::Counter(settled), ends })
    }

    /// Takes the event's share of a counter back. One that no other event has a part in is gone then.
    pub fn take_back(&mut self, key: &str, event: EventId) {
        let Some((counter, _)) = self.counter(key) else { return };
        counter.take(event);
        if counter.shares.is_empty() && counter.settled.is_none() {
            self.remove(key);
        }
    }

    /// Whether the event still has a share that may be taken back.
    pub fn has_share(&self, key: &str, event: EventId) -> bool {
        let content = self.entries.get(key).map(|entry| &entry.content);
        matches!(content, Some(Content::Counter(counter)) if counter.shares.iter().any(|(of, _)| *of == event))
    }

    /// Writes a record, or removes it with none. Says whether that was to be written whose time is over already, which
    /// removes it too.
    pub fn put(&mut self, key: &Arc<str>, record: Option<Record>, now: WallTime) -> bool {
        self.remove(key);
        let Some(Record { value, ends }) = record else { return false };
        if !is_ahead(ends, now) {
            return true;
        }
        let content = match value {
            Value::Bytes(bytes) => Content::Bytes(bytes),
            Value::Counter(number) => Content::Counter(Counter { settled: Some(number), shares: Vec::new() }),
        };
        self.insert(key, Entry { content, ends });
        false
    }

    /// Frees some of those whose time is over.
    pub fn free_some(&mut self, now: WallTime) -> Vec<Arc<str>> {
        let due = self.ends.iter().take_while(|(ends, _)| *ends <= now).take(FREED_AT_ONCE);
        let due: Vec<_> = due.map(|(_, key)| key.clone()).collect();
        due.iter().for_each(|key| self.remove(key));
        due
    }

    /// What the key takes at present.
    pub fn size_of(&self, key: &str) -> Size {
        self.entries.get(key).map_or(Size::default(), |entry| entry.size(key))
    }

    /// Refuses what would make this grow over the limits: `more` than there is, of which `added` is new.
    pub fn fits(&self, limits: &Limits, more: Size, added: Size) -> Result<(), Refusal> {
        let after = self.size + more;
        if added.keys > 0 && after.keys > limits.store_keys as i64 {
            return Err(Refusal::Keys(limits.store_keys));
        }
        if added.bytes > 0 && after.bytes > limits.store_bytes as i64 {
            return Err(Refusal::Bytes(limits.store_bytes));
        }
        Ok(())
    }

    fn counter(&mut self, key: &str) -> Option<(&mut Counter, Option<WallTime>)> {
        let entry = self.entries.get_mut(key)?;
        match &mut entry.content {
            Content::Counter(counter) => Some((counter, entry.ends)),
            Content::Bytes(_) => None,
        }
    }

    fn insert(&mut self, key: &Arc<str>, entry: Entry) {
        self.size = self.size + entry.size(key);
        if let Some(ends) = entry.ends {
            self.ends.insert((ends, key.clone()));
        }
        self.entries.insert(key.clone(), entry);
    }

    fn remove(&mut self, key: &str) {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return };
        self.size = self.size - entry.size(&key);
        if let Some(ends) = entry.ends {
            self.ends.remove(&(ends, key));
        }
    }
}

impl Counter {
    fn sum(&self) -> i64 {
        self.settled.unwrap_or_default() + self.shares.iter().map(|(_, share)| share).sum::<i64>()
    }

    /// In range means: also if any of the shares are taken back.
    fn increment(&mut self, event: EventId, by: i64) -> Result<i64, Refusal> {
        let own = self.shares.iter().find(|(of, _)| *of == event).map_or(0, |(_, share)| *share);
        // From one end of the range to the other at most, so that nothing below overflows.
        let own = own.checked_add(by).filter(|own| is_in_range(own / 2)).ok_or(Refusal::OutOfRange)?;
        let others = self.shares.iter().filter(|(of, _)| *of != event).map(|(_, share)| *share);
        let shares = || others.clone().chain([own]);
        let settled = self.settled.unwrap_or_default();
        let highest = settled + shares().filter(|share| *share > 0).sum::<i64>();
        let lowest = settled + shares().filter(|share| *share < 0).sum::<i64>();
        if !is_in_range(highest) || !is_in_range(lowest) {
            return Err(Refusal::OutOfRange);
        }
        self.take(event);
        self.shares.push((event, own));
        Ok(self.sum())
    }

    fn take(&mut self, event: EventId) -> Option<i64> {
        let at = self.shares.iter().position(|(of, _)| *of == event)?;
        Some(self.shares.swap_remove(at).1)
    }

    fn others(&self, event: EventId) -> Vec<EventId> {
        self.shares.iter().map(|(of, _)| *of).filter(|of| *of != event).collect()
    }
}

impl Entry {
    fn size(&self, key: &str) -> Size {
        match &self.content {
            Content::Bytes(bytes) => Size::with(key, bytes.len()),
            Content::Counter(_) => Size::with(key, size_of::<i64>()),
        }
    }
}

impl Size {
    /// What such an entry takes.
    pub fn of(key: &str, value: &Value) -> Self {
        match value {
            Value::Bytes(bytes) => Self::with(key, bytes.len()),
            Value::Counter(_) => Self::with(key, size_of::<i64>()),
        }
    }

    fn with(key: &str, bytes: usize) -> Self {
        Self { keys: 1, bytes: (key.len() + bytes + ENTRY_COST) as i64 }
    }
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { keys: self.keys + other.keys, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Size {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { keys: self.keys - other.keys, bytes: self.bytes - other.bytes }
    }
}

/// Whether a number may be a counter's.
pub fn is_in_range(number: i64) -> bool {
    (-COUNTER_LIMIT..=COUNTER_LIMIT).contains(&number)
}

/// Whether an end is still to come.
pub fn is_ahead(ends: Option<WallTime>, now: WallTime) -> bool {
    ends.is_none_or(|ends| ends > now)
}
