//! The store: small values that all plugins of a tenant share, with a time to live where one is given.
//!
//! A cheap handle; what one event asks for is gathered in a [`draft::Draft`], which the transaction holds and the commit
//! carries out. [`values`] is what is kept in memory, and is all that is ever read; [`disk`] is a copy for the next start.
//! Once a write to the disk has failed, every question is refused until the server is started again, since nothing that
//! is told to a client may be lost.
//! Invariant: one short lock orders all changes, in memory and for the disk alike, and no await crosses it.

pub mod disk;
pub mod draft;
pub mod values;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};

use crate::clock::Clock;
use crate::id::TenantId;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::tenants::Tenants;
use disk::{Batch, Change, Disk, OpenError, Opened};
use draft::Draft;
use values::Values;

/// Milliseconds since the Unix epoch: when a value ends, also over a restart.
pub type WallTime = u64;

/// Why the store does not do what an event asks for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value over `store-value-bytes`.
    #[error("a value of the store has at most {limit} bytes, not {size}")]
    ValueTooLarge {
        /// What it has.
        size: usize,
        /// What it may have.
        limit: usize,
    },
    /// Over `store-keys`.
    #[error("a tenant has at most {0} keys in the store")]
    Keys(usize),
    /// Over `store-bytes`.
    #[error("what a tenant has in the store takes at most {0} bytes, keys included and 64 more for each")]
    Bytes(usize),
    /// Over what one event may ask for.
    #[error("one event may write at most {0} keys with {1} bytes together")]
    Event(usize, usize),
    /// An increment of bytes.
    #[error("the value is no counter")]
    NoCounter,
    /// An increment too far.
    #[error("a counter stays within plus or minus 2^53, also if increments of events that still run are taken back")]
    OutOfRange,
    /// The disk could not be written.
    #[error("the store could not be written to its disk, and is out of use until the server is started again")]
    Failed,
}

/// What an event wrote, or may have read, could not be kept: it counts as one that faulted.
#[derive(Debug)]
pub struct Lost;

/// A handle to the values of all tenants.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    tenants: Arc<Tenants>,
    metrics: Arc<Metrics>,
    tables: Mutex<Tables>,
    disk: OnceLock<Disk>,
    /// Names the next event that uses the store.
    next_event: AtomicU64,
    /// Rung when an event that had incremented has ended, for those that read what it did.
    ended: Notify,
}

/// What the lock guards.
#[derive(Default)]
struct Tables {
    tenants: HashMap<TenantId, Values>,
    /// Where changes go; none in memory only, and after the end.
    queue: Option<mpsc::UnboundedSender<Batch>>,
    /// How many batches were handed over.
    submitted: u64,
    /// Values that have ended and that the disk still has.
    freed: Vec<Change>,
}

impl Store {
    /// An empty store, in memory only.
    pub fn new(tenants: &Arc<Tenants>, clock: &Clock, metrics: &Arc<Metrics>) -> Self {
        let shared = Shared {
            clock: clock.clone(),
            tenants: tenants.clone(),
            metrics: metrics.clone(),
            tables: Mutex::default(),
            disk: OnceLock::new(),
            next_event: AtomicU64::new(0),
            ended: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Reads all that a file holds, and keeps every change in it from now on. Called once, before the first event.
    pub fn keep_in(&self, file: &Path) -> Result<(), OpenError> {
        let limits = self.limits(TenantId::UNNAMED);
        self.keep_on(Disk::open(file, &limits, &self.shared.metrics)?);
        Ok(())
    }

    fn keep_on(&self, (disk, queue, found): Opened) {
        let now = self.now();
        let mut tables = self.lock();
        for Change { tenant, key, record } in found {
            let freed = tables.tenants.entry(tenant).or_default().put(&key, record, now);
            tables.freed.extend(freed.then_some(Change { tenant, key, record: None }));
        }
        tables.queue = Some(queue);
        let set = self.shared.disk.set(disk);
        assert!(set.is_ok(), "a store has one disk");
    }

    /// What a tenant may have of it.
    fn limits(&self, tenant: TenantId) -> Arc<Limits> {
        self.shared.tenants.of(tenant).limits().clone()
    }

    /// What one event asks for, nothing so far.
    pub fn draft(&self, tenant: TenantId) -> Draft {
        Draft::new(self.clone(), tenant, self.shared.next_event.fetch_add(1, Ordering::Relaxed))
    }

    /// Frees the values whose time is over, which nobody sees any more.
    pub fn sweep(&self) {
        let now = self.now();
        // A part at a time, so that others get the lock in between.
        while self.lock().free_some(now) {}
        self.lock().submit(Vec::new(), None);
    }

    /// Writes what is left and closes the file. Events after it are refused where there was one.
    pub fn close(&self) {
        self.lock().queue = None;
        if let Some(disk) = self.shared.disk.get() {
            disk.join();
        }
    }

    fn now(&self) -> WallTime {
        u64::try_from(self.shared.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses where the disk has failed.
    fn check(&self) -> Result<(), Refusal> {
        let failed = self.shared.disk.get().is_some_and(Disk::has_failed);
        (!failed).then_some(()).ok_or(Refusal::Failed)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tables.get_mut().unwrap_or_else(PoisonError::into_inner).queue = None;
        if let Some(disk) = self.disk.get() {
            disk.join();
        }
    }
}

impl Tables {
    /// The values of a tenant, some of those that are over freed first.
    fn of(&mut self, tenant: TenantId, now: WallTime) -> &mut Values {
        self.free(tenant, now);
        self.tenants.entry(tenant).or_default()
    }

    /// Whether there was anything to free.
    fn free_some(&mut self, now: WallTime) -> bool {
        let tenants: Vec<_> = self.tenants.keys().copied().collect();
        tenants.into_iter().any(|tenant| self.free(tenant, now))
    }

    fn free(&mut self, tenant: TenantId, now: WallTime) -> bool {
        let freed = self.tenants.entry(tenant).or_default().free_some(now);
        let any = !freed.is_empty();
        if self.queue.is_some() {
            self.freed.extend(freed.into_iter().map(|key| Change { tenant, key, record: None }));
        }
        any
    }

    /// Hands changes over to the disk, if there is one; gives the number of the last batch, which may be an earlier one.
    fn submit(&mut self, changes: Vec<Change>, room: Option<OwnedSemaphorePermit>) -> u64 {
        let mut all = std::mem::take(&mut self.freed);
        all.extend(changes);
        if let Some(queue) = self.queue.as_ref().filter(|_| !all.is_empty()) {
            self.submitted += 1;
            // Once the writer is gone, whoever waits for this batch hears of it.
            let _ = queue.send(Batch { number: self.submitted, changes: all, _room: room });
        }
        self.submitted
    }
}
