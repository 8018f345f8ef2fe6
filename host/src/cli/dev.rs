//! `switchboard dev`: builds, serves, and builds again what changes.
//!
//! Sources are watched; a change runs the plugin's build command, a newer one cancels it and runs it anew, and the new
//! component takes over in the open connections. A build that fails changes nothing. Each event runs on a fresh instance,
//! so that a plugin which keeps state in statics is found out while it is written.
//! Invariant: at most one build of a plugin runs, and none outlives this command's end.

mod job;
mod report;
mod sources;
mod swaps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::{build, compile, serve};
use crate::app::{self, App, Options};
use crate::config::{Config, PluginConfig};
use crate::engine::Reuse;
use crate::engine::watcher::{Change, Watcher};
use job::{Ended, Job, Show};
use report::Report;
pub use report::has_colors;
use sources::Sources;
use swaps::{Swap, Swapped, Swaps};

/// Editors write a file in several steps; a build waits until there was quiet for so long. Short, since a build that
/// began too early is cancelled.
const QUIET: Duration = Duration::from_millis(50);
/// After so long a build is said to run still.
const SLOW: Duration = Duration::from_secs(5);
/// How often what is not an event is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// All that can happen while sources are edited.
enum Happening {
    /// Something happened to this path.
    Source(PathBuf),
    /// The same, of a component's file.
    Component(PathBuf, Change),
    /// The build of this plugin ended.
    Built(String, Ended),
    /// Its component took over, or did not.
    Swapped(String, Box<Swapped>),
    /// It is time to stop, or no signal can be waited for.
    Stop(Result<()>),
}

/// What changed and was not built yet.
#[derive(Default)]
struct Edit {
    files: BTreeSet<String>,
    /// None for a first build, which waits for nothing.
    last: Option<Instant>,
}

struct Session<'a> {
    config: &'a Config,
    sources: Sources,
    sender: Sender<Happening>,
    pending: BTreeMap<String, Edit>,
    running: BTreeMap<String, (Job, Stamp)>,
    hinted: BTreeSet<String>,
    /// The component as the last build left it, whether that worked or not.
    left: BTreeMap<String, Stamp>,
    swaps: Swaps,
    report: Report,
    /// None until everything was built once.
    server: Option<(App, Option<Watcher>)>,
}

/// What tells whether a build wrote its component.
type Stamp = Option<(std::time::SystemTime, u64)>;

/// Builds, serves and watches until it is told to stop.
pub fn run(config: &Config) -> Result<()> {
    let mut sources = Sources::new(config)?;
    let (sender, happenings) = channel();
    let edits = sender.clone();
    // Nobody listens once the server stops. Before the first build, so that no edit falls between what is built and what
    // is watched.
    let watched = sources.watch(config, move |path| drop(edits.send(Happening::Source(path))));
    watched.context("the sources cannot be watched")?;
    let stop = sender.clone();
    std::thread::spawn(move || stop.send(Happening::Stop(serve::wait_for_end(std::future::pending()))));
    let built = config.plugins.iter().filter(|(_, plugin)| plugin.build.is_some());
    let pending = built.map(|(name, _)| (name.clone(), Edit::default())).collect();
    build::note_if_nothing(config);
    let (running, hinted, left, swaps, server) = Default::default();
    let report = Report::new();
    let mut session = Session { config, sources, sender, pending, running, hinted, left, swaps, report, server };
    session.go_on(&happenings)?;
    // Builds first, so that none is left where the server takes long.
    session.running.clear();
    if let Some((mut app, watcher)) = session.server {
        drop(watcher);
        app.stop();
    }
    Ok(())
}

