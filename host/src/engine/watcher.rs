//! The watcher: notices that a file changed, and waits until it is complete.
//!
//! Editors and compilers write in place, in pieces, by rename, or delete and create; what counts is that the file has
//! been quiet for a while, longer where somebody still has it open for writing, and longer still where it ends in the
//! middle of a component. Besides the system's events it looks at each file once a second, for folders that were
//! removed, links that lead elsewhere, and file systems without events; where polling is chosen, it only looks.
//! Invariant: one thread, and at most one pending look per file, however many events come.

mod sections;
mod sighting;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use sighting::{Sighting, Touch};

/// Ends the watching when dropped.
pub struct Watcher {
    wanted: Arc<Wanted>,
}

/// What is to be watched from now on, if that was said anew.
type Wanted = Mutex<Option<Vec<Sighting>>>;

/// What became of a watched file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is another one, and quiet.
    Complete,
    /// It has not been there for a while.
    Gone,
    /// It is there again after that; whether it is another one is told apart from it.
    Back,
}

/// How long what is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A closed file that was quiet for so long is complete.
    quiet: Duration,
    /// One that was renamed to its name came whole, so this need only outlast events that belong together.
    quiet_when_renamed: Duration,
    /// A file that somebody may have open for writing is given longer.
    quiet_while_open: Duration,
    /// How long the rest of a file is waited for that ends in the middle of a component.
    patience: Duration,
    /// How often files are looked at without an event.
    look: Duration,
    /// How long a file may be away before that is told.
    gone: Duration,
}

impl Pace {
    /// With the system's events.
    pub const EVENTS: Self = Self {
        quiet: Duration::from_millis(60),
        quiet_when_renamed: Duration::from_millis(10),
        quiet_while_open: Duration::from_secs(1),
        patience: Duration::from_secs(5),
        look: Duration::from_secs(1),
        gone: Duration::from_secs(3),
    };

    /// Without them: a file is quiet that looks the same twice, `interval` apart.
    pub fn poll(interval: Duration) -> Self {
        Self {
            quiet: interval,
            quiet_when_renamed: interval,
            quiet_while_open: interval,
            look: interval,
            ..Self::EVENTS
        }
    }
}

/// Files as they were when watching began, while nobody is told yet.
pub struct Watch {
    files: Vec<Sighting>,
    pace: Pace,
    /// None where only looks count, with the folders that are watched.
    events: Option<(RecommendedWatcher, BTreeSet<PathBuf>)>,
    notices: Receiver<notify::Event>,
    /// Keeps the channel open where nothing else sends.
    _sender: Sender<notify::Event>,
    looked: Instant,
}

impl Watcher {
    /// Watches these files in place of those before. A change from this moment on is noticed, if not at once; a change of
    /// a file that stays is not forgotten.
    pub fn watch(&self, files: impl IntoIterator<Item = PathBuf>) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut named = wanted.take().unwrap_or_default();
        let mut keep = |file: PathBuf| match named.iter().position(|known| known.file() == file) {
            Some(place) => named.swap_remove(place),
            None => Sighting::new(file),
        };
        *wanted = Some(files.into_iter().map(&mut keep).collect());
    }
}

impl Watch {
    /// Begins to watch: whatever happens to the files from now on will be told. `poll` is how often to look, without the
    /// system's events.
    pub fn begin(files: impl IntoIterator<Item = PathBuf>, poll: Option<Duration>) -> notify::Result<Self> {
        let (sender, notices) = channel();
        let events = match poll {
            None => Some((subscriber(sender.clone())?, BTreeSet::new())),
            Some(_) => None,
        };
        let pace = poll.map_or(Pace::EVENTS, Pace::poll);
        let mut watch = Self { files: Vec::new(), pace, events, notices, _sender: sender, looked: Instant::now() };
        watch.files = files.into_iter().map(Sighting::new).collect();
        watch.subscribe();
        // Once more, for what changed before the folders were watched.
        for file in &mut watch.files {
            let _nothing_to_tell_yet = file.look(&pace);
        }
        Ok(watch)
    }

    /// Calls `changed` on a thread of its own for whatever happens.
    pub fn tell(self, changed: impl FnMut(&Path, Change) + Send + 'static) -> std::io::Result<Watcher> {
        let wanted = Arc::new(Wanted::default());
        let wanted_there = Arc::downgrade(&wanted);
        thread::Builder::new().name("watcher".into()).spawn(move || self.run(&wanted_there, changed))?;
        Ok(Watcher { wanted })
    }

