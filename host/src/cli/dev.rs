//! `switchboard dev`: builds, serves, and builds again what changes.
//!
//! Sources are watched; a change runs the plugin's build command, whose output is shown as its tools print it, and the new
//! component takes over in the open connections. A build that fails changes nothing. Each event runs on a fresh instance,
//! so that a plugin which keeps state in statics is found out while it is written.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use notify::{EventKind, RecursiveMode, Watcher as _};

use super::{build, compile, serve};
use crate::app::{App, Options};
use crate::config::Config;
use crate::engine::Reuse;

/// Editors write a file in several steps; a build waits until there was quiet for so long.
const QUIET: Duration = Duration::from_millis(100);

/// Something that a plugin is built from: the plugin's name, and the real path, which is the one that events carry.
type Source = (String, PathBuf);

/// Builds, serves and watches until it is told to stop.
pub fn run(config: &Config) -> Result<()> {
    let sources = sources(config)?;
    let (sender, changes) = channel();
    // Before the first build, so that no edit falls between what is built and what is watched.
    let _watcher = watch(&sources, sender).context("the sources cannot be watched")?;
    build_all(config, &sources, &changes)?;
    let options = Options { reuse: Reuse::Never, ..compile::options()? };
    let mut app = App::start(config, &options)?;
    serve::announce(&app);
    std::thread::spawn({
        let config = config.clone();
        move || rebuild(&config, &sources, &changes)
    });
    serve::wait_for_signal()?;
    app.stop();
    Ok(())
}

/// The first build of everything. Where it fails and an edit can mend it, the next edit is waited for.
fn build_all(config: &Config, sources: &[Source], changes: &Receiver<PathBuf>) -> Result<()> {
    while let Err(error) = build::all(config) {
        if sources.is_empty() {
            return Err(error);
        }
        tracing::error!("{error:#}; waiting for a change of its source");
        while changes.recv().is_ok_and(|path| affected(sources, &path).is_empty()) {}
        while changes.recv_timeout(QUIET).is_ok() {}
    }
    Ok(())
}

fn sources(config: &Config) -> Result<Vec<Source>> {
    let built = config.plugins.iter().filter(|(_, plugin)| plugin.build.is_some());
    let named = built.flat_map(|(name, plugin)| plugin.watch.iter().map(move |path| (name, path)));
    named
        .map(|(name, path)| match path.canonicalize() {
            Ok(real) => Ok((name.clone(), real)),
            Err(error) => bail!("plugin {name}: `watch` names {}, which cannot be watched: {error}", path.display()),
        })
        .collect()
}

fn watch(sources: &[Source], changes: Sender<PathBuf>) -> notify::Result<notify::RecommendedWatcher> {
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
    let (folders, files): (Vec<_>, Vec<_>) = sources.iter().map(|(_, path)| path).partition(|path| path.is_dir());
    // A file through its folder, since one that is saved by rename would be lost. First, so that a folder which is a
    // source itself ends up watched with all that is below it.
    for folder in files.iter().filter_map(|file| file.parent()) {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    for folder in folders {
        watcher.watch(folder, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

/// Builds what changed, one plugin at a time, for as long as changes come. The server itself notices the new component.
fn rebuild(config: &Config, sources: &[Source], changes: &Receiver<PathBuf>) {
    let mut pending = BTreeSet::new();
    loop {
        let wait = if pending.is_empty() { Duration::MAX } else { QUIET };
        match changes.recv_timeout(wait) {
            Ok(path) => pending.extend(affected(sources, &path)),
            Err(RecvTimeoutError::Timeout) => {
                std::mem::take(&mut pending).iter().for_each(|name| build_one(config, name))
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The plugins that a changed file belongs to.
fn affected(sources: &[Source], path: &Path) -> Vec<String> {
    let belongs = |source: &Path| path.strip_prefix(source).is_ok_and(|below| !below.iter().any(is_no_source));
    sources.iter().filter(|(_, source)| belongs(source)).map(|(name, _)| name.clone()).collect()
}

/// What editors and builds leave among sources. A build that was started by what a build wrote would never end.
fn is_no_source(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(['.', '#']) || name.ends_with('~') || ["4913", "target", "node_modules"].contains(&name.as_ref())
}

fn build_one(config: &Config, name: &str) {
    let Some(plugin) = config.plugins.get(name) else { return };
    tracing::info!(plugin = name, "its source changed: building");
    if let Err(error) = build::plugin(name, plugin, &config.folder) {
        tracing::error!("{error:#}; the old code goes on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(source: &str, path: &str) -> bool {
        !affected(&[("chat".to_owned(), PathBuf::from(source))], Path::new(path)).is_empty()
    }

    #[test]
    fn a_file_below_a_source_or_the_source_itself_is_a_change() {
        assert!(changed("/chat/src", "/chat/src/room/seat.rs"));
        assert!(changed("/chat/Cargo.toml", "/chat/Cargo.toml"));
        assert!(!changed("/chat/src", "/chat/README.md"));
        assert!(!changed("/chat/src", "/chat/srcs/lib.rs"));
    }

    #[test]
    fn what_editors_and_builds_leave_is_no_change() {
        let left =
            [".lib.rs.swp", "lib.rs~", "#lib.rs#", "4913", "target/x.d", ".git/index", "node_modules/ws/index.js"];
        for path in left {
            assert!(!changed("/chat", &format!("/chat/{path}")), "{path}");
        }
    }

    #[test]
    fn a_source_below_such_a_folder_is_watched_where_it_is_named() {
        assert!(changed("/home/ann/.work/target/chat", "/home/ann/.work/target/chat/lib.rs"));
    }
}
