//! A generation: one version of a plugin, ready to be instantiated.
//!
//! Made by `engine/compile` from a file that was checked whole; never changed afterwards. Here is also what a
//! component must have to fit where it is used.
//! Invariant: a generation that exists was instantiated once without a fault.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use wasmtime::component::InstancePre;
use wasmtime_wasi_config::WasiConfigVariables;

use super::exports::Exports;
use super::guest::Guest;
use super::output::LogQuota;
use crate::config::{Granted, ReusePolicy, Targets};
use crate::tenants::Tenant;

/// Who a guest is, in logs and faults.
pub struct Identity {
    /// The plugin's name, its tenant's included.
    pub plugin: Arc<str>,
    /// Whose it is, and so whose limits apply.
    pub tenant: Arc<Tenant>,
    /// Which version of it, counted from 1 since the server started.
    pub generation: u64,
    /// What its instances may still write into the log.
    pub log: LogQuota,
}

/// What the operator gives a plugin beside the contract.
pub struct Grants {
    /// Values to read.
    pub config: WasiConfigVariables,
    /// A folder to read, and nothing else of the machine.
    pub files: Option<PathBuf>,
    /// What it may call.
    pub granted: Granted,
    /// Where it may send HTTP requests.
    pub http: Targets,
    /// Which events one instance may take.
    pub reuse: ReusePolicy,
}

/// One version of a plugin.
pub struct Generation {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The content's hash, in hexadecimal.
    pub hash: String,
    /// What a rejection of it goes by: its content with what it was given (`engine/compile`).
    pub key: String,
    /// What it exports.
    pub exports: Exports,
    /// The version of the state that it writes (WIT `migration.state-version`).
    pub state_version: u32,
    pub(super) pre: InstancePre<Guest>,
    pub(super) grants: Arc<Grants>,
    migrated: AtomicU64,
    rolled_back: AtomicU64,
    reset: AtomicU64,
    /// Whether the log says already that it went back to values from before a migration.
    told_of_roll_back: AtomicBool,
}

/// What became so far of values that another build had stored, each at the next event of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct States {
    /// The version of the state that the generation writes (WIT `migration.state-version`).
    pub version: u32,
    /// Values that it migrated, also in events that faulted after that.
    pub migrated: u64,
    /// Values that went back to what they were before a migration.
    pub rolled_back: u64,
    /// Values that did not fit it and were removed.
    pub reset: u64,
}

impl Generation {
    pub(super) fn new(
        identity: Identity,
        (hash, key): (String, String),
        (pre, grants): (InstancePre<Guest>, Arc<Grants>),
    ) -> Self {
        let exports = Exports::find(&pre);
        let (identity, state_version) = (Arc::new(identity), 0);
        let (migrated, rolled_back, reset, told_of_roll_back) = Default::default();
        Self {
            identity,
            hash,
            key,
            exports,
            state_version,
            pre,
            grants,
            migrated,
            rolled_back,
            reset,
            told_of_roll_back,
        }
    }

    /// What became so far of values that another build had stored.
    pub fn states(&self) -> States {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (migrated, rolled_back, reset) = (load(&self.migrated), load(&self.rolled_back), load(&self.reset));
        States { version: self.state_version, migrated, rolled_back, reset }
    }

    /// Counts a value that it migrated.
    pub(super) fn note_migrated(&self) {
        self.migrated.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts values that went back to what they were before a migration.
    pub(super) fn note_rolled_back(&self, values: u64) {
        self.rolled_back.fetch_add(values, Ordering::Relaxed);
    }

    /// Counts a value that did not fit it and was removed.
    pub(super) fn note_reset(&self) {
        self.reset.fetch_add(1, Ordering::Relaxed);
    }

    /// The same with another number, for one that nobody has seen yet.
    pub(super) fn numbered(mut self, number: u64) -> Self {
        let Identity { plugin, tenant, .. } = &*self.identity;
        let (plugin, tenant) = (plugin.clone(), tenant.clone());
        self.identity = Arc::new(Identity { plugin, tenant, generation: number, log: LogQuota::default() });
        self
    }

    /// True for whoever is first to say in the log that this generation was gone back to.
    pub(super) fn tells_of_roll_back(&self) -> bool {
        !self.told_of_roll_back.swap(true, Ordering::Relaxed)
    }
}
