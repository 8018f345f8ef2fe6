//! The watcher: notices that a file changed, and waits until it is complete.
//!
//! Editors and compilers write in place, in pieces, by rename, or delete and create; what counts is that the file has
//! been quiet for a while, and longer where somebody still has it open for writing. Besides the system's events it looks
//! at each file once a second, for folders that were removed and file systems without events.
//! Invariant: one thread, and at most one pending look per file, however many events come.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// A closed file that was quiet for so long is complete.
const QUIET: Duration = Duration::from_millis(60);
/// A file that somebody has open for writing is given longer.
const QUIET_WHILE_OPEN: Duration = Duration::from_secs(1);
/// How often files are looked at without an event.
const LOOK: Duration = Duration::from_secs(1);

/// Ends the watching when dropped.
pub struct Watcher {
    wanted: Wanted,
}

/// What is to be watched from the next look on, if that was said anew.
type Wanted = Arc<Mutex<Option<BTreeMap<PathBuf, Watched>>>>;

/// What tells one content of a file from another without reading it: time, size and inode.
type Stamp = Option<(i64, i64, u64, u64)>;

struct Watched {
    stamp: Stamp,
    /// When the file changed last, while nobody was told yet.
    changed: Option<Instant>,
    /// Whether it was written to and not closed since.
    open: bool,
}

struct Watching {
    wanted: Weak<Mutex<Option<BTreeMap<PathBuf, Watched>>>>,
    files: BTreeMap<PathBuf, Watched>,
    events: RecommendedWatcher,
    notices: Receiver<notify::Event>,
    looked: Instant,
}

impl Watcher {
    /// Watches these files; calls `changed` on a thread of its own for each that is complete after a change.
    pub fn start(files: Vec<PathBuf>, changed: impl FnMut(&Path) + Send + 'static) -> notify::Result<Self> {
        let wanted = Wanted::default();
        let (sender, notices) = channel();
        let events = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event {
                // Nobody listens once the watcher was dropped.
                let _ = sender.send(event);
            }
        })?;
        let (files, wanted_there) = (watched(&files), Arc::downgrade(&wanted));
        let mut watching = Watching { wanted: wanted_there, files, events, notices, looked: Instant::now() };
        watching.subscribe();
        thread::Builder::new()
            .name("watcher".into())
            .spawn(move || watching.run(changed))
            .map_err(notify::Error::io)?;
        Ok(Self { wanted })
    }

    /// Watches these files in place of those before. A change from this moment on is noticed, if not at once; a change of
    /// a file that stays is not forgotten.
    pub fn watch(&self, files: &[PathBuf]) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = wanted.take().unwrap_or_default();
        let mut files = watched(files);
        files.extend(before.into_iter().filter(|(file, _)| files.contains_key(file)).collect::<Vec<_>>());
        *wanted = Some(files);
    }
}

fn watched(files: &[PathBuf]) -> BTreeMap<PathBuf, Watched> {
    files.iter().map(|file| Watched::new(&canonical(file))).collect()
}

impl Watched {
    fn new(file: &Path) -> (PathBuf, Self) {
        (file.to_owned(), Self { stamp: stamp(file), changed: None, open: false })
    }

    /// When the file will be complete if nothing more happens to it.
    fn due(&self) -> Option<Instant> {
        self.changed.map(|changed| changed + if self.open { QUIET_WHILE_OPEN } else { QUIET })
    }
}

impl Watching {
    fn run(mut self, mut changed: impl FnMut(&Path)) {
        while self.take_wanted() {
            self.wait();
            if self.looked.elapsed() >= LOOK {
                self.look();
            }
            for file in self.complete() {
                changed(&file);
            }
        }
    }

