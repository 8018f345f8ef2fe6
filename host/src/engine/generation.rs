//! A generation: one version of a plugin, ready to be instantiated.
//!
//! Made by `engine/compile` from a file that was checked whole; never changed afterwards. Here is also what a
//! component must have to fit where it is used.
//! Invariant: a generation that exists was instantiated once without a fault.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::component::InstancePre;
use wasmtime_wasi_config::WasiConfigVariables;

use super::exports::Exports;
use super::guest::Guest;

/// Who a guest is, in logs and faults.
#[derive(Debug)]
pub struct Identity {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Which version of it, counted from 1 since the server started.
    pub generation: u64,
}

/// What the operator gives a plugin beside the contract.
pub struct Grants {
    /// Values to read.
    pub config: WasiConfigVariables,
    /// A folder to read, and nothing else of the machine.
    pub files: Option<PathBuf>,
}

/// One version of a plugin.
pub struct Generation {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The content's hash, in hexadecimal.
    pub hash: String,
    /// What it exports.
    pub exports: Exports,
    /// The version of the state that it writes (WIT `migration.state-version`).
    pub state_version: u32,
    pub(super) pre: InstancePre<Guest>,
    pub(super) grants: Arc<Grants>,
    /// Whether the log says already that it went back to values from before a migration.
    told_of_roll_back: AtomicBool,
}

impl Generation {
    pub(super) fn new(identity: Identity, hash: String, (pre, grants): (InstancePre<Guest>, Arc<Grants>)) -> Self {
        let exports = Exports::find(&pre);
        let (identity, told_of_roll_back) = (Arc::new(identity), AtomicBool::new(false));
        Self { identity, hash, exports, state_version: 0, pre, grants, told_of_roll_back }
    }

    /// The same with another number, for one that nobody has seen yet.
    pub(super) fn numbered(mut self, number: u64) -> Self {
        self.identity = Arc::new(Identity { plugin: self.identity.plugin.clone(), generation: number });
        self
    }

    /// True for whoever is first to say in the log that this generation was gone back to.
    pub(super) fn tells_of_roll_back(&self) -> bool {
        !self.told_of_roll_back.swap(true, Ordering::Relaxed)
    }
}
