//! A generation: one version of a plugin, ready to be instantiated.
//!
//! Made by `engine/compile` from a file that was checked whole; never changed afterwards. Here is also what a
//! component must have to fit where it is used.
//! Invariant: a generation that exists was instantiated once without a fault.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use wasmtime::component::InstancePre;
use wasmtime_wasi_config::WasiConfigVariables;

use super::bindings::exports::switchboard::ws as guest;
use super::guest::Guest;

/// Who a guest is, in logs and faults.
#[derive(Debug)]
pub struct Identity {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Which version of it, counted from 1 since the server started.
    pub generation: u64,
}

/// Which interfaces a component exports, each with its pre-computed indices.
pub struct Exports {
    pub(super) handler: Option<guest::handler::GuestIndices>,
    pub(super) gate: Option<guest::gate::GuestIndices>,
    pub(super) inbound: Option<guest::inbound::GuestIndices>,
    pub(super) outbound: Option<guest::outbound::GuestIndices>,
}

impl Exports {
    /// Looks which there are.
    pub(super) fn find(pre: &InstancePre<Guest>) -> Self {
        Self {
            handler: guest::handler::GuestIndices::new(pre).ok(),
            gate: guest::gate::GuestIndices::new(pre).ok(),
            inbound: guest::inbound::GuestIndices::new(pre).ok(),
            outbound: guest::outbound::GuestIndices::new(pre).ok(),
        }
    }

    /// Their names, for people.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            ("handler", self.handler.is_some()),
            ("gate", self.gate.is_some()),
            ("inbound", self.inbound.is_some()),
            ("outbound", self.outbound.is_some()),
        ];
        all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }

    /// Whether the component can be a route's handler.
    pub fn is_handler(&self) -> bool {
        self.handler.is_some()
    }

    /// Whether the component can be middleware.
    pub fn is_middleware(&self) -> bool {
        self.gate.is_some() || self.inbound.is_some() || self.outbound.is_some()
    }

    /// Whether messages from clients pass it.
    pub fn is_inbound(&self) -> bool {
        self.inbound.is_some()
    }

    /// Whether messages to clients pass it.
    pub fn is_outbound(&self) -> bool {
        self.outbound.is_some()
    }

    /// Whether it is asked about connections.
    pub fn is_gate(&self) -> bool {
        self.gate.is_some()
    }
}

/// What the operator gives a plugin beside the contract.
pub struct Grants {
    /// Values to read.
    pub config: WasiConfigVariables,
    /// A folder to read, and nothing else of the machine.
    pub files: Option<PathBuf>,
}

/// What a young generation has shown so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Trial {
    /// No event of it has ended yet.
    Untried,
    /// An event ended well.
    Proven,
    /// Its first event faulted, and the generation before took over again.
    Rejected,
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
    trial: AtomicU8,
}

impl Generation {
    pub(super) fn new(
        identity: Identity,
        hash: String,
        (pre, grants): (InstancePre<Guest>, Arc<Grants>),
        unsupported: Vec<String>,
    ) -> Self {
        let exports = Exports::find(&pre);
        let trial = AtomicU8::new(Trial::Untried as u8);
        Self { identity: Arc::new(identity), hash, exports, unsupported, pre, grants, trial }
    }

    /// What it has shown.
    pub fn trial(&self) -> Trial {
        match self.trial.load(Ordering::Relaxed) {
            0 => Trial::Untried,
            1 => Trial::Proven,
            _ => Trial::Rejected,
        }
    }

    /// An event ended well. Costs a load in the usual case.
    pub fn prove(&self) {
        if self.trial() == Trial::Untried {
            self.settle(Trial::Proven);
        }
    }

    /// Ends the trial; true for whoever did so first.
    pub(super) fn settle(&self, as_what: Trial) -> bool {
        let untried = Trial::Untried as u8;
        self.trial.compare_exchange(untried, as_what as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
