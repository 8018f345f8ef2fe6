//! What a store holds: the host's side of one instance.
//!
//! Between events it holds nothing of any connection; for the time of an event the transaction lies in it, so that host
//! calls reach it without a lock. Locked down: no files but those of a folder that the operator named, read-only; no
//! sockets, no environment, no inherited stdio.
//! Invariant: the transaction is there exactly while an event runs.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::Abilities;
use super::fault::Cause;
use super::generation::{Grants, Identity};
use super::http::Outgoing;
use super::output::{Output, Printer};
use crate::clock::{Clock, Moment};
use crate::config::Grant;
use crate::event::Failure;
use crate::transaction::Transaction;

/// Random bytes that a guest may ask for at once.
const MAX_RANDOM: u64 = 1024 * 1024;
/// A guest's clock, and that of one that is not granted a clock, which says less of what others do.
const FINE: Moment = Moment::from_nanos(1);
const COARSE: Moment = Moment::from_millis(100);
/// Handles and resources of one instance.
const MAX_RESOURCES: usize = 1000;
/// Elements of all tables of one instance: twice what the engines of other languages need.
const MAX_ELEMENTS: usize = 200_000;
/// What a component may be put together from, so that one instance cannot use up the pool: enough for a program in many
/// linked parts, which share one memory.
const MAX_MEMORIES: usize = 4;
const MAX_TABLES: usize = 16;
const MAX_PARTS: usize = 100;

/// The data of a store.
pub struct Guest {
    wasi: WasiCtx,
    pub(super) resources: ResourceTable,
    pub(super) memory: Memory,
    pub(super) output: Arc<Output>,
    pub(super) grants: Arc<Grants>,
    pub(super) abilities: Arc<Abilities>,
    pub(super) identity: Arc<Identity>,
    pub(super) transaction: Option<Box<Transaction>>,
    /// Made as it first asks another host.
    pub(super) outgoing: Option<Box<Outgoing>>,
    /// Ticks that the present event was seen running.
    ticks: u64,
    /// Why the present event has to end, where the host ended it.
    pub(super) cause: Option<Cause>,
    /// The key of the value that is being migrated, and whether the present event ended for it.
    pub(super) migrating: Option<Box<str>>,
}

impl Guest {
    /// The data of a fresh instance.
    pub fn new(abilities: Arc<Abilities>, identity: Arc<Identity>, grants: Arc<Grants>) -> Self {
        let output = Arc::new(Output::default());
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(MAX_RESOURCES);
        Self {
            wasi: wasi(&output, &abilities.clock, &grants),
            resources,
            memory: Memory { limit: identity.tenant.limits().guest_memory_bytes, ..Memory::default() },
            output,
            grants,
            abilities,
            identity,
            transaction: None,
            outgoing: None,
            ticks: 0,
            cause: None,
            migrating: None,
        }
    }

    /// An event begins.
    pub fn begin(&mut self, transaction: Option<Box<Transaction>>) {
        self.transaction = transaction;
        self.ticks = 0;
        self.cause = None;
        self.migrating = None;
        self.memory.refused = false;
    }

    /// The event ends, and with it all requests that it has on their way.
    pub fn end(&mut self) -> Option<Box<Transaction>> {
        let went_out = self.outgoing.as_mut().is_some_and(|outgoing| outgoing.end());
        let mut transaction = self.transaction.take()?;
        transaction.went_out |= went_out;
        Some(transaction)
    }

    /// The transaction of the event that runs; none runs while the component is instantiated.
    pub fn event(&mut self) -> Result<&mut Transaction, Failure> {
        present(&mut self.transaction)
    }

    /// What the host ends the event for, called at each tick: yield, or give up beyond the budget.
    pub fn tick(mut context: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        let guest = context.data_mut();
        guest.ticks += 1;
        if guest.ticks <= guest.identity.tenant.limits().event_cpu_ms {
            return Ok(UpdateDeadline::Yield(1));
        }
        guest.cause = Some(Cause::Deadline);
        Ok(UpdateDeadline::Interrupt)
    }
}

/// The same by itself, for who needs other parts of the guest beside it.
pub(super) fn present(transaction: &mut Option<Box<Transaction>>) -> Result<&mut Transaction, Failure> {
    transaction.as_deref_mut().ok_or_else(|| Failure::invalid("there is no event, and so no connection, here"))
}

fn wasi(output: &Arc<Output>, clock: &Clock, grants: &Grants) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(Printer(output.clone()))
        .stderr(Printer(output.clone()))
        .wall_clock(GuestClock::new(clock, grants))
        .monotonic_clock(GuestClock::new(clock, grants))
        .max_random_size(MAX_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(folder) = &grants.files
        // One that is gone meanwhile holds no files; the guest finds that out as it would for a single file.
        && let Err(error) = builder.preopened_dir(folder, "/", FsPerms::ReadOnly)
    {
        tracing::warn!(folder = %folder.display(), %error, "the folder of a plugin's `files` cannot be opened");
    }
    builder.build()
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// The server's clock, as guests see it.
struct GuestClock {
    clock: Clock,
    /// What its time is a multiple of.
    step: Moment,
}

impl GuestClock {
    fn new(clock: &Clock, grants: &Grants) -> Self {
        let step = if grants.granted.has(Grant::Clock) { FINE } else { COARSE };
        Self { clock: clock.clone(), step }
    }

    fn in_steps(&self, time: Moment) -> Moment {
        let over = time.as_nanos() % self.step.as_nanos();
        time - Moment::from_nanos(u64::try_from(over).unwrap_or_default())
    }
}

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Moment {
        self.step.max(Moment::from_millis(1))
    }

    fn now(&self) -> Moment {
        self.in_steps(self.clock.wall())
    }
}

impl HostMonotonicClock for GuestClock {
    fn resolution(&self) -> u64 {
        u64::try_from(self.step.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.in_steps(self.clock.now()).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Bounds what an instance may allocate, all of its parts together.
#[derive(Default)]
pub struct Memory {
    limit: usize,
    /// What its memories have, and how much of that was added last, which may still turn out not to be there.
    bytes: usize,
    added: usize,
    /// What its tables have.
    elements: usize,
    /// Whether the present event was refused memory, which most guests answer with a trap.
    pub(super) refused: bool,
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let added = desired.saturating_sub(current);
        let fits = self.bytes.saturating_add(added) <= self.limit;
        self.added = if fits { added } else { 0 };
        self.bytes += self.added;
        self.refused |= !fits;
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.bytes -= std::mem::take(&mut self.added);
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        let fits = elements <= MAX_ELEMENTS;
        if fits {
            self.elements = elements;
        }
        Ok(fits)
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }
}
