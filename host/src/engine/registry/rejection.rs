//! Rejections: what was rolled back must not come back, with what it was given, unless somebody says so.
//!
//! A roll-back is told to the archive, which outlives the server; every load asks here first. What is rejected is a content
//! together with its `config`, `files` and grants (`compile::key`), since any of them may be to blame.
//! Invariant: what serves again after a roll-back is not what was rejected by it.

use std::sync::Arc;

use super::{Entry, Registry};
use crate::engine::archive::Archive;
use crate::engine::compile::{self, Candidate, LoadError, Source};
use crate::engine::generation::Generation;
use crate::engine::plugin::Plugin;

/// Why something was rejected that did nothing wrong by itself.
pub(super) const BY_COMMAND: &str = "it was rolled back by command";

/// What becomes of a file that was rejected before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// It is refused.
    Refuse,
    /// It is tried again, as if it had never been rejected.
    Forgive,
}

impl Registry {
    /// Rolls a generation back that is young and of no use, whatever its faults.
    pub fn withdraw(&self, plugin: &Plugin, generation: &Arc<Generation>, why: &'static str) {
        let is_young = plugin.serving().rollout.as_ref().is_some_and(|rollout| Arc::ptr_eq(&rollout.new, generation));
        if is_young && let Ok(rejected) = plugin.roll_back(why) {
            self.reject(plugin, &rejected, why);
        }
    }

    /// The archive is told by the scribe, since it writes files and a worker is waiting.
    pub(super) fn reject(&self, plugin: &Plugin, rejected: &Generation, why: &'static str) {
        self.engine.abilities.metrics.rollbacks.inc();
        let (name, generation) = (plugin.name(), rejected.identity.generation);
        if why == BY_COMMAND {
            tracing::info!(plugin = %name, generation, "rolled back by command: the one before serves again");
        } else {
            tracing::error!(plugin = %name, generation, "rolled back, since {why}: the one before serves again");
        }
        let present = plugin.current();
        // After two changes that cancel each other, what serves again is the same.
        if present.key == rejected.key {
            return;
        }
        let (name, key) = (name.clone(), rejected.key.clone());
        self.scribe.note(move |archive| archive.reject(&name, &key, why));
        // The same content with another `config` or other `files` is what serves again, and so is not to blame.
        if present.hash != rejected.hash {
            plugin.tell_archive(rejected, Archive::degrade);
        }
    }

    pub(super) fn forgive(&self, Entry { plugin, source }: &Entry, candidate: &Candidate) {
        plugin.forgive();
        let (name, key) = (source.name.clone(), compile::key(source, &candidate.hash));
        self.scribe.note(move |archive| archive.forgive(&name, &key));
    }
}

/// Refuses what was rejected before, with what it is given now; `plugin` knows what the archive is still to write.
pub(super) fn check_rejected(
    archive: &Archive,
    plugin: Option<&Plugin>,
    (source, candidate): (&Source, &Candidate),
) -> Result<(), LoadError> {
    let key = compile::key(source, &candidate.hash);
    let known = plugin.and_then(|plugin| plugin.rejection(&key)).map(str::to_owned);
    let Some(why) = known.or_else(|| archive.rejection(&source.name, &key)) else { return Ok(()) };
    let (name, file, hash) = (source.name.clone(), source.path.display().to_string(), candidate.hash.clone());
    Err(LoadError::Rejected(name, file, hash, why))
}
