//! A draft: what one event asks of the store.
//!
//! Writes are gathered here, and reads go through them. Increments act at once on the shared counter, as this event's
//! share of it. The transaction owns the draft; the commit carries it out, and whoever drops it without that takes its
//! shares back, be it after a fault, a refusal or a panic.
//! Invariants: a share outlives its draft only settled; an event that a disk keeps says nothing to anybody before all that
//! it wrote, and all that it may have read, is on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::disk::Change;
use super::values::{EventId, Record, Size, Value, is_ahead, is_in_range};
use super::{Lost, Refusal, Store, WallTime};
use crate::id::TenantId;

/// What one event asked of the store so far.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    tenant: TenantId,
    event: EventId,
    writes: BTreeMap<Arc<str>, Write>,
    /// Counters that this event has a share of.
    shares: BTreeSet<Arc<str>>,
    /// What the writes hold.
    held: Size,
    /// How much more the tenant will take with the writes than without.
    growth: Size,
    /// Shares of other events that this one has seen, and that may still be taken back or get lost. Kept only with a disk.
    seen: BTreeSet<(Arc<str>, EventId)>,
}

/// A write; one of none removes the key.
#[derive(Debug)]
struct Write {
    record: Option<Record>,
    held: Size,
    growth: Size,
}

impl Draft {
    /// Of an event that has asked for nothing.
    pub(super) fn new(store: Store, tenant: TenantId, event: EventId) -> Self {
        let (writes, shares, held, growth, seen) = Default::default();
        Self { store, tenant, event, writes, shares, held, growth, seen }
    }

    /// WIT `store.get`, for a key that was checked.
    pub fn get(&mut self, key: &str) -> Result<Option<Bytes>, Refusal> {
        self.store.check()?;
        let now = self.store.now();
        if let Some(write) = self.writes.get(key) {
            let live = write.record.as_ref().filter(|record| is_ahead(record.ends, now));
            return Ok(live.map(|record| text(record.value.clone())));
        }
        let found = self.store.lock().of(self.tenant, now).get(key, now, self.event);
        Ok(found.map(|(value, shares)| {
            self.see(&key.into(), &shares);
            text(value)
        }))
    }

    /// WIT `store.set`, for a key that was checked.
    pub fn set(&mut self, key: &str, value: Bytes, ttl_ms: Option<u32>) -> Result<(), Refusal> {
        let (size, limit) = (value.len(), self.store.shared.limits.store_value_bytes);
        if size > limit {
            return Err(Refusal::ValueTooLarge { size, limit });
        }
        let ends = self.ends(ttl_ms);
        self.write(key, Some(Record { value: Value::Bytes(value), ends }))
    }

    /// WIT `store.remove`, for a key that was checked.
    pub fn remove(&mut self, key: &str) -> Result<(), Refusal> {
        self.write(key, None)
    }

    /// WIT `store.increment`, for a key that was checked.
    pub fn increment(&mut self, key: &str, by: i64, ttl_ms: Option<u32>) -> Result<i64, Refusal> {
        self.store.check()?;
        let ends = self.ends(ttl_ms);
        match self.writes.contains_key(key) {
            true => self.increment_own(key, by, ends),
            false => self.increment_shared(&key.into(), by, ends),
        }
    }

    /// A key that this event has written is a matter of its own until the commit.
    fn increment_own(&mut self, key: &str, by: i64, ends: Option<WallTime>) -> Result<i64, Refusal> {
        let now = self.store.now();
        let written = self.writes.get(key).and_then(|write| write.record.as_ref());
        let (number, ends) = match written.filter(|record| is_ahead(record.ends, now)) {
            None => (0, ends),
            Some(Record { value: Value::Counter(number), ends }) => (*number, *ends),
            Some(_) => return Err(Refusal::NoCounter),
        };
        let sum = number.checked_add(by).filter(|sum| is_in_range(*sum)).ok_or(Refusal::OutOfRange)?;
        self.write(key, Some(Record { value: Value::Counter(sum), ends }))?;
        Ok(sum)
    }

    fn increment_shared(&mut self, key: &Arc<str>, by: i64, ends: Option<WallTime>) -> Result<i64, Refusal> {
        if !self.shares.contains(key) {
            self.fits_event(Size::default(), 1)?;
        }
        let (now, growth, limits) = (self.store.now(), self.growth, &self.store.shared.limits);
        let mut tables = self.store.lock();
        let values = tables.of(self.tenant, now);
        let fits = |values: &super::Values, added| values.fits(limits, growth + added, added);
        let sum = values.increment((key, self.event), by, (now, ends), fits)?;
        let others = values.get(key, now, self.event).map(|(_, shares)| shares);
        drop(tables);
        self.shares.insert(key.clone());
        self.see(key, &others.unwrap_or_default());
        Ok(sum)
    }

