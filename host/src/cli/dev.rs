//! `switchboard dev`: builds, serves, and builds again what changes.
//!
//! Sources are watched; a change runs the plugin's build command, whose output is shown as its tools print it, and the new
//! component takes over in the open connections. A build that fails changes nothing. Each event runs on a fresh instance,
//! so that a plugin which keeps state in statics is found out while it is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{EventKind, RecursiveMode, Watcher as _};

use super::{build, serve};
use crate::app::{App, Options};
use crate::config::Config;
use crate::engine::Reuse;

/// Editors write a file in several steps; a build waits until there was quiet for so long.
const QUIET: Duration = Duration::from_millis(100);

/// Builds, serves and watches until it is told to stop.
pub fn run(config: &Config) -> Result<()> {
    build::all(config)?;
    let options = Options { reuse: Reuse::Never, ..Options::default() };
    let mut app = App::start(config, &options)?;
    serve::announce(&app);
    let (sender, changes) = channel();
    let _watcher = watch(config, sender)?;
    std::thread::spawn({
        let config = config.clone();
        move || rebuild(&config, &changes)
    });
    serve::wait_for_signal()?;
    app.stop();
    Ok(())
}

/// What a plugin is built from.
fn sources(config: &Config) -> impl Iterator<Item = (&String, &PathBuf)> {
    let built = config.plugins.iter().filter(|(_, plugin)| plugin.build.is_some());
    built.flat_map(|(name, plugin)| plugin.watch.iter().map(move |source| (name, source)))
}

fn watch(config: &Config, changes: Sender<PathBuf>) -> Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        for path in event.paths {
            // Nobody listens once the server stops.
            let _ = changes.send(path);
        }
    })?;
    for (name, source) in sources(config) {
        let watched = watcher.watch(source, RecursiveMode::Recursive);
        watched
            .with_context(|| format!("plugin {name}: `watch` names {}, which cannot be watched", source.display()))?;
    }
    Ok(watcher)
}

/// Builds what changed, one plugin at a time, for as long as changes come. The server itself notices the new component.
fn rebuild(config: &Config, changes: &Receiver<PathBuf>) {
    let mut pending = BTreeSet::new();
    loop {
        let wait = if pending.is_empty() { Duration::MAX } else { QUIET };
        match changes.recv_timeout(wait) {
            Ok(path) => pending.extend(affected(config, &path)),
            Err(RecvTimeoutError::Timeout) => {
                std::mem::take(&mut pending).iter().for_each(|name| build_one(config, name))
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The plugins that a changed file belongs to; the scratch files of editors belong to none.
fn affected(config: &Config, path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') || name.starts_with('#') || name.ends_with('~') || name == "4913" {
        return Vec::new();
    }
    let belongs = |source: &Path| source.canonicalize().is_ok_and(|source| path.starts_with(source));
    sources(config).filter(|(_, source)| belongs(source)).map(|(name, _)| name.clone()).collect()
}

fn build_one(config: &Config, name: &str) {
    let Some(command) = config.plugins.get(name).and_then(|plugin| plugin.build.as_ref()) else { return };
    tracing::info!(plugin = name, "its source changed: building");
    if let Err(error) = build::run(name, command, &config.folder) {
        tracing::error!("{error:#}; the old code goes on");
    }
}