impl Session<'_> {
    fn go_on(&mut self, happenings: &Receiver<Happening>) -> Result<()> {
        loop {
            self.begin_builds()?;
            if self.server.is_none()
                && self.pending.is_empty()
                && self.running.is_empty()
                && !self.report.is_any_broken()
            {
                self.serve()?;
            }
            match happenings.recv_timeout(self.wait()) {
                Ok(Happening::Source(path)) => self.edited(&path),
                Ok(Happening::Component(path, Change::Complete)) => self.replaced(&path),
                Ok(Happening::Component(path, change)) => self.report_presence(&path, change),
                Ok(Happening::Built(plugin, ended)) => self.built(&plugin, &ended)?,
                Ok(Happening::Swapped(plugin, swapped)) => self.swapped(&plugin, &swapped),
                Ok(Happening::Stop(outcome)) => return outcome,
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// How long there is nothing to do by itself.
    fn wait(&self) -> Duration {
        let waiting = self.pending.iter().filter(|(name, _)| !self.running.contains_key(*name));
        let since = waiting.filter_map(|(_, edit)| edit.last).min();
        since.map_or(LOOK, |last| (last + QUIET).saturating_duration_since(Instant::now()))
    }

    /// Starts what was edited and is quiet. First builds come one after the other, since they are shown as they run.
    fn begin_builds(&mut self) -> Result<()> {
        let quiet = |edit: &Edit| edit.last.is_none_or(|last| last.elapsed() >= QUIET);
        let ready = self.pending.iter().filter(|(name, edit)| quiet(edit) && !self.running.contains_key(*name));
        let ready: Vec<_> = ready.map(|(name, _)| name.clone()).collect();
        for name in ready {
            if self.report.show() == Show::Live && !self.running.is_empty() {
                break;
            }
            self.begin(&name)?;
        }
        Ok(())
    }

    fn begin(&mut self, name: &str) -> Result<()> {
        let edit = self.pending.remove(name).unwrap_or_default();
        let Some((plugin, command)) = self.plugin(name) else { return Ok(()) };
        let (sender, owner) = (self.sender.clone(), name.to_owned());
        // Nobody listens once the server stops.
        let ended = move |ended| drop(sender.send(Happening::Built(owner, ended)));
        let stamp = stamp(&plugin.path);
        let shell = build::prepare(command, &plugin.folder)?;
        let files = self.sources.without_passing(edit.files);
        let job = Job::start(shell, files, self.report.show(), ended)?;
        self.running.insert(name.to_owned(), (job, stamp));
        Ok(())
    }

    fn plugin(&self, name: &str) -> Option<(&PluginConfig, &str)> {
        let plugin = self.config.plugins.get(name)?;
        Some((plugin, plugin.build.as_deref()?))
    }

    /// Notes an edit; what is built from the state before it is cancelled, and its files count for the next build.
    fn edited(&mut self, path: &Path) {
        for (name, file) in self.sources.edited(path) {
            self.edit(name, file);
        }
    }

    fn edit(&mut self, name: String, file: String) {
        let running = self.running.get_mut(&name);
        let edit = self.pending.entry(name).or_default();
        edit.last = Some(Instant::now());
        edit.files.insert(file);
        if let Some((job, _)) = running {
            edit.files.append(&mut job.files);
            job.cancel();
        }
    }

    fn built(&mut self, name: &str, ended: &Ended) -> Result<()> {
        let Some((mut job, stamp)) = self.running.remove(name) else { return Ok(()) };
        self.hinted.remove(name);
        if job.is_cancelled() {
            return Ok(());
        }
        let took = job.started.elapsed();
        let component = self.plugin(name).map(|(plugin, _)| plugin.path.clone());
        self.left.insert(name.to_owned(), component.and_then(|path| self::stamp(&path)));
        match self.outcome(name, ended) {
            Err(error) => self.failed(name, &ended.output, &error),
            Ok(()) => {
                self.report.built(name, &ended.output);
                self.reload(name, std::mem::take(&mut job.files), (took, stamp));
                Ok(())
            }
        }
    }

    /// What is wrong with a build that ended, if anything is.
    fn outcome(&self, name: &str, ended: &Ended) -> Result<()> {
        let Some((plugin, command)) = self.plugin(name) else { return Ok(()) };
        let status = ended.status.ok_or_else(|| anyhow!("the build of plugin {name} was lost"))?;
        build::check_status(name, command, status)?;
        build::check_made(name, command, plugin)
    }

    /// Where nothing serves yet and no edit can mend it, that is the end.
    fn failed(&mut self, name: &str, output: &[u8], error: &anyhow::Error) -> Result<()> {
        if self.server.is_none() && !self.sources.has(name) {
            return Err(anyhow!("{error:#}"));
        }
        let then = if self.server.is_some() { "the old code goes on" } else { "waiting for a change of its source" };
        self.report.failed(name, output, &format!("{error:#}; {then}"));
        Ok(())
    }

    /// Gives a component that was built to the open connections.
    fn reload(&mut self, name: &str, files: BTreeSet<String>, (took, stamp_before): (Duration, Stamp)) {
        let Some((plugin, _)) = self.plugin(name) else { return };
        let path = plugin.path.display();
        let unchanged = if stamp(&plugin.path) == stamp_before {
            format!(
                "its build succeeded and did not write {path}; if it should have, correct `path`, or what `build` makes"
            )
        } else {
            "the new component is the same as the one that runs".to_owned()
        };
        self.swap(name, Swap { files, build: Some(took), unchanged: Some(unchanged) });
    }

    fn swap(&mut self, name: &str, swap: Swap) {
        let Some((app, _)) = &self.server else { return };
        let sender = self.sender.clone();
        // Nobody listens once the server stops.
        let tell = move |name, swapped| drop(sender.send(Happening::Swapped(name, Box::new(swapped))));
        self.swaps.begin(app.registry(), (name, swap), tell);
    }

    fn swapped(&mut self, name: &str, swapped: &Swapped) {
        let again = self.swaps.end(name);
        if let Some((app, _)) = &self.server {
            swapped.report(name, &self.report, app.metrics().connections.get());
            self.swaps.follow_states(name, swapped);
        }
        if let Some(swap) = again {
            self.swap(name, swap);
        }
    }

    /// A component's file was replaced. What a build does to it while it runs is not taken, and what it left was taken
    /// at its end, if it worked.
    fn replaced(&mut self, path: &Path) {
        if path == self.config.file {
            self.reread();
        }
        let same = self.config.plugins.iter().filter(|(_, plugin)| plugin.path == path);
        let names: Vec<_> = same.map(|(name, _)| name.clone()).collect();
        for name in names {
            let busy = self.running.contains_key(&name) || self.pending.contains_key(&name);
            let (found, left) = (stamp(path), self.left.get(&name).copied().flatten());
            let taken = found.is_none() || found == left;
            if !busy && !taken {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.swap(&name, Swap { files: BTreeSet::from([file]), build: None, unchanged: None });
            }
        }
        if let Some((app, _)) = &self.server {
            app.settings().retry(path);
        }
        self.watch_components();
    }

    /// What is there and what is gone, where that concerns what runs.
    fn report_presence(&self, path: &Path, change: Change) {
        if let Some((app, _)) = &self.server {
            app.settings().report_presence(path, change);
        }
    }

    /// A configuration that waits for a file has it watched.
    fn watch_components(&self) {
        if let Some((app, Some(watcher))) = &self.server {
            watcher.watch(app.settings().files());
        }
    }

    /// The configuration was edited. What is built and watched stays as it was at the start.
    fn reread(&self) {
        let Some((app, _)) = &self.server else { return };
        // What is wrong is in the log.
        let _reported = app.settings().reread();
        for name in app.registry().plugins().keys().filter(|name| !self.config.plugins.contains_key(&***name)) {
            tracing::warn!(plugin = %name, "a new plugin is built and watched once `switchboard dev` is started again");
        }
    }

    /// Everything was built once.
    fn serve(&mut self) -> Result<()> {
        // Before the files are read, so that no change falls between what is read and what is watched.
        let watch = app::watch_files(self.config)?;
        let app = App::start(self.config, &Options { reuse: Reuse::Never, watch: false, ..compile::options()? })?;
        let sender = self.sender.clone();
        // Nobody listens once the server stops.
        let tell = move |path: &Path, change| drop(sender.send(Happening::Component(path.to_owned(), change)));
        let watcher = watch.map(|watch| watch.tell(tell)).transpose().context("there is no thread for the watcher")?;
        serve::announce(&app);
        self.report.serving();
        self.server = Some((app, watcher));
        Ok(())
    }

    /// What nothing happens for.
    fn look(&mut self) {
        self.hint();
        if let Some((app, _)) = &self.server {
            self.swaps.report_states(app.registry(), &self.report);
        }
        for (name, folder) in self.sources.look() {
            self.edit(name, folder);
        }
    }

    /// Whoever waits for a build that hangs is told what is waited for, once.
    fn hint(&mut self) {
        if self.report.show() == Show::Live {
            return;
        }
        for (name, (job, _)) in &self.running {
            let took = job.started.elapsed();
            let command = self.config.plugins.get(name).and_then(|plugin| plugin.build.as_deref());
            if took >= SLOW && self.hinted.insert(name.clone()) {
                self.report.still_builds(name, command.unwrap_or_default(), took);
            }
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len()))
}