    /// Notes a write in place of an earlier one, where the event's and the tenant's bounds have room for it.
    fn write(&mut self, key: &str, record: Option<Record>) -> Result<(), Refusal> {
        self.store.check()?;
        let removed = Size { keys: 0, bytes: key.len() as i64 };
        let size = record.as_ref().map(|record| Size::of(key, &record.value));
        let before = self.writes.get(key).map_or(Default::default(), |write| (write.held, write.growth));
        let held = size.unwrap_or(removed);
        self.fits_event(held - before.0, usize::from(!self.writes.contains_key(key)))?;
        let growth = {
            let mut tables = self.store.lock();
            let values = tables.of(self.tenant, self.store.now());
            let growth = size.unwrap_or_default() - values.size_of(key);
            values.fits(&self.store.shared.limits, self.growth - before.1 + growth, growth - before.1)?;
            growth
        };
        self.held = self.held - before.0 + held;
        self.growth = self.growth - before.1 + growth;
        self.writes.insert(key.into(), Write { record, held, growth });
        Ok(())
    }

    /// Refuses more keys or bytes than one event may ask for.
    fn fits_event(&self, more: Size, keys: usize) -> Result<(), Refusal> {
        let limits = &self.store.shared.limits;
        let keys_after = self.writes.len() + self.shares.len() + keys;
        let bytes_after = self.held.bytes + more.bytes;
        let fits = keys_after <= limits.effects && (more.bytes <= 0 || bytes_after <= limits.effects_bytes as i64);
        fits.then_some(()).ok_or(Refusal::Event(limits.effects, limits.effects_bytes))
    }

    fn ends(&self, ttl_ms: Option<u32>) -> Option<WallTime> {
        ttl_ms.map(|ttl| self.store.now() + u64::from(ttl))
    }

    fn see(&mut self, key: &Arc<str>, shares: &[EventId]) {
        if self.store.shared.disk.get().is_some() {
            self.seen.extend(shares.iter().map(|event| (key.clone(), *event)));
        }
    }

    /// Carries it out. Returns once nothing of what the event did or saw can be lost any more; where that cannot be, the
    /// event counts as one that faulted.
    pub async fn commit(mut self) -> Result<(), Lost> {
        let store = self.store.clone();
        let Some(disk) = store.shared.disk.get() else {
            self.apply(None)?;
            return Ok(());
        };
        let room = disk.room(self.writes.len() + self.shares.len()).await?;
        self.apply(room)?;
        self.wait().await
    }

    /// Takes back what was asked for, and waits until nothing of what the event saw can be lost, since it answers all the same.
    pub async fn abandon(mut self) -> Result<(), Lost> {
        self.take_back();
        self.wait().await
    }

    /// Changes what is in memory, and hands the same changes over to the disk, in one order for both.
    fn apply(&mut self, room: Option<OwnedSemaphorePermit>) -> Result<(), Lost> {
        let now = self.store.now();
        let mut tables = self.store.lock();
        if self.store.shared.disk.get().is_some() && tables.queue.is_none() {
            return Err(Lost);
        }
        let tenant = self.tenant;
        let values = tables.of(tenant, now);
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.shares) {
            let settled = values.settle(&key, self.event);
            changes.extend(settled.map(|record| Change { tenant, key, record: Some(record) }));
        }
        for (key, Write { record, .. }) in std::mem::take(&mut self.writes) {
            let over = values.put(&key, record.clone(), now);
            changes.push(Change { tenant, key, record: record.filter(|_| !over) });
        }
        tables.submit(changes, room);
        drop(tables);
        self.store.shared.ended.notify_waiters();
        Ok(())
    }

    /// Waits for the events whose shares were seen, and then for the disk.
    async fn wait(&self) -> Result<(), Lost> {
        let Some(disk) = self.store.shared.disk.get() else { return Ok(()) };
        loop {
            let mut ended = std::pin::pin!(self.store.shared.ended.notified());
            // From here on no end is missed.
            ended.as_mut().enable();
            match self.seen_have_ended() {
                Some(submitted) => return disk.written(submitted).await,
                None => ended.await,
            }
        }
    }

    /// The last batch that the disk was given, once none of the seen shares may still be taken back.
    fn seen_have_ended(&self) -> Option<u64> {
        let mut tables = self.store.lock();
        let values = tables.tenants.entry(self.tenant).or_default();
        let open = self.seen.iter().any(|(key, event)| values.has_share(key, *event));
        (!open).then_some(tables.submitted)
    }

    fn take_back(&mut self) {
        if self.shares.is_empty() {
            return;
        }
        let mut tables = self.store.lock();
        let values = tables.tenants.entry(self.tenant).or_default();
        std::mem::take(&mut self.shares).iter().for_each(|key| values.take_back(key, self.event));
        drop(tables);
        self.store.shared.ended.notify_waiters();
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// A value as guests read it.
fn text(value: Value) -> Bytes {
    match value {
        Value::Bytes(bytes) => bytes,
        Value::Counter(number) => number.to_string().into(),
    }
}
