//! The registry: all plugins of the server by name, and how a new file of one takes over.
//!
//! Reloads come from the watcher, from commands and from tests; they are worked off one at a time. A file that cannot
//! be used is reported and changes nothing; at the start of the server the last good one stands in for it.
//! Invariant: no lock of the registry is ever taken on the path of a message.

mod change;
mod rejection;
mod start;
mod turns;

pub use change::Change;
pub use rejection::Rejected;
use rejection::{BY_COMMAND, check_rejected};
use turns::Turns;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::Engine;
use super::archive::Archive;
use super::cache::Cache;
use super::compile::{self, Candidate, LoadError, Source};
use super::fault::{Cause, Fault};
use super::generation::Generation;
use super::plugin::{NotPossible, Plugin, Record};
use super::rollout::Rules;
use super::scribe::Scribe;
use crate::config::MismatchPolicy;
use crate::id::ConnectionId;

/// The number of the generation that a plugin starts with.
const FIRST: u64 = 1;

/// All plugins of the server.
pub struct Registry {
    engine: Arc<Engine>,
    cache: Cache,
    archive: Arc<Archive>,
    scribe: Arc<Scribe>,
    /// Replaced as a whole by another configuration.
    entries: ArcSwap<Entries>,
    /// Removed ones that connections still have.
    parted: Mutex<Vec<Parted>>,
    turns: Turns,
}

/// Plugins by name.
pub type Plugins = BTreeMap<Arc<str>, Arc<Plugin>>;

type Entries = BTreeMap<Arc<str>, Entry>;

#[derive(Clone)]
struct Entry {
    plugin: Arc<Plugin>,
    source: Source,
}

/// A removed plugin, which ends with its last connection.
struct Parted {
    plugin: Weak<Plugin>,
    source: Source,
}

/// Who asks where `dev` does, which says itself what came of it.
pub const BUILD: &str = "build";

/// How a reload is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Who asks: "file", "command", "configuration", or [`BUILD`].
    pub by: &'static str,
    /// The share of the connections that is to take it first, in percent; none for what the configuration says.
    pub canary: Option<u8>,
    /// What to do with a file that was rejected before.
    pub rejected: Rejected,
}

impl Order {
    /// With the canary of the configuration, and without what was rejected.
    pub fn by(by: &'static str) -> Self {
        Self { by, canary: None, rejected: Rejected::Refuse }
    }
}

/// What a reload did.
#[derive(Debug, PartialEq, Eq)]
pub enum Reload {
    /// A new generation took over.
    Swapped {
        /// Its number.
        generation: u64,
        /// The time from reading the file to the swap.
        took: Duration,
        /// The time of the swap itself.
        swap: Duration,
        /// The share of the connections that it takes for now, in percent.
        canary: u8,
        /// The version of the state that the generation before writes, and that of the new one.
        states: (u32, u32),
    },
    /// The file holds what is rolled out already, which takes another share of the connections from now on.
    Shared {
        /// The generation's number.
        generation: u64,
        /// Its share, in percent.
        canary: u8,
    },
    /// The file holds what is running already.
    Unchanged,
}

/// Why the server cannot start with its plugins.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct LoadErrors(pub Vec<LoadError>);

impl Registry {
    /// Loads all plugins; `state` is the folder for the cache and the archive.
    pub fn load(engine: Arc<Engine>, sources: Vec<Source>, state: &Path) -> Result<Self, LoadErrors> {
        let cache = Cache::new(state.join("cache"), &engine.engine, &engine.abilities.metrics);
        let archive = Arc::new(Archive::new(state.join("plugins")));
        let scribe = Arc::new(Scribe::new(archive.clone()));
        let (entries, parted, turns) = Default::default();
        let registry = Self { engine, cache, archive, scribe, entries, parted, turns };
        let mut entries = BTreeMap::new();
        let mut errors = Vec::new();
        for source in sources {
            match registry.start(&source) {
                Ok(plugin) => _ = entries.insert(source.name.clone(), Entry { plugin, source }),
                Err(error) => errors.push(error),
            }
        }
        registry.entries.store(Arc::new(entries));
        registry.trim();
        if errors.is_empty() { Ok(registry) } else { Err(LoadErrors(errors)) }
    }

    /// The engine that all plugins run on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// All plugins of the configuration.
    pub fn plugins(&self) -> Plugins {
        let entries = self.entries.load();
        entries.iter().map(|(name, entry)| (name.clone(), entry.plugin.clone())).collect()
    }

    /// Where all plugins come from.
    pub fn sources(&self) -> Vec<Source> {
        self.entries.load().values().map(|entry| entry.source.clone()).collect()
    }

