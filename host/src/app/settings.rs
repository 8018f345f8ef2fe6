//! The configuration in force, and the way to another one while the server runs.
//!
//! The file is read again when it changes (`engine/watcher`), at a signal (`cli/serve`) and by tests. It is checked whole,
//! its plugins are loaded, and then it is applied: limits, plugins, and the plan that all requests from then on follow.
//! Invariants: one change at a time; one that fails at any step has changed nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use anyhow::{Context, Result};

use super::{check_serves, configured, plan, report_presence, sources, watched};
use crate::config::Config;
use crate::engine::registry::Order;
use crate::engine::terms;
use crate::engine::watcher::{Change, Watch, Watcher};
use crate::server::Shared;

/// What a running server does, and where that is written.
pub struct Settings {
    shared: Arc<Shared>,
    config: Mutex<Config>,
    /// None where nothing is watched.
    watcher: OnceLock<Watcher>,
}

impl Settings {
    /// With what the server started with.
    pub fn new(config: &Config, shared: &Arc<Shared>) -> Arc<Self> {
        let (shared, config) = (shared.clone(), Mutex::new(config.clone()));
        Arc::new(Self { shared, config, watcher: OnceLock::new() })
    }

    /// Reads the file again and applies it, or says what is wrong with it, in the words of `check`, and changes nothing.
    /// Slow: not for a worker's thread.
    pub fn reread(&self) -> Result<()> {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = &self.shared.registry.engine().abilities().metrics;
        match self.replace(&config) {
            Ok(next) => {
                metrics.reconfigurations.inc();
                tracing::info!(file = %next.file.display(), "the configuration was applied");
                warn_of_fixed(&config, &next);
                // What the server started with goes on to be what later files are compared with.
                *config = Config { fixed: config.fixed.clone(), ..next };
                Ok(())
            }
            Err(error) => {
                metrics.failed_reconfigurations.inc();
                tracing::error!("the configuration was not applied, the one before goes on: {error:#}");
                Err(error)
            }
        }
    }

    fn replace(&self, present: &Config) -> Result<Config> {
        let next = Config::read(&present.file)?;
        check_serves(&next)?;
        // New files before they are read, so that no change of them is missed.
        self.watch(&watched(present) | &watched(&next));
        let applied = self.apply(&next);
        self.watch(watched(if applied.is_ok() { &next } else { present }));
        applied.map(|()| next)
    }

    fn apply(&self, next: &Config) -> Result<()> {
        let Shared { registry, plans, .. } = &*self.shared;
        let abilities = registry.engine().abilities();
        abilities.tenants.introduce(terms(&abilities.limits(), &next.tenants));
        let change = registry.prepare(sources(next))?;
        let before = plans.borrow().clone();
        let plan = plan(next, (registry, change.plugins()), Some(&before))?;
        abilities.change(&next.limits, &next.tenants, &next.rooms);
        change.apply();
        plans.send_replace(Arc::new(plan));
        Ok(())
    }

    /// Follows what happens to the watched files from here on.
    pub(super) fn follow(self: &Arc<Self>, watch: Watch) -> Result<()> {
        let log = tracing::dispatcher::get_default(Clone::clone);
        // Held weakly, so that the watcher does not outlive the server.
        let settings = Arc::downgrade(self);
        let changed = move |file: &Path, change: Change| {
            tracing::dispatcher::with_default(&log, || match change {
                Change::Complete => reread_file(&settings, file),
                Change::Gone | Change::Back => report_presence(file, change),
            });
        };
        let set = self.watcher.set(watch.tell(changed).context("there is no thread for the watcher")?);
        debug_assert!(set.is_ok(), "watching begins once");
        Ok(())
    }

    fn watch(&self, files: BTreeSet<PathBuf>) {
        if let Some(watcher) = self.watcher.get() {
            watcher.watch(files);
        }
    }
}

fn warn_of_fixed(present: &Config, next: &Config) {
    let keys = present.fixed.changed(&next.fixed).join(", ");
    if !keys.is_empty() {
        tracing::warn!(keys, "these keys of [server] apply when the server is started again: {keys}");
    }
}

/// Reads a file again that changed: the configuration, or whatever plugins it is of.
fn reread_file(settings: &Weak<Settings>, file: &Path) {
    let Some(settings) = settings.upgrade() else { return };
    let is_configuration =
        configured(&settings.config.lock().unwrap_or_else(PoisonError::into_inner)).any(|one| one == file);
    if is_configuration {
        // What is wrong is in the log.
        let _reported = settings.reread();
    }
    let registry = &settings.shared.registry;
    for source in registry.sources().iter().filter(|source| source.path == file) {
        let _reported = registry.reload(&source.name, Order { by: "file", canary: None });
    }
}
