//! What plugins are built from: which files are watched, and whose a changed one is.
//!
//! Folders are watched with all that is below them, single files through their folder. Events come from the system, or
//! from looking where the configuration chooses that.
//! Invariant: what a build or an editor leaves among sources is no edit, and neither is a file written as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::config::Config;

/// The sources of all plugins.
pub struct Sources {
    /// The plugin's name, and the real path, which is the one that events carry.
    roots: Vec<(String, PathBuf)>,
    /// What is watched, once that began; dropped, it ends.
    watched: Option<(Box<dyn Watcher>, Vec<Folder>)>,
    /// The content of each file that changed so far; none for one that is gone.
    seen: BTreeMap<PathBuf, Option<blake3::Hash>>,
}

/// A watched folder.
struct Folder {
    path: PathBuf,
    mode: RecursiveMode,
    /// What tells it from one that was made in its place; none while it is gone.
    identity: Identity,
}

type Identity = Option<(u64, Option<SystemTime>)>;

impl Sources {
    /// What the configuration names; an error where something of it is not there.
    pub fn new(config: &Config) -> Result<Self> {
        let built = config.plugins.iter().filter(|(_, plugin)| plugin.build.is_some());
        let named = built.flat_map(|(name, plugin)| plugin.watch.iter().map(move |path| (name, path)));
        let real = named.map(|(name, path)| match path.canonicalize() {
            Ok(real) => Ok((name.clone(), real)),
            Err(error) => bail!("plugin {name}: `watch` names {}, which cannot be watched: {error}", path.display()),
        });
        Ok(Self { roots: real.collect::<Result<_>>()?, watched: None, seen: BTreeMap::new() })
    }

    /// Whether an edit can change anything of this plugin.
    pub fn has(&self, plugin: &str) -> bool {
        self.roots.iter().any(|(name, _)| name == plugin)
    }

    /// Calls `changed` on another thread with each path that something happened to, for as long as these sources live.
    pub fn watch(&mut self, config: &Config, changed: impl Fn(PathBuf) + Send + 'static) -> notify::Result<()> {
        let note = move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && !matches!(event.kind, EventKind::Access(_))
            {
                event.paths.into_iter().for_each(&changed);
            }
        };
        let mut watcher: Box<dyn Watcher> = match config.watch.interval() {
            None => Box::new(notify::recommended_watcher(note)?),
            Some(interval) => {
                let every = notify::Config::default().with_poll_interval(interval).with_compare_contents(true);
                Box::new(notify::PollWatcher::new(note, every)?)
            }
        };
        let folders = self.folders();
        for folder in &folders {
            watcher.watch(&folder.path, folder.mode)?;
        }
        self.watched = Some((watcher, folders));
        Ok(())
    }

    /// What is to be watched: a file through its folder, since one that is saved by rename would be lost. These first, so that
    /// a folder which is a source itself ends up watched with all that is below it.
    fn folders(&self) -> Vec<Folder> {
        let (folders, files): (Vec<_>, Vec<_>) =
            self.roots.iter().map(|(_, path)| path).partition(|path| path.is_dir());
        let parents = files.iter().filter_map(|file| file.parent()).map(|path| (path, RecursiveMode::NonRecursive));
        let whole = folders.into_iter().map(|path| (&**path, RecursiveMode::Recursive));
        let folder = |(path, mode): (&Path, _)| Folder { path: path.to_owned(), mode, identity: identity(path) };
        parents.chain(whole).map(folder).collect()
    }

    /// Watches folders again that were removed and are back, which no event tells; gives the plugins that this is an edit of,
    /// each with the folder.
    pub fn look(&mut self) -> Vec<(String, String)> {
        let Some((watcher, folders)) = &mut self.watched else { return Vec::new() };
        let mut back = Vec::new();
        for folder in folders {
            let now = identity(&folder.path);
            let before = std::mem::replace(&mut folder.identity, now);
            let path = folder.path.display();
            match now {
                _ if now == before => {}
                None => tracing::warn!("the source {path} is gone; it is watched again once it is back"),
                Some(_) if watcher.watch(&folder.path, folder.mode).is_ok() => back.push(folder.path.clone()),
                // Gone once more, or not to be watched yet.
                Some(_) => folder.identity = None,
            }
        }
        let owners = |folder: &PathBuf| {
            let below = self.roots.iter().filter(|(_, root)| root.starts_with(folder)).map(|(name, _)| name.clone());
            below.map(|name| (name, format!("{} is back", folder.display()))).collect::<Vec<_>>()
        };
        back.iter().flat_map(owners).collect()
    }

    /// The plugins that a path belongs to, each with the path as a person would name it; none where its content is as
    /// it was seen last. So a build that writes among its own sources is not started by itself again and again.
    pub fn edited(&mut self, path: &Path) -> Vec<(String, String)> {
        let affected = self.affected(path);
        if affected.is_empty() {
            return affected;
        }
        let content = std::fs::read(path).ok().map(|content| blake3::hash(&content));
        let before = self.seen.insert(path.to_owned(), content);
        if before == Some(content) { Vec::new() } else { affected }
    }

    /// Leaves out the names of files that are gone, where others are there: editors write new files under passing names.
    pub fn without_passing(&self, files: BTreeSet<String>) -> BTreeSet<String> {
        let gone = self.seen.iter().filter(|(_, content)| content.is_none()).flat_map(|(path, _)| self.affected(path));
        let gone: BTreeSet<_> = gone.map(|(_, shown)| shown).collect();
        let there: BTreeSet<_> = files.difference(&gone).cloned().collect();
        if there.is_empty() { files } else { there }
    }

    fn affected(&self, path: &Path) -> Vec<(String, String)> {
        let belongs = |(name, root): &(String, PathBuf)| {
            let below = path.strip_prefix(root).ok().filter(|below| !below.iter().any(is_no_source))?;
            let start = Path::new(root.file_name().unwrap_or_default());
            let shown = if below.as_os_str().is_empty() { start.to_owned() } else { start.join(below) };
            Some((name.clone(), shown.display().to_string()))
        };
        self.roots.iter().filter_map(belongs).collect()
    }
}