    /// A plugin of the configuration, or a removed one that connections still have.
    fn find(&self, name: &str) -> Option<Entry> {
        let entry = self.entries.load().get(name).cloned();
        entry.or_else(|| self.parted(name))
    }

    /// Reads a plugin's file again and rolls it out, if it holds something new that works. A load of the same plugin that
    /// runs already is given up for it. Slow: not for a worker's thread.
    pub fn reload(&self, name: &str, order: Order) -> Option<Result<Reload, LoadError>> {
        let (plugin, outcome) = self.try_reload(name, order)?;
        let metrics = &self.engine.abilities.metrics;
        if matches!(outcome, Err(LoadError::Outdated(..))) {
            metrics.outdated_loads.inc();
            return Some(outcome);
        }
        plugin.note_trouble(outcome.as_ref().err().map(ToString::to_string));
        match &outcome {
            Ok(Reload::Swapped { generation, took, canary, .. }) => {
                metrics.reloads.inc();
                let (took_ms, canary) = (took.as_millis() as u64, *canary);
                if order.by == BUILD {
                    tracing::debug!(plugin = name, generation, took_ms, canary, "reloaded");
                } else {
                    tracing::info!(plugin = name, generation, took_ms, canary, "reloaded");
                }
            }
            Ok(Reload::Shared { generation, canary }) => {
                tracing::info!(plugin = name, generation, canary, "the roll-out has another share of the connections");
            }
            Ok(Reload::Unchanged) => tracing::debug!(plugin = name, "the file is what runs already"),
            Err(error) => {
                metrics.failed_loads.inc();
                tracing::error!(plugin = name, "not reloaded, the old code goes on: {error}");
            }
        }
        Some(outcome)
    }

    /// None where there is no such plugin by the time that its turn comes.
    fn try_reload(&self, name: &str, order: Order) -> Option<(Arc<Plugin>, Result<Reload, LoadError>)> {
        self.outdate(name);
        let _turn = self.turns.wait();
        let entry = self.entries.load().get(name).cloned()?;
        let outcome = self.reload_entry(&entry, order);
        self.trim();
        Some((entry.plugin, outcome))
    }

    fn reload_entry(&self, entry: &Entry, order: Order) -> Result<Reload, LoadError> {
        let start = Instant::now();
        let Entry { source, plugin } = entry;
        let candidate = self.read(source)?;
        if plugin.current().key == compile::key(source, &candidate.hash) {
            return Ok(share(plugin, order.canary));
        }
        if order.rejected == Rejected::Forgive {
            self.forgive(entry, &candidate);
        }
        self.scribe.settle();
        check_rejected(&self.archive, Some(plugin), (source, &candidate))?;
        let load = || self.make(source, &candidate, plugin.next_number());
        let next = self.turns.load(&source.name, &candidate, load)?;
        let (generation, took) = (next.identity.generation, start.elapsed());
        let states = (plugin.current().state_version, next.state_version);
        // Before whatever the roll-out has noted.
        let (name, before) = (source.name.clone(), plugin.serving().tried().hash.clone());
        self.scribe.note(move |archive| archive.keep(&name, &candidate, Some(&before)));
        let canary = self.roll_out(entry, next, order, took);
        let swap = start.elapsed().saturating_sub(took);
        // Events are on the new code by now, and need not wait for the disk.
        self.scribe.settle();
        Ok(Reload::Swapped { generation, took, swap, canary, states })
    }

    /// A plugin's file, if its tenant may have one of this size.
    fn read(&self, source: &Source) -> Result<Candidate, LoadError> {
        compile::read(source, self.engine.abilities.tenants.of(source.tenant).limits().plugin_bytes)
    }

    /// Makes a generation of a component.
    fn make(&self, source: &Source, candidate: &Candidate, number: u64) -> Result<Generation, LoadError> {
        compile::load(&self.engine, Some(&self.cache), (source, candidate), number)
    }