    /// Goes over to the files that were named last; false once nobody wants any.
    fn take_wanted(&mut self) -> bool {
        let Some(wanted) = self.wanted.upgrade() else { return false };
        let named = wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut files) = named {
            for (file, watched) in &mut files {
                if let Some(known) = self.files.remove(file) {
                    *watched = known;
                }
            }
            self.files = files;
            // At the next look what changed since it was named is found too.
            self.subscribe();
        }
        true
    }

    /// Waits for an event, or until something is due.
    fn wait(&mut self) {
        let now = Instant::now();
        let due = self.files.values().filter_map(Watched::due).min().unwrap_or(now + LOOK);
        let timeout = due.saturating_duration_since(now).min(LOOK);
        if let Ok(event) = self.notices.recv_timeout(timeout) {
            self.note(&event);
            while let Ok(event) = self.notices.try_recv() {
                self.note(&event);
            }
        }
    }

    fn note(&mut self, event: &notify::Event) {
        let closed = matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)));
        if event.kind.is_access() && !closed {
            return;
        }
        for path in &event.paths {
            if let Some(watched) = self.files.get_mut(path) {
                watched.changed = Some(Instant::now());
                watched.open = event.kind.is_modify() && !closed && !is_rename(&event.kind);
            }
        }
    }

    /// What events may have missed.
    fn look(&mut self) {
        self.looked = Instant::now();
        for (file, watched) in &mut self.files {
            if watched.changed.is_none() && stamp(file) != watched.stamp {
                watched.changed = Some(self.looked);
                watched.open = true;
            }
        }
        self.subscribe();
    }

    /// The files that changed and have been quiet since. One that is gone is waited for; one whose stamp moved between
    /// the last event and now is still being written.
    fn complete(&mut self) -> Vec<PathBuf> {
        let now = Instant::now();
        let mut complete = Vec::new();
        for (file, watched) in &mut self.files {
            if watched.due().is_none_or(|due| due > now) {
                continue;
            }
            watched.changed = None;
            watched.open = false;
            watched.stamp = stamp(file);
            if watched.stamp.is_some() {
                complete.push(file.clone());
            }
        }
        complete
    }

    /// Watches the folders, since a watched file that is replaced would be lost. Repeated, a folder that was removed
    /// and made again is found.
    fn subscribe(&mut self) {
        let folders: std::collections::BTreeSet<_> = self.files.keys().filter_map(|file| file.parent()).collect();
        for folder in folders {
            // A folder that does not exist yet is tried again at the next look.
            let _ = self.events.watch(folder, RecursiveMode::NonRecursive);
        }
    }
}

fn is_rename(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Modify(notify::event::ModifyKind::Name(_)))
}

fn stamp(file: &Path) -> Stamp {
    let found = fs::metadata(file).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
}

/// Events carry the real folder's path; the file itself need not exist yet.
fn canonical(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| std::path::absolute(folder).unwrap_or(folder.to_owned()));
    file.file_name().map_or_else(|| file.to_owned(), |name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc;

    /// Each item is the file's content at the time that it was reported.
    fn watch(file: &Path) -> (Watcher, mpsc::Receiver<String>) {
        let (sender, reports) = channel();
        let watcher = Watcher::start(vec![file.to_owned()], move |path| {
            let _ = sender.send(fs::read_to_string(path).unwrap_or_default());
        });
        (watcher.expect("it can watch"), reports)
    }

    fn next(reports: &mpsc::Receiver<String>) -> String {
        reports.recv_timeout(Duration::from_secs(20)).expect("the change is reported")
    }

    #[test]
    fn a_rename_over_the_file_is_one_change() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, other) = (folder.path().join("a.wasm"), folder.path().join("a.tmp"));
        fs::write(&file, "one").expect("it can be written");
        let (_watcher, reports) = watch(&file);
        fs::write(&other, "two").expect("it can be written");
        fs::rename(&other, &file).expect("it can be renamed");
        assert_eq!(next(&reports), "two");
        assert!(reports.try_recv().is_err(), "several events are one change");
    }

    #[test]
    fn a_deleted_and_recreated_file_is_reported_once_it_is_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.wasm");
        fs::write(&file, "one").expect("it can be written");
        let (_watcher, reports) = watch(&file);
        fs::remove_file(&file).expect("it can be removed");
        fs::write(&file, "two").expect("it can be written");
        assert_eq!(next(&reports), "two");
    }

    #[test]
    fn a_removed_folder_that_comes_back_is_watched_again() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("target");
        let file = folder.join("a.wasm");
        fs::create_dir(&folder).expect("it can be made");
        fs::write(&file, "one").expect("it can be written");
        let (_watcher, reports) = watch(&file);
        fs::remove_dir_all(&folder).expect("it can be removed");
        fs::create_dir(&folder).expect("it can be made");
        fs::write(&file, "two").expect("it can be written");
        assert_eq!(next(&reports), "two");
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_not_reported_between_two_writes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.wasm");
        fs::write(&file, "one").expect("it can be written");
        let (_watcher, reports) = watch(&file);
        let mut writer = fs::File::create(&file).expect("it can be made");
        for part in ["two ", "three ", "four"] {
            writer.write_all(part.as_bytes()).expect("it can be written");
            assert!(reports.recv_timeout(QUIET * 2).is_err(), "it is still open");
        }
        drop(writer);
        assert_eq!(next(&reports), "two three four");
    }
}