fn identity(folder: &Path) -> Identity {
    let found = std::fs::metadata(folder).ok()?;
    Some((found.ino(), found.created().ok()))
}

/// What editors and builds leave among sources. A build that was started by what a build wrote would never end.
fn is_no_source(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(['.', '#']) || name.ends_with('~') || ["4913", "target", "node_modules"].contains(&name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(root: &Path) -> Sources {
        Sources { roots: vec![("chat".to_owned(), root.to_owned())], watched: None, seen: BTreeMap::new() }
    }

    fn changed(source: &str, path: &str) -> bool {
        !sources(Path::new(source)).affected(Path::new(path)).is_empty()
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

    #[test]
    fn a_file_is_shown_from_the_source_on() {
        let shown = |root: &str, path: &str| sources(Path::new(root)).affected(Path::new(path))[0].1.clone();
        assert_eq!(shown("/chat/src", "/chat/src/room/seat.rs"), "src/room/seat.rs");
        assert_eq!(shown("/chat/Cargo.toml", "/chat/Cargo.toml"), "Cargo.toml");
    }

    #[test]
    fn a_passing_file_is_not_named_beside_one_that_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut sources = sources(folder.path());
        std::fs::write(folder.path().join("lib.rs"), "one").expect("it can be written");
        let edit = |sources: &mut Sources, file: &str| sources.edited(&folder.path().join(file))[0].1.clone();
        let both = BTreeSet::from([edit(&mut sources, "sedXYZ"), edit(&mut sources, "lib.rs")]);
        let named: Vec<_> = sources.without_passing(both).into_iter().collect();
        assert!(named.len() == 1 && named[0].ends_with("lib.rs"), "{named:?}");
        let gone = BTreeSet::from([edit(&mut sources, "other.rs")]);
        assert_eq!(sources.without_passing(gone.clone()), gone, "what was removed is an edit too");
    }

    #[test]
    fn a_file_that_is_written_as_it_was_is_no_edit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("made.rs");
        let mut sources = sources(folder.path());
        let mut edit = |content: &str| {
            std::fs::write(&file, content).expect("it can be written");
            !sources.edited(&file).is_empty()
        };
        assert!(edit("one"));
        assert!(!edit("one"));
        assert!(edit("two"));
    }
}
