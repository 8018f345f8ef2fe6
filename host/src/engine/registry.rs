//! The registry: all plugins of the server by name, and how a new file of one takes over.
//!
//! Reloads come from the watcher, from commands and from tests; they are worked off one at a time. A file that cannot
//! be used is reported and changes nothing; at the start of the server the last good one stands in for it.
//! Invariant: no lock of the registry is ever taken on the path of a message.

mod change;

pub use change::Change;

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
use crate::config::MismatchPolicy;
use crate::id::ConnectionId;

/// The number of the generation that a plugin starts with.
const FIRST: u64 = 1;

/// All plugins of the server.
pub struct Registry {
    engine: Arc<Engine>,
    cache: Cache,
    archive: Arc<Archive>,
    /// Replaced as a whole by another configuration.
    entries: ArcSwap<Entries>,
    /// Removed ones that connections still have.
    parted: Mutex<Vec<Parted>>,
    /// Held while a file is compiled: one at a time.
    loading: Mutex<()>,
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

/// How a reload is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Who asks: "file", "command", "configuration".
    pub by: &'static str,
    /// The share of the connections that is to take it first, in percent; none for what the configuration says.
    pub canary: Option<u8>,
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
        let cache = Cache::new(state.join("cache"), &engine.engine);
        let archive = Arc::new(Archive::new(state.join("plugins")));
        let mut entries = BTreeMap::new();
        let mut errors = Vec::new();
        for source in sources {
            match first(&engine, &cache, &archive, &source) {
                Ok(generation) => {
                    let record = record(&generation, &engine, "start", Duration::ZERO);
                    let plugin = Arc::new(Plugin::new(source.name.clone(), generation));
                    plugin.record(record);
                    entries.insert(source.name.clone(), Entry { plugin, source });
                }
                Err(error) => errors.push(error),
            }
        }
        cache.settle();
        let (entries, parted, loading) = (ArcSwap::from_pointee(entries), Mutex::default(), Mutex::default());
        let registry = Self { engine, cache, archive, entries, parted, loading };
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

