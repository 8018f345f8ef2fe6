//! The configuration in force, and the way to another one while the server runs.
//!
//! The file is read again when it changes (`engine/watcher`), at a signal (`cli/serve`) and by tests. It is checked whole,
//! its plugins are loaded, and then it is applied: limits, plugins, and the plan that all requests from then on follow.
//! Invariants: one change at a time; one that fails at any step has changed nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use anyhow::{Context, Result};

use super::{check_serves, plan, sources};
use crate::config::Config;
use crate::engine::registry::Order;
use crate::engine::watcher::Watcher;
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
        self.watch_files(&[files(present), files(&next)].concat());
        let applied = self.apply(&next);
        self.watch_files(&files(if applied.is_ok() { &next } else { present }));
        applied.map(|()| next)
    }

    fn apply(&self, next: &Config) -> Result<()> {
        let Shared { registry, plans, .. } = &*self.shared;
        let change = registry.prepare(sources(next))?;
        let before = plans.borrow().clone();
        let plan = plan(next, change.plugins(), Some(&before))?;
        registry.engine().abilities().change(&next.limits, &next.rooms);
        change.apply();
        plans.send_replace(Arc::new(plan));
        Ok(())
    }

    /// Watches the configuration and the files of its plugins from here on.
    pub(super) fn watch(self: &Arc<Self>) -> Result<()> {
        let files = files(&self.config.lock().unwrap_or_else(PoisonError::into_inner));
        let log = tracing::dispatcher::get_default(Clone::clone);
        // Held weakly, so that the watcher does not outlive the server.
        let settings = Arc::downgrade(self);
        let changed = move |file: &Path| tracing::dispatcher::with_default(&log, || reread_file(&settings, file));
        let watcher = Watcher::start(files, changed).context("the configuration and plugin files cannot be watched")?;
        let set = self.watcher.set(watcher);
        debug_assert!(set.is_ok(), "watching begins once");
        Ok(())
    }

    fn watch_files(&self, files: &[PathBuf]) {
        if let Some(watcher) = self.watcher.get() {
            watcher.watch(files);
        }
    }
}

/// The file itself, and those of its plugins.
fn files(config: &Config) -> Vec<PathBuf> {
    std::iter::once(&config.file).chain(config.plugins.values().map(|plugin| &plugin.path)).cloned().collect()
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
    let same = |path: &Path| path.canonicalize().ok() == file.canonicalize().ok();
    let configuration = settings.config.lock().unwrap_or_else(PoisonError::into_inner).file.clone();
    if same(&configuration) {
        // What is wrong is in the log.
        let _reported = settings.reread();
    }
    let registry = &settings.shared.registry;
    for source in registry.sources().iter().filter(|source| same(&source.path)) {
        let _reported = registry.reload(&source.name, Order { by: "file", canary: None });
    }
}
