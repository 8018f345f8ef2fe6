//! A generation: one version of a plugin, ready to be instantiated.
//!
//! Made by `engine/compile` from a file that was checked whole; never changed afterwards. Here is also what a
//! component must have to fit where it is used.
//! Invariant: a generation that exists was instantiated once without a fault.

use std::path::PathBuf;
use std::sync::Arc;

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
    /// Interfaces that it imports and that this host answers with "unsupported".
    pub unsupported: Vec<String>,
    pub(super) pre: InstancePre<Guest>,
    pub(super) grants: Arc<Grants>,
}

impl Generation {
    pub(super) fn new(
        identity: Identity,
        hash: String,
        (pre, grants): (InstancePre<Guest>, Arc<Grants>),
        unsupported: Vec<String>,
    ) -> Self {
        let exports = Exports::find(&pre);
        Self { identity: Arc::new(identity), hash, exports, unsupported, pre, grants }
    }
}