    fn run(mut self, wanted: &Weak<Wanted>, mut changed: impl FnMut(&Path, Change)) {
        while self.take_wanted(wanted) {
            self.wait();
            if self.looked.elapsed() >= self.pace.look {
                self.look(&mut changed);
            }
            let (now, pace) = (Instant::now(), self.pace);
            for file in self.files.iter_mut().filter(|file| file.due(&pace).is_some_and(|due| due <= now)) {
                if let Some(change) = file.settle() {
                    changed(file.file(), change);
                }
            }
        }
    }

    /// Goes over to the files that were named last; false once nobody wants any. What is known of a file that stays is kept.
    fn take_wanted(&mut self, wanted: &Weak<Wanted>) -> bool {
        let Some(wanted) = wanted.upgrade() else { return false };
        let named = wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(named) = named {
            let mut known = std::mem::take(&mut self.files);
            let mut keep = |new: Sighting| match known.iter().position(|known| known.file() == new.file()) {
                Some(place) => known.swap_remove(place),
                None => new,
            };
            self.files = named.into_iter().map(&mut keep).collect();
            // What changed since it was named is found by the next look.
            self.subscribe();
        }
        true
    }

    /// Waits for an event, or until something is due.
    fn wait(&mut self) {
        let next = self.files.iter().filter_map(|file| file.due(&self.pace)).min();
        let look = self.looked + self.pace.look;
        let timeout = next.map_or(look, |due| due.min(look)).saturating_duration_since(Instant::now());
        // However far apart looks are, the end of the watching is noticed.
        match self.notices.recv_timeout(timeout.min(Pace::EVENTS.look)) {
            Ok(event) => self.note(&event),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(event) = self.notices.try_recv() {
            self.note(&event);
        }
    }

    fn note(&mut self, event: &notify::Event) {
        let closed = matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)));
        if event.kind.is_access() && !closed {
            return;
        }
        let touch = match event.kind {
            EventKind::Modify(ModifyKind::Name(_)) => Touch::Renamed,
            EventKind::Modify(_) => Touch::Open,
            _ => Touch::Closed,
        };
        for file in &mut self.files {
            if file.places().iter().any(|place| event.paths.contains(place)) {
                file.note(touch);
            }
        }
    }

    /// What events may have missed.
    fn look(&mut self, changed: &mut impl FnMut(&Path, Change)) {
        self.looked = Instant::now();
        for file in &mut self.files {
            if let Some(change) = file.look(&self.pace) {
                changed(file.file(), change);
            }
        }
        self.subscribe();
    }

    /// Watches the folders, since a watched file that is replaced would be lost. Repeated, a folder that was removed and
    /// made again is found, and the one that a link leads to now.
    fn subscribe(&mut self) {
        let Some((events, folders)) = &mut self.events else { return };
        let places = self.files.iter().flat_map(Sighting::places);
        let wanted: BTreeSet<_> = places.filter_map(|place| place.parent().map(Path::to_owned)).collect();
        for left in folders.difference(&wanted) {
            // Fails where the folder is gone, and nothing is watched any more.
            let _ = events.unwatch(left);
        }
        for folder in &wanted {
            // What cannot be watched is still looked at.
            let _ = events.watch(folder, RecursiveMode::NonRecursive);
        }
        *folders = wanted;
    }
}

