//! What a plugin is doing, in words and numbers for people: what `switchboard plugins` shows.
//!
//! Made by [`super::Plugin::report`], sent over the control socket by `admin` and printed by `cli/control`.
//! Invariant: nothing here holds a generation alive.

use serde::{Deserialize, Serialize};

use crate::engine::generation::States;
use crate::engine::rollout::Seen;

/// What is remembered of a generation, when the generation itself may be gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub generation: u64,
    /// The hash of its content.
    pub hash: String,
    /// When it took over, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What made it take over: "start", "file", "command", "configuration".
    pub by: String,
    /// From reading the file to the swap, in milliseconds.
    pub took_ms: u64,
    /// Faults of its events.
    pub faults: u64,
    /// What became of it, in a word; empty for one that took over and stayed.
    pub fate: String,
}

/// What a plugin is doing, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub plugin: String,
    /// The number of the newest generation.
    pub generation: u64,
    /// The hash of its content.
    pub hash: String,
    /// What became of the states of connections that another build had stored.
    pub states: States,
    /// Its roll-out, while it is young.
    pub rollout: Option<RolloutReport>,
    /// Why the last file could not be loaded; none once one could.
    pub trouble: Option<String>,
    /// The generations so far, oldest first.
    pub records: Vec<Record>,
}

/// A roll-out, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolloutReport {
    /// The number of the generation before.
    pub before: u64,
    /// The share of the connections that the new one takes, in percent.
    pub share: u8,
    /// What was seen of the new one.
    pub new: Seen,
    /// What was seen of the one before.
    pub old: Seen,
    /// What the one before did with states.
    pub old_states: States,
}
