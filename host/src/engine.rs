//! The engine: WebAssembly components as plugins.
//!
//! The only door to wasmtime. Files become generations ([`compile`]), generations become instances ([`instance`]),
//! workers lease those from their pools ([`pool`]), and what guests call comes back through `imports`.
//! Input: plugin files and events; output: replies, transactions and faults.
//! Invariant: nothing of wasmtime is seen outside of this folder.

pub mod archive;
pub mod bindings;
pub mod breaker;
pub mod cache;
pub mod compile;
pub mod compiler;
mod contract;
mod errors;
pub mod exports;
pub mod fault;
pub mod generation;
mod guest;
mod http;
mod imports;
pub mod instance;
mod migration;
pub mod output;
pub mod plugin;
pub mod pool;
mod random;
pub mod registry;
pub mod rollout;
pub mod scribe;
pub mod shelf;
pub mod signature;
pub mod ticker;
pub mod watcher;

use std::sync::Arc;

use arc_swap::Guard;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::clock::Clock;
use crate::config::{RoomConfig, TenantConfig};
use crate::hub::Hub;
use crate::id::TenantId;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::tenants::{Tenants, Terms};
use compiler::Compiler;
use guest::Guest;
use ticker::Ticker;

/// The version of `switchboard:ws` that this host has.
const CONTRACT: &str = "0.1.0";

/// Whether an instance may take more than one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reuse {
    /// Instances are kept in the pool: the fast way.
    #[default]
    Always,
    /// Each event gets a fresh instance, so that a plugin which hides state in statics is found out.
    Never,
}

impl Reuse {
    /// Whether a backtrace has files and lines. They are looked up anew for each frame, which takes milliseconds where a
    /// component has much debug information: time that only who looks for mistakes has to spare.
    fn details(self) -> WasmBacktraceDetails {
        match self {
            Self::Always => WasmBacktraceDetails::Disable,
            Self::Never => WasmBacktraceDetails::Enable,
        }
    }
}

/// What calls of guests reach.
pub struct Abilities {
    /// Time, as guests see it.
    pub clock: Clock,
    /// Whose limits apply to what; those of the unnamed one are the server's.
    pub tenants: Arc<Tenants>,
    /// Where refusals and faults are counted.
    pub metrics: Arc<Metrics>,
    /// Rooms.
    pub hub: Arc<Hub>,
    /// Values that a tenant's plugins share.
    pub store: Store,
}

impl Abilities {
    /// The limits in force, for use now and not for keeping.
    pub fn limits(&self) -> Guard<Arc<Limits>> {
        self.tenants.server_limits()
    }

    /// Has these limits, these tenants and these words on rooms apply from here on, as far as a running server can change
    /// them.
    pub fn change(&self, limits: &Limits, tenants: &[TenantConfig], rooms: &[RoomConfig]) {
        let limits = limits.clone().beside_fixed(&self.limits());
        self.tenants.change(terms(&limits, tenants));
        self.hub.rooms().memory().change(rooms);
    }
}

/// What the configuration says of each tenant, the unnamed one included.
pub fn terms(limits: &Limits, tenants: &[TenantConfig]) -> Vec<Terms> {
    let unnamed = Terms { id: TenantId::UNNAMED, limits: limits.clone(), suspended: false };
    let named = tenants.iter().map(|tenant| Terms {
        id: tenant.id,
        limits: tenant.limits.clone().within(limits),
        suspended: tenant.suspended,
    });
    std::iter::once(unnamed).chain(named).collect()
}

/// One wasmtime engine with everything that components are linked to.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    abilities: Arc<Abilities>,
    ticker: Ticker,
    reuse: Reuse,
    compiler: Compiler,
}

/// How many instances the pooling allocator has room for, and what follows from it.
const INSTANCES: u32 = 1000;
/// Of a used slot, this much stays resident: about the pages that a small guest touches.
const KEEP_RESIDENT: usize = 256 * 1024;
/// What the JavaScript and Python engines need.
const TABLE_ELEMENTS: usize = 100_000;

impl Engine {
    /// An engine for the process. Falls back to allocation on demand where address space is short.
    pub fn new(abilities: Abilities, reuse: Reuse, compiler: Compiler) -> wasmtime::Result<Arc<Self>> {
        let details = reuse.details();
        let pooled = wasmtime::Engine::new(&settings(pooling(&abilities.limits()), details));
        let on_demand = || wasmtime::Engine::new(&settings(InstanceAllocationStrategy::OnDemand, details));
        let engine = pooled.or_else(|_| on_demand())?;
        let linker = imports::linker(&engine)?;
        let ticker = Ticker::start(engine.clone());
        Ok(Arc::new(Self { engine, linker, abilities: Arc::new(abilities), ticker, reuse, compiler }))
    }

    /// What calls of guests reach.
    pub fn abilities(&self) -> &Arc<Abilities> {
        &self.abilities
    }

    /// Whether an instance may take another event.
    pub fn reuses(&self) -> bool {
        self.reuse == Reuse::Always
    }

    /// The ticker that makes long events yield.
    pub fn ticker(&self) -> &Ticker {
        &self.ticker
    }
}

/// Turns off what no guest needs, and on what bounds them.
fn settings(allocation: InstanceAllocationStrategy, details: WasmBacktraceDetails) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(allocation)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_backtrace_details(details)
        .async_stack_zeroing(true);
    config
}

fn pooling(limits: &Limits) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES)
        .total_core_instances(100 * INSTANCES)
        .total_memories(INSTANCES)
        .total_tables(4 * INSTANCES)
        .total_stacks(INSTANCES)
        .max_memory_size(limits.guest_memory_bytes)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(64);
    InstanceAllocationStrategy::Pooling(pool)
}
