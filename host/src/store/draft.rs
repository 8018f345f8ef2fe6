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
use crate::limits::Limits;

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
        let (size, limit) = (value.len(), self.limits().store_value_bytes);
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
        let (now, growth, limits) = (self.store.now(), self.growth, self.limits());
        let mut tables = self.store.lock();
        let values = tables.of(self.tenant, now);
        let fits = |values: &super::Values, added| values.fits(&limits, growth + added, added);
        let sum = values.increment((key, self.event), by, (now, ends), fits)?;
        let others = values.get(key, now, self.event).map(|(_, shares)| shares);
        drop(tables);
        self.shares.insert(key.clone());
        self.see(key, &others.unwrap_or_default());
        Ok(sum)
    }

    fn limits(&self) -> Arc<Limits> {
        self.store.limits(self.tenant)
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
            values.fits(&self.limits(), self.growth - before.1 + growth, growth - before.1)?;
            growth
        };
        self.held = self.held - before.0 + held;
        self.growth = self.growth - before.1 + growth;
        self.writes.insert(key.into(), Write { record, held, growth });
        Ok(())
    }

    /// Refuses more keys or bytes than one event may ask for.
    fn fits_event(&self, more: Size, keys: usize) -> Result<(), Refusal> {
        let limits = self.limits();
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::limits::Limits;
    use crate::metrics::Metrics;
    use crate::tenants::Tenants;

    fn store(limits: &Limits) -> (Store, Clock) {
        let clock = Clock::manual();
        (Store::new(&Tenants::new(limits), &clock, &Arc::new(Metrics::default())), clock)
    }

    fn on_disk(file: &Path) -> Store {
        let store = Store::new(&Tenants::new(&Limits::default()), &Clock::manual(), &Arc::new(Metrics::default()));
        store.keep_in(file).expect("the file can be used");
        store
    }

    fn draft(store: &Store) -> Draft {
        store.draft(TenantId::UNNAMED)
    }

    fn value(store: &Store, key: &str) -> Option<String> {
        let found = draft(store).get(key).expect("the store works");
        found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn set(store: &Store, key: &str, value: &'static str, ttl: Option<u32>) {
        let mut event = draft(store);
        event.set(key, Bytes::from_static(value.as_bytes()), ttl).expect("it fits");
        event.commit().await.expect("there is no disk");
    }

    #[tokio::test]
    async fn writes_are_seen_by_their_event_at_once_and_by_others_after_the_commit() {
        let (store, _) = store(&Limits::default());
        let mut event = draft(&store);
        event.set("key", Bytes::from_static(b"new"), None).expect("it fits");
        assert_eq!(event.get("key"), Ok(Some(Bytes::from_static(b"new"))));
        assert_eq!(value(&store, "key"), None);
        event.commit().await.expect("there is no disk");
        assert_eq!(value(&store, "key").as_deref(), Some("new"));
    }

    #[tokio::test]
    async fn a_draft_that_is_dropped_takes_back_its_own_increments_only() {
        let (store, _) = store(&Limits::default());
        let (mut first, mut second) = (draft(&store), draft(&store));
        assert_eq!(first.increment("n", 1, None), Ok(1));
        assert_eq!(second.increment("n", 10, None), Ok(11));
        assert_eq!(first.increment("n", 1, None), Ok(12));
        drop(first);
        assert_eq!(value(&store, "n").as_deref(), Some("10"));
        drop(second);
        assert_eq!(value(&store, "n"), None, "nobody is left who made it");
    }

    #[tokio::test]
    async fn a_counter_that_was_replaced_meanwhile_is_not_touched_by_taking_back() {
        let (store, _) = store(&Limits::default());
        let mut event = draft(&store);
        assert_eq!(event.increment("n", 5, None), Ok(5));
        let mut other = draft(&store);
        other.remove("n").expect("it fits");
        other.commit().await.expect("there is no disk");
        let mut third = draft(&store);
        assert_eq!(third.increment("n", 1, None), Ok(1));
        third.commit().await.expect("there is no disk");
        drop(event);
        assert_eq!(value(&store, "n").as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn taking_back_never_leads_out_of_the_range() {
        let (store, _) = store(&Limits::default());
        let (mut first, mut second) = (draft(&store), draft(&store));
        let most = super::super::values::COUNTER_LIMIT;
        assert_eq!(first.increment("n", most, None), Ok(most));
        assert_eq!(second.increment("n", -most, None), Ok(0));
        assert_eq!(second.increment("n", -1, None), Err(Refusal::OutOfRange), "without the first it would be too low");
        assert_eq!(first.increment("n", i64::MAX, None), Err(Refusal::OutOfRange));
        assert_eq!(first.increment("n", i64::MIN, None), Err(Refusal::OutOfRange));
        drop(first);
        assert_eq!(value(&store, "n"), Some((-most).to_string()));
    }

    #[tokio::test]
    async fn what_is_over_is_freed_by_the_next_sweep() {
        let (store, clock) = store(&Limits::default());
        for key in 0..250 {
            set(&store, &key.to_string(), "x", Some(1000)).await;
        }
        set(&store, "stays", "x", None).await;
        clock.advance(Duration::from_secs(1));
        assert_eq!(value(&store, "0"), None, "nobody sees it");
        store.sweep();
        assert_eq!(store.lock().of(TenantId::UNNAMED, 0).count(), 1);
        assert_eq!(value(&store, "stays").as_deref(), Some("x"));
    }

    #[tokio::test]
    async fn a_time_that_is_over_before_the_commit_leaves_nothing() {
        let (store, clock) = store(&Limits::default());
        set(&store, "key", "old", None).await;
        let mut event = draft(&store);
        event.set("key", Bytes::from_static(b"new"), Some(10)).expect("it fits");
        clock.advance(Duration::from_millis(10));
        assert_eq!(event.get("key"), Ok(None));
        event.commit().await.expect("there is no disk");
        assert_eq!(value(&store, "key"), None);
    }

    #[tokio::test]
    async fn on_disk_are_commits_and_no_increments_of_events_that_still_run() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("store.redb");
        let store = on_disk(&file);
        let mut open = draft(&store);
        assert_eq!(open.increment("n", 100, None), Ok(100));
        let mut event = draft(&store);
        event.set("key", Bytes::from_static(b"value"), None).expect("it fits");
        assert!(event.commit().await.is_ok(), "it saw no counter, and waits for nobody");
        let mut event = draft(&store);
        assert_eq!(event.increment("n", 1, None), Ok(101));
        // Handed over to the disk, but not answered, since the open event may still be taken back.
        event.apply(None).expect("the disk works");
        store.close();
        drop((open, event, store));
        let store = on_disk(&file);
        assert_eq!(value(&store, "n").as_deref(), Some("1"));
        assert_eq!(value(&store, "key").as_deref(), Some("value"));
        let mut late = draft(&store);
        assert_eq!(late.increment("n", 1, None), Ok(2));
        store.close();
        assert!(late.commit().await.is_err(), "nothing is kept after the end");
    }
}