    /// A plugin that begins with this generation, which somebody had take over.
    fn begin(&self, source: &Source, first: Generation, (by, took): (&'static str, Duration)) -> Arc<Plugin> {
        let record = record(&first, &self.engine, by, took);
        let plugin = Arc::new(Plugin::new(source.name.clone(), first, self.scribe.clone()));
        plugin.record(record);
        plugin
    }

    /// Keeps the cache within its bound, whatever was compiled.
    fn trim(&self) {
        let mut needed = self.archive.hashes();
        let serving = self.entries.load().values().flat_map(|entry| entry.plugin.hashes()).collect::<Vec<_>>();
        let parted = self.parted.lock().unwrap_or_else(PoisonError::into_inner);
        let parted = parted.iter().filter_map(|parted| parted.plugin.upgrade()).flat_map(|plugin| plugin.hashes());
        needed.extend(serving.into_iter().chain(parted));
        self.cache.trim(self.engine.abilities.limits().cache_bytes, &needed);
    }

    /// Rolls a generation out; gives the share of the connections that it takes for now, in percent.
    fn roll_out(&self, Entry { plugin, source }: &Entry, next: Generation, order: Order, took: Duration) -> u8 {
        let abilities = &self.engine.abilities;
        let canary = order.canary.or(source.canary).unwrap_or(100);
        let rules = Rules {
            canary,
            canary_time: source.canary_time,
            ..Rules::new(&abilities.tenants.of(source.tenant).limits())
        };
        plugin.record(record(&next, &self.engine, order.by, took));
        plugin.roll_out(Arc::new(next), rules, abilities.clock.now());
        canary
    }

    /// Ends the roll-out of a plugin well; gives the generation that now takes all events.
    pub fn promote(&self, name: &str) -> Result<u64, NotPossible> {
        let generation = self.known(name)?.plugin.promote()?;
        tracing::info!(plugin = name, generation, "promoted by command");
        Ok(generation)
    }

    /// Goes back to the generation before; gives the one that was rolled back and the one that serves again.
    pub fn roll_back(&self, name: &str) -> Result<(u64, u64), NotPossible> {
        let entry = self.known(name)?;
        let why = BY_COMMAND;
        let rejected = entry.plugin.roll_back(why)?;
        self.reject(&entry.plugin, &rejected, why);
        Ok((rejected.identity.generation, entry.plugin.current().identity.generation))
    }

    fn known(&self, name: &str) -> Result<Entry, NotPossible> {
        self.entries.load().get(name).cloned().ok_or_else(|| self.unknown(name))
    }

    /// What is said of a name that no plugin has.
    pub fn unknown(&self, name: &str) -> NotPossible {
        let entries = self.entries.load();
        let known: Vec<_> = entries.keys().map(|name| &**name).collect();
        NotPossible::Unknown(name.to_owned(), known.join(", "))
    }

    /// Whether an event of this connection that faulted can be run again, on a generation that is not among those that it
    /// has faulted on.
    pub fn fall_back(&self, fault: &Fault, connection: ConnectionId, avoided: &[u64]) -> bool {
        let Some(plugin) = self.judge(fault) else { return false };
        let again = plugin.has_other(connection, avoided);
        if again {
            self.engine.abilities.metrics.events_again.inc();
        }
        again
    }

    /// Rolls a young generation back where this fault is one too many. Gives the plugin whose it is, unless it is the host's.
    pub fn judge(&self, fault: &Fault) -> Option<Arc<Plugin>> {
        let Entry { plugin, .. } = self.find(&fault.plugin).filter(|_| fault.cause != Cause::Load)?;
        let why = "it faulted at once, or too often";
        if let Some(rejected) = plugin.faulted(fault.generation, why) {
            self.reject(&plugin, &rejected, why);
        }
        Some(plugin)
    }

    /// Notes that a value did not fit a generation and was removed.
    pub fn note_reset(&self, fault: &Fault) {
        if let Some(entry) = self.find(&fault.plugin) {
            entry.plugin.note_reset(fault.generation);
        }
    }

    /// Whether connections go on with an empty state where theirs does not fit the plugin.
    pub fn resets_state(&self, plugin: &str) -> bool {
        self.find(plugin).is_some_and(|entry| entry.source.on_state_mismatch == MismatchPolicy::Reset)
    }
}

/// What was seen of generations is written down before the server ends, for the next one.
impl Drop for Registry {
    fn drop(&mut self) {
        self.scribe.settle();
    }
}

/// Gives what is rolled out already the share that is asked for, so that whoever wants a canary has one also where the
/// watcher was faster.
fn share(plugin: &Plugin, canary: Option<u8>) -> Reload {
    let serving = plugin.serving();
    let (Some(canary), Some(rollout)) = (canary, &serving.rollout) else { return Reload::Unchanged };
    rollout.set_share(canary);
    Reload::Shared { generation: rollout.new.identity.generation, canary }
}

/// What a generation is remembered by.
fn record(generation: &Generation, engine: &Engine, by: &'static str, took: Duration) -> Record {
    Record {
        generation: generation.identity.generation,
        hash: generation.hash.clone(),
        at: u64::try_from(engine.abilities.clock.wall().as_millis()).unwrap_or(u64::MAX),
        by: by.to_owned(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        faults: 0,
        fate: String::new(),
    }
}