fn subscriber(sender: Sender<notify::Event>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if let Ok(event) = event {
            // Nobody listens once the watcher was dropped.
            let _ = sender.send(event);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;

    /// A component of one section that holds this text.
    fn component(text: &str) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
        bytes.push(u8::try_from(text.len()).expect("a short text"));
        bytes.extend(text.as_bytes());
        bytes
    }

    /// What was told, in order, with the file's content at that time.
    type Reports = mpsc::Receiver<(Change, Vec<u8>)>;

    fn watch(file: &Path, poll: Option<Duration>) -> (Watcher, Reports) {
        tell(Watch::begin([file.to_owned()], poll).expect("it can watch"))
    }

    fn tell(watch: Watch) -> (Watcher, Reports) {
        let (sender, reports) = channel();
        let watcher = watch.tell(move |path, change| {
            let _ = sender.send((change, fs::read(path).unwrap_or_default()));
        });
        (watcher.expect("there are threads"), reports)
    }

    fn next(reports: &Reports) -> (Change, Vec<u8>) {
        reports.recv_timeout(Duration::from_secs(20)).expect("the change is reported")
    }

    /// The next complete content, with nothing told before it.
    fn complete(reports: &Reports) -> Vec<u8> {
        let (change, content) = next(reports);
        assert_eq!(change, Change::Complete);
        content
    }

    struct Place {
        folder: tempfile::TempDir,
        file: PathBuf,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.wasm");
        fs::write(&file, "one").expect("it can be written");
        Place { folder, file }
    }

    #[test]
    fn a_rename_over_the_file_is_one_change() {
        for poll in [None, Some(Duration::from_millis(20))] {
            let Place { folder, file } = place();
            let other = folder.path().join("a.tmp");
            let (_watcher, reports) = watch(&file, poll);
            fs::write(&other, "two").expect("it can be written");
            fs::rename(&other, &file).expect("it can be renamed");
            assert_eq!(complete(&reports), b"two");
            assert!(reports.try_recv().is_err(), "several events are one change");
        }
    }

    #[test]
    fn a_deleted_and_recreated_file_is_reported_once_it_is_back() {
        for poll in [None, Some(Duration::from_millis(20))] {
            let Place { folder: _folder, file } = place();
            let (_watcher, reports) = watch(&file, poll);
            fs::remove_file(&file).expect("it can be removed");
            fs::write(&file, "two").expect("it can be written");
            assert_eq!(complete(&reports), b"two");
        }
    }

    #[test]
    fn a_removed_folder_is_told_of_and_watched_again_when_it_comes_back() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("target");
        let file = folder.join("a.wasm");
        fs::create_dir(&folder).expect("it can be made");
        fs::write(&file, "one").expect("it can be written");
        let mut watch = Watch::begin([file.clone()], None).expect("it can watch");
        watch.pace.gone = Duration::ZERO;
        let (_watcher, reports) = tell(watch);
        fs::remove_dir_all(&folder).expect("it can be removed");
        assert_eq!(next(&reports).0, Change::Gone);
        fs::create_dir(&folder).expect("it can be made");
        fs::write(&file, "two").expect("it can be written");
        assert_eq!(next(&reports).0, Change::Back);
        assert_eq!(complete(&reports), b"two");
        fs::write(&file, "three").expect("it can be written");
        assert_eq!(complete(&reports), b"three");
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_not_reported_between_two_writes() {
        let Place { folder: _folder, file } = place();
        let (_watcher, reports) = watch(&file, None);
        let mut writer = fs::File::create(&file).expect("it can be made");
        for part in ["two ", "three ", "four"] {
            writer.write_all(part.as_bytes()).expect("it can be written");
            assert!(reports.recv_timeout(Pace::EVENTS.quiet * 2).is_err(), "it is still open");
        }
        drop(writer);
        assert_eq!(complete(&reports), b"two three four");
    }

    /// Whoever copies a file over a slow network may close it between two pieces.
    #[test]
    fn a_component_that_comes_in_pieces_is_reported_when_its_last_section_ends() {
        for poll in [None, Some(Duration::from_millis(20))] {
            let Place { folder: _folder, file } = place();
            let (_watcher, reports) = watch(&file, poll);
            let whole = component("two and three");
            fs::write(&file, "").expect("it can be written");
            for piece in whole.chunks(9) {
                assert!(reports.recv_timeout(Pace::EVENTS.quiet * 2).is_err(), "it is not whole");
                let mut writer = fs::File::options().append(true).open(&file).expect("it is there");
                writer.write_all(piece).expect("it can be written");
            }
            assert_eq!(complete(&reports), whole);
        }
    }

    #[test]
    fn a_component_that_stays_cut_short_is_reported_once_and_the_rest_when_it_comes() {
        let Place { folder: _folder, file } = place();
        let mut watch = Watch::begin([file.clone()], None).expect("it can watch");
        watch.pace.patience = Pace::EVENTS.quiet;
        let (_watcher, reports) = tell(watch);
        let whole = component("two");
        fs::write(&file, &whole[..9]).expect("it can be written");
        assert_eq!(complete(&reports), whole[..9]);
        fs::write(&file, &whole[..11]).expect("it can be written");
        assert!(reports.recv_timeout(Pace::EVENTS.quiet * 4).is_err(), "it was told already");
        fs::write(&file, &whole).expect("it can be written");
        assert_eq!(complete(&reports), whole);
    }

    /// As deployments do: the file is reached through a link to a release's folder, or is a link itself.
    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        for (poll, through_folder) in [(None, true), (None, false), (Some(Duration::from_millis(20)), true)] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let at = |name: &str| folder.path().join(name);
            for release in ["1", "2"] {
                fs::create_dir(at(release)).expect("it can be made");
                fs::write(at(release).join("a.wasm"), release).expect("it can be written");
            }
            let (link, tail) = if through_folder { ("current", "") } else { ("a.wasm", "a.wasm") };
            symlink(at("1").join(tail), at(link)).expect("it can be linked");
            let named = if through_folder { at("current").join("a.wasm") } else { at("a.wasm") };
            let (_watcher, reports) = watch(&named, poll);
            symlink(at("2").join(tail), at("new")).expect("it can be linked");
            fs::rename(at("new"), at(link)).expect("it can be renamed");
            assert_eq!(complete(&reports), b"2");
            fs::write(at("2").join("a.wasm"), "2 again").expect("it can be written");
            assert_eq!(complete(&reports), b"2 again");
        }
    }
}