    /// Reads a plugin's file again and rolls it out, if it holds something new that works. Slow: not for a worker's thread.
    pub fn reload(&self, name: &str, order: Order) -> Option<Result<Reload, LoadError>> {
        let (plugin, outcome) = self.try_reload(name, order)?;
        let metrics = &self.engine.abilities.metrics;
        plugin.note_trouble(outcome.as_ref().err().map(ToString::to_string));
        match &outcome {
            Ok(Reload::Swapped { generation, took, canary, .. }) => {
                metrics.reloads.inc();
                let (took_ms, canary) = (took.as_millis() as u64, *canary);
                tracing::info!(plugin = name, generation, took_ms, canary, "reloaded");
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
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = self.entries.load().get(name).cloned()?;
        let outcome = self.reload_entry(&entry, order);
        self.cache.settle();
        Some((entry.plugin.clone(), outcome))
    }

    fn reload_entry(&self, entry: &Entry, order: Order) -> Result<Reload, LoadError> {
        let start = Instant::now();
        let (source, plugin, abilities) = (&entry.source, &entry.plugin, &self.engine.abilities);
        let candidate = compile::read(source, abilities.limits().plugin_bytes)?;
        if plugin.current().hash == candidate.hash {
            return Ok(Reload::Unchanged);
        }
        if plugin.has_rejected(&candidate.hash) {
            return Err(rejected(source));
        }
        let next = accept((&self.engine, &self.cache, &self.archive), source, &candidate, || plugin.next_number())?;
        let (generation, took) = (next.identity.generation, start.elapsed());
        let canary = self.roll_out(entry, next, order, took);
        let swap = start.elapsed().saturating_sub(took);
        // Events are on the new code by now, and need not wait for the disk.
        self.archive.keep(&source.name, &candidate.hash, &candidate.bytes);
        Ok(Reload::Swapped { generation, took, swap, canary })
    }

    /// Rolls a generation out; gives the share of the connections that it takes for now, in percent.
    fn roll_out(&self, Entry { plugin, source }: &Entry, next: Generation, order: Order, took: Duration) -> u8 {
        let abilities = &self.engine.abilities;
        let canary = order.canary.or(source.canary).unwrap_or(100);
        let rules = Rules { canary, canary_time: source.canary_time, ..Rules::new(&abilities.limits()) };
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
        let rejected = entry.plugin.roll_back()?;
        self.reject(&entry.plugin, &rejected, "by command");
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

    /// Rolls a generation back that is young and of no use, whatever its faults.
    pub fn withdraw(&self, plugin: &Plugin, generation: &Arc<Generation>, why: &'static str) {
        let is_young = plugin.serving().rollout.as_ref().is_some_and(|rollout| Arc::ptr_eq(&rollout.new, generation));
        if is_young && let Ok(rejected) = plugin.roll_back() {
            self.reject(plugin, &rejected, why);
        }
    }

    /// Whether an event of this connection that faulted can be run again, on a generation that is not among those that it
    /// has faulted on.
    pub fn fall_back(&self, fault: &Fault, connection: ConnectionId, avoided: &[u64]) -> bool {
        let Some(Entry { plugin, .. }) = self.find(&fault.plugin).filter(|_| fault.cause != Cause::Host) else {
            return false;
        };
        if let Some(rejected) = plugin.faulted(fault.generation) {
            self.reject(&plugin, &rejected, "it faulted at once, or too often");
        }
        let again = plugin.has_other(connection, avoided);
        if again {
            self.engine.abilities.metrics.events_again.inc();
        }
        again
    }

    /// Whether connections go on with an empty state where theirs does not fit the plugin.
    pub fn resets_state(&self, plugin: &str) -> bool {
        self.find(plugin).is_some_and(|entry| entry.source.on_state_mismatch == MismatchPolicy::Reset)
    }

    /// The archive on a thread of its own, since it writes files and a worker is waiting.
    fn reject(&self, plugin: &Plugin, rejected: &Generation, why: &'static str) {
        self.engine.abilities.metrics.rollbacks.inc();
        let (name, generation) = (plugin.name(), rejected.identity.generation);
        tracing::error!(plugin = %name, generation, "rolled back, {why}: the one before serves again");
        // The same content with another `config` or other `files` is what serves again, and so is not to blame.
        if plugin.current().hash == rejected.hash {
            return;
        }
        let (archive, name, hash) = (self.archive.clone(), name.clone(), rejected.hash.clone());
        std::thread::spawn(move || archive.reject(&name, &hash));
    }
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

/// The generation that a plugin starts with: its file, or, where that cannot be used, the last good one.
fn first(engine: &Arc<Engine>, cache: &Cache, archive: &Archive, source: &Source) -> Result<Generation, LoadError> {
    let error = match from_file(engine, cache, archive, source) {
        Ok(generation) => return Ok(generation),
        Err(error) => error,
    };
    let Some(bytes) = archive.last_good(&source.name) else { return Err(error) };
    let good = (source, &Candidate::from(bytes));
    let Ok(generation) = compile::load(engine, Some(cache), good, FIRST) else { return Err(error) };
    tracing::warn!(plugin = %source.name, "started with the last good component instead: {error}");
    Ok(generation)
}

fn from_file(engine: &Arc<Engine>, cache: &Cache, archive: &Archive, source: &Source) -> Result<Generation, LoadError> {
    let candidate = compile::read(source, engine.abilities.limits().plugin_bytes)?;
    let generation = accept((engine, cache, archive), source, &candidate, || FIRST)?;
    archive.keep(&source.name, &candidate.hash, &candidate.bytes);
    Ok(generation)
}

/// Makes a generation of a component that was not rejected before.
fn accept(
    (engine, cache, archive): (&Arc<Engine>, &Cache, &Archive),
    source: &Source,
    candidate: &Candidate,
    number: impl FnOnce() -> u64,
) -> Result<Generation, LoadError> {
    if archive.is_rejected(&source.name, &candidate.hash) {
        return Err(rejected(source));
    }
    compile::load(engine, Some(cache), (source, candidate), number())
}

fn rejected(source: &Source) -> LoadError {
    LoadError::Rejected(source.name.clone(), source.path.display().to_string())
}
