//! A change of the plugins, as another configuration has it: loaded whole first, and then applied whole.
//!
//! A plugin whose `path`, or what it is given beside it, changed gets a new generation; one that is new gets its first; one that is no
//! longer there ends with the last connection that has it. What stays as it is is not read again.
//! Invariants: until it is applied, a change has changed nothing; while it is prepared and applied, no reload runs.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::turns::Turn;
use super::{Entries, Entry, FIRST, LoadErrors, Order, Parted, Plugins, Registry, check_rejected};
use crate::engine::compile::{self, Candidate, LoadError, Source};
use crate::engine::generation::Generation;
use crate::engine::plugin::Plugin;

/// Who has such generations take over, in records.
const BY: &str = "configuration";

/// Plugins that are ready to take the place of those that the registry has.
pub struct Change<'a> {
    registry: &'a Registry,
    entries: Entries,
    /// What takes over in plugins that stay, and how long each took to load.
    next: Vec<(Entry, Generation, Duration)>,
    /// What the archive is to note as good, and the hash of what takes over again if it is not.
    loaded: Vec<(Arc<str>, Candidate, Option<String>)>,
    _turn: Turn<'a>,
}

impl Registry {
    /// Loads what is new in these sources. Slow: not for a worker's thread.
    pub fn prepare(&self, sources: Vec<Source>) -> Result<Change<'_>, LoadErrors> {
        let _turn = self.turns.wait();
        let (entries, next, loaded) = Default::default();
        let mut change = Change { registry: self, entries, next, loaded, _turn };
        let errors: Vec<_> = sources.into_iter().filter_map(|source| change.add(source).err()).collect();
        if errors.is_empty() { Ok(change) } else { Err(LoadErrors(errors)) }
    }

    pub(super) fn parted(&self, name: &str) -> Option<Entry> {
        let parted = self.parted.lock().unwrap_or_else(PoisonError::into_inner);
        parted.iter().filter(|parted| *parted.source.name == *name).find_map(|parted| {
            let plugin = parted.plugin.upgrade()?;
            Some(Entry { plugin, source: parted.source.clone() })
        })
    }
}

impl Change<'_> {
    /// The plugins as they will be.
    pub fn plugins(&self) -> Plugins {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.plugin.clone())).collect()
    }

    /// Puts all of it in place.
    pub fn apply(self) {
        let Self { registry, entries, next, loaded, .. } = self;
        for (name, candidate, before) in loaded {
            registry.archive.keep(&name, &candidate, before.as_deref());
        }
        for (entry, next, took) in next {
            registry.engine.abilities.metrics.reloads.inc();
            let (plugin, generation) = (entry.plugin.name(), next.identity.generation);
            tracing::info!(%plugin, generation, "reloaded with what the configuration says");
            registry.roll_out(&entry, next, Order::by(BY), took);
        }
        let before = registry.entries.swap(Arc::new(entries));
        let mut parted = registry.parted.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = registry.entries.load();
        parted.retain(|parted| parted.plugin.strong_count() > 0 && !entries.contains_key(&parted.source.name));
        for (_, entry) in before.iter().filter(|(name, _)| !entries.contains_key(*name)) {
            parted.push(Parted { plugin: Arc::downgrade(&entry.plugin), source: entry.source.clone() });
        }
        drop(parted);
        registry.trim();
    }

    fn add(&mut self, source: Source) -> Result<(), LoadError> {
        let present = self.registry.entries.load().get(&source.name).cloned();
        let is_same = present.as_ref().is_some_and(|present| is_same(&present.source, &source));
        let known = present.or_else(|| self.registry.parted(&source.name));
        // Its open connections go on using it as they do.
        let source = known.iter().fold(source, |source, known| Source {
            handler: source.handler || known.source.handler,
            middleware: source.middleware || known.source.middleware,
            ..source
        });
        let plugin = match known {
            Some(Entry { plugin, .. }) if is_same => {
                compile::check_role(&source, &plugin.current())?;
                plugin
            }
            Some(Entry { plugin, .. }) => {
                let (generation, took) = self.load(&source, Some(&plugin))?;
                let entry = Entry { plugin: plugin.clone(), source: source.clone() };
                self.next.push((entry, generation, took));
                plugin
            }
            None => {
                let (generation, took) = self.load(&source, None)?;
                self.registry.begin(&source, generation, (BY, took))
            }
        };
        self.entries.insert(source.name.clone(), Entry { plugin, source });
        Ok(())
    }

    fn load(&mut self, source: &Source, plugin: Option<&Arc<Plugin>>) -> Result<(Generation, Duration), LoadError> {
        let start = Instant::now();
        let registry = self.registry;
        let candidate = registry.read(source)?;
        registry.scribe.settle();
        check_rejected(&registry.archive, plugin.map(|plugin| &**plugin), (source, &candidate))?;
        let generation = registry.make(source, &candidate, plugin.map_or(FIRST, |plugin| plugin.next_number()))?;
        let before = plugin.map(|plugin| plugin.serving().tried().hash.clone());
        self.loaded.push((source.name.clone(), candidate, before));
        Ok((generation, start.elapsed()))
    }
}

/// Whether a plugin needs no new generation.
fn is_same(one: &Source, other: &Source) -> bool {
    (&one.path, &one.keys, one.given()) == (&other.path, &other.keys, other.given())
}
