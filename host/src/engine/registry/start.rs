//! How plugins start: with their files, or with what the archive knows where a file cannot be used.
//!
//! What has not shown yet that it is good is rolled out as it would be by a reload, with the one before it at hand: a file
//! that changed while no server ran, and one whose roll-out ended with its server.
//! Invariant: where a file cannot be used and a component worked before, the server starts with that and says why.

use std::sync::Arc;
use std::time::Duration;

use super::{Entry, FIRST, Order, Plugin, Registry, check_rejected};
use crate::engine::compile::{self, Candidate, LoadError, Source};
use crate::engine::generation::Generation;

/// Who has such generations take over, in records.
const BY: &str = "start";

impl Registry {
    /// A plugin with all its generations of this moment.
    pub(super) fn start(&self, source: &Source) -> Result<Arc<Plugin>, LoadError> {
        let (newest, candidate) = self.newest(source)?;
        let behind = self.archive.behind(&source.name, &newest.hash).filter(|known| !self.is_rejected(source, known));
        let behind = behind.into_iter().find_map(|known| self.first(source, &known));
        if let Some(candidate) = candidate {
            self.archive.keep(&source.name, &candidate, behind.as_ref().map(|behind| behind.hash.as_str()));
        }
        let Some(behind) = behind else { return Ok(self.begin(source, newest, (BY, Duration::ZERO))) };
        let plugin = self.begin(source, behind, (BY, Duration::ZERO));
        let next = newest.numbered(plugin.next_number());
        let (plugin_name, generation) = (&source.name, next.identity.generation);
        tracing::info!(plugin = %plugin_name, generation, "rolled out, with the one before at hand: it is not promoted yet");
        let entry = Entry { plugin: plugin.clone(), source: source.clone() };
        self.roll_out(&entry, next, Order::by(BY), Duration::ZERO);
        Ok(plugin)
    }

    /// What the file holds, which is given too, or, where that cannot be used, the last good one.
    fn newest(&self, source: &Source) -> Result<(Generation, Option<Candidate>), LoadError> {
        let error = match self.load_file(source) {
            Ok((generation, candidate)) => return Ok((generation, Some(candidate))),
            Err(error) => error,
        };
        let (rejected, good): (Vec<_>, Vec<_>) =
            self.archive.good(&source.name).partition(|known| self.is_rejected(source, known));
        let generation = good.iter().chain(&rejected).find_map(|known| self.first(source, known));
        let Some(generation) = generation else { return Err(error) };
        // Rejected with its `config` or `files`, and good with others that nobody knows any more.
        let same = matches!(&error, LoadError::Rejected(.., rejected, _) if *rejected == generation.hash);
        let how = if same { "all the same, since there is no other" } else { "with the last good component instead" };
        tracing::warn!(plugin = %source.name, "started {how}: {error}");
        Ok((generation, None))
    }

    fn is_rejected(&self, source: &Source, known: &Candidate) -> bool {
        self.archive.rejection(&source.name, &compile::key(source, &known.hash)).is_some()
    }

    fn load_file(&self, source: &Source) -> Result<(Generation, Candidate), LoadError> {
        let candidate = self.read(source)?;
        check_rejected(&self.archive, None, (source, &candidate))?;
        Ok((self.make(source, &candidate, FIRST)?, candidate))
    }

    /// One of the archive, if it still starts.
    fn first(&self, source: &Source, known: &Candidate) -> Option<Generation> {
        self.make(source, known, FIRST).ok()
    }
}
