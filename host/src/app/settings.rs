//! The configuration in force, and the way to another one while the server runs.
//!
//! The file is read again when it changes (`engine/watcher`), at a signal (`cli/serve`) and by tests. It is checked whole,
//! its plugins are loaded, and then it is applied: limits, plugins, and the plan that all requests from then on follow.
//! Invariants: one change at a time; one that fails at any step has changed nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use anyhow::{Context, Result};

use super::changes::{Changes, Job};
use super::{check_serves, configured, plan, report_presence, sources, watched};
use crate::config::{Config, WatchConfig};
use crate::engine::registry::{LoadErrors, Order};
use crate::engine::signature;
use crate::engine::terms;
use crate::engine::watcher::{Change, Watch, Watcher};
use crate::id::TenantId;
use crate::server::Shared;

/// What a running server does, and where that is written.
pub struct Settings {
    shared: Arc<Shared>,
    config: Mutex<Config>,
    /// The plugin files of a configuration that is not in force, because one of its plugins does not load.
    awaited: Mutex<BTreeSet<PathBuf>>,
    /// None where nothing is watched.
    watcher: OnceLock<Watcher>,
}

impl Settings {
    /// With what the server started with.
    pub fn new(config: &Config, shared: &Arc<Shared>) -> Arc<Self> {
        let (shared, config, awaited) = (shared.clone(), Mutex::new(config.clone()), Mutex::default());
        Arc::new(Self { shared, config, awaited, watcher: OnceLock::new() })
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
                if !self.awaited().is_empty() {
                    tracing::info!("the configuration is tried again when a file of its plugins changes");
                }
                Err(error)
            }
        }
    }

    fn replace(&self, present: &Config) -> Result<Config> {
        self.awaited().clear();
        let next = read(&present.file).inspect_err(|_| self.watch(watched(present)))?;
        // New files before they are read, so that no change of them is missed.
        self.watch(&watched(present) | &watched(&next));
        match self.apply(&next) {
            Ok(()) => {
                self.watch(watched(&next));
                Ok(next)
            }
            Err(error) => {
                // Whatever is wrong with a plugin ends with another file of it.
                if error.is::<LoadErrors>() && next.watch != WatchConfig::Off {
                    *self.awaited() = next.plugins.values().map(|plugin| plugin.path.clone()).collect();
                } else {
                    self.watch(watched(present));
                }
                Err(error)
            }
        }
    }

    /// Reads the certificate and its key again, for the handshakes from now on. What is wrong is in the log: often that the
    /// other of the two files is still to come.
    fn renew(&self) {
        let Some(tls) = &self.shared.tls else { return };
        match tls.reload() {
            Ok(()) => tracing::info!("the certificate was read again, and is shown to new connections"),
            Err(error) => tracing::warn!("the certificate is as before: {error}"),
        }
    }

    /// Tries the configuration again that is not in force, if this is a file of its plugins. What is wrong is in the log.
    pub fn retry(&self, file: &Path) {
        if self.is_awaited(file) {
            let _reported = self.reread();
        }
    }

    /// Whether a configuration that is not in force waits for this file, which is told.
    fn is_awaited(&self, file: &Path) -> bool {
        let is_awaited = self.awaited().contains(file);
        if is_awaited {
            tracing::info!("{} changed: the configuration is tried again", file.display());
        }
        is_awaited
    }

    /// All files that are to be watched: those of the configuration in force, and those that another one waits for.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        &watched(&self.config.lock().unwrap_or_else(PoisonError::into_inner)) | &self.awaited()
    }

    /// Says that a watched file is gone or back, unless it was never there and another configuration waits for it.
    pub fn report_presence(&self, file: &Path, change: Change) {
        let is_used = self.shared.registry.sources().iter().any(|source| source.path == file);
        if is_used || !self.awaited().contains(file) {
            report_presence(file, change);
        }
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
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
        let sort = {
            let (settings, log) = (settings.clone(), log.clone());
            move |file: &Path| tracing::dispatcher::with_default(&log, || jobs(&settings, file))
        };
        let work = {
            let (settings, log) = (settings.clone(), log.clone());
            move |job: &Job| tracing::dispatcher::with_default(&log, || carry_out(&settings, job))
        };
        let changes = Changes::work_off(sort, work);
        let changes = changes.context("there is no thread for reloads")?;
        let changed = move |file: &Path, change: Change| {
            tracing::dispatcher::with_default(&log, || note(&settings, (file, change), &changes));
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

fn read(file: &Path) -> Result<Config> {
    let config = Config::read(file)?;
    check_serves(&config)?;
    Ok(config)
}

fn warn_of_fixed(present: &Config, next: &Config) {
    let keys = present.fixed.changed(&next.fixed).join(", ");
    if !keys.is_empty() {
        tracing::warn!(keys, "these keys of [server] apply when the server is started again: {keys}");
    }
}

/// Takes note of a change, on the watcher's thread: what takes a while is left to another, so that newer changes are seen
/// meanwhile.
fn note(settings: &Weak<Settings>, (file, change): (&Path, Change), changes: &Changes) {
    let Some(settings) = settings.upgrade() else { return };
    let registry = &settings.shared.registry;
    match change {
        Change::Complete => {
            changes.add(file);
            let own = registry.sources().into_iter().filter(|source| source.path == file);
            own.for_each(|source| registry.outdate(&source.name));
        }
        Change::Gone | Change::Back => settings.report_presence(file, change),
    }
}

/// What is to be read again where this file changed, and on whose account: the configuration, also where another one waits for
/// the file, and whatever plugins it is of.
fn jobs(settings: &Weak<Settings>, file: &Path) -> Vec<(TenantId, Job)> {
    let Some(settings) = settings.upgrade() else { return Vec::new() };
    let is_configured =
        configured(&settings.config.lock().unwrap_or_else(PoisonError::into_inner)).any(|one| one == file);
    let configuration = (is_configured || settings.is_awaited(file)).then_some((TenantId::UNNAMED, Job::Configuration));
    let is_certificate = settings.shared.tls.as_ref().is_some_and(|tls| tls.is_of(file));
    let certificate = is_certificate.then_some((TenantId::UNNAMED, Job::Certificate));
    let sources = settings.shared.registry.sources().into_iter();
    let own = sources.filter(|source| source.path == file || signature::file_of(&source.path) == file);
    own.map(|source| (source.tenant, Job::Plugin(source.name))).chain(configuration).chain(certificate).collect()
}

/// Reads again what changed. What is wrong is in the log.
fn carry_out(settings: &Weak<Settings>, job: &Job) {
    let Some(settings) = settings.upgrade() else { return };
    match job {
        Job::Configuration => _ = settings.reread(),
        Job::Certificate => settings.renew(),
        Job::Plugin(name) => _ = settings.shared.registry.reload(name, Order::by("file")),
    }
}
