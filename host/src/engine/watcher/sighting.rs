//! What is known of one watched file: what it looked like last, and whether it has been quiet since.
//!
//! Events and regular looks come in; what comes out is that the file is complete, gone, or back. Times of files may be
//! coarse or kept by who copies, so while a file's times are young its content is compared as well.
//! Invariant: each change is reported once, and not before the file was quiet and ends where a component ends, patience
//! apart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sections::is_cut_short;
use super::{Change, Pace};

/// The coarsest times of files are of 2 s; a second change within so long may not show in them.
const YOUNG: Duration = Duration::from_secs(5);

/// What tells one content of a file from another without reading it: times of content and inode, size, inode.
type Stamp = Option<[i128; 4]>;

/// How a file changed, which says how likely more follows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Touch {
    /// Whoever writes it may have it open still.
    Open,
    /// It was made, linked, or closed by whoever wrote it.
    #[default]
    Closed,
    /// It came under its name as it is.
    Renamed,
}

/// A watched file, as it was seen last.
pub struct Sighting {
    /// As the configuration names it; links on the way may come to lead elsewhere.
    file: PathBuf,
    stamp: Stamp,
    /// When the stamp was seen first.
    since: Instant,
    /// The content when it was complete last; none where it cannot be read.
    hash: Option<blake3::Hash>,
    /// When the file changed last, while nobody was told yet.
    changed: Option<Instant>,
    /// How it changed last.
    touch: Touch,
    /// Whether it is quiet, but ends in the middle of a component.
    cut: bool,
    /// Whether that was told; it is not told again until the file was whole.
    told_cut: bool,
    missing: Option<Instant>,
    told_missing: bool,
}

impl Sighting {
    /// The file as it is now, which is no change.
    pub fn new(file: PathBuf) -> Self {
        let (stamp, hash, since) = (stamp(&file), hash(&file), Instant::now());
        let (changed, touch, cut, told_cut, missing, told_missing) = Default::default();
        Self { file, stamp, since, hash, changed, touch, cut, told_cut, missing, told_missing }
    }

    /// The file as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The real paths that events may carry: of the name, and of what it links to.
    pub fn places(&self) -> Vec<PathBuf> {
        let folder = self.file.parent().and_then(|folder| folder.canonicalize().ok());
        let name = folder.zip(self.file.file_name()).map(|(folder, name)| folder.join(name));
        let mut places: Vec<_> = name.into_iter().chain(self.file.canonicalize().ok()).collect();
        places.dedup();
        places
    }

    /// Takes an event on this file.
    pub fn note(&mut self, touch: Touch) {
        self.moved(stamp(&self.file));
        self.touch = touch;
    }

    /// When there will be something to tell if nothing more happens.
    pub fn due(&self, pace: &Pace) -> Option<Instant> {
        let quiet = match self.touch {
            _ if self.cut => pace.patience,
            Touch::Open => pace.quiet_while_open,
            Touch::Closed => pace.quiet,
            Touch::Renamed => pace.quiet_when_renamed,
        };
        self.changed.map(|changed| changed + quiet)
    }

    /// Looks whether the file is another one now, without an event.
    pub fn look(&mut self, pace: &Pace) -> Option<Change> {
        let now = stamp(&self.file);
        let same = now == self.stamp && !self.is_rewritten(now);
        if !same {
            self.moved(now);
        }
        self.presence(pace)
    }

    /// Whether a file that looks the same has another content, as far as that is possible.
    fn is_rewritten(&self, now: Stamp) -> bool {
        let possible = self.changed.is_none() && now.is_some() && self.since.elapsed() < YOUNG;
        possible && hash(&self.file) != self.hash
    }

    fn moved(&mut self, stamp: Stamp) {
        // Whether somebody has it open is known from events only.
        if self.changed.is_none() {
            self.touch = Touch::Open;
        }
        self.stamp = stamp;
        self.since = Instant::now();
        self.changed = Some(self.since);
        self.cut = false;
    }

    /// Builds replace files, so one that is gone is told of only after a while.
    fn presence(&mut self, pace: &Pace) -> Option<Change> {
        if self.stamp.is_some() {
            self.missing = None;
            return std::mem::take(&mut self.told_missing).then_some(Change::Back);
        }
        let missing = *self.missing.get_or_insert_with(Instant::now);
        let tells = !self.told_missing && missing.elapsed() >= pace.gone;
        self.told_missing |= tells;
        tells.then_some(Change::Gone)
    }

    /// Called when it is due: whether the file is complete now.
    pub fn settle(&mut self) -> Option<Change> {
        let now = stamp(&self.file);
        if now != self.stamp {
            // Written to without an event, so it has not been quiet.
            self.moved(now);
            return None;
        }
        let cut = now.is_some() && is_cut_short(&self.file).unwrap_or(false);
        if cut && !std::mem::replace(&mut self.cut, true) {
            return None;
        }
        (self.changed, self.touch, self.cut) = (None, Touch::Closed, false);
        self.hash = hash(&self.file);
        let told = std::mem::replace(&mut self.told_cut, cut);
        (now.is_some() && !(cut && told)).then_some(Change::Complete)
    }
}

fn stamp(file: &Path) -> Stamp {
    let found = fs::metadata(file).ok()?;
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let (content, inode) = (time(found.mtime(), found.mtime_nsec()), time(found.ctime(), found.ctime_nsec()));
    Some([content, inode, found.len().into(), found.ino().into()])
}

fn hash(file: &Path) -> Option<blake3::Hash> {
    fs::read(file).ok().map(|content| blake3::hash(&content))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { gone: Duration::ZERO, ..Pace::EVENTS };

    #[test]
    fn another_content_behind_the_same_times_and_size_is_a_change() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), "one").expect("it can be written");
        let mut sighting = Sighting::new(file.path().to_owned());
        assert!(sighting.look(&PACE).is_none() && sighting.due(&PACE).is_none(), "nothing happened");
        fs::write(file.path(), "two").expect("it can be written");
        // As a file system would that counts whole seconds.
        sighting.stamp = stamp(file.path());
        sighting.look(&PACE);
        assert!(sighting.due(&PACE).is_some(), "its content is another one");
        assert_eq!(sighting.settle(), Some(Change::Complete));
        sighting.look(&PACE);
        assert!(sighting.due(&PACE).is_none(), "it is reported once");
    }

    #[test]
    fn a_file_that_came_whole_is_waited_for_less_than_one_that_may_be_written_to() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut sighting = Sighting::new(file.path().to_owned());
        let mut waits = |touch| {
            sighting.note(touch);
            sighting.due(&PACE).zip(sighting.changed).map(|(due, changed)| due - changed)
        };
        let (renamed, closed, open) = (waits(Touch::Renamed), waits(Touch::Closed), waits(Touch::Open));
        assert_eq!([renamed, closed, open], [PACE.quiet_when_renamed, PACE.quiet, PACE.quiet_while_open].map(Some));
        assert!(renamed < closed && closed < open);
    }

    #[test]
    fn times_that_are_set_back_do_not_hide_a_change() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), "one").expect("it can be written");
        let before = fs::metadata(file.path()).and_then(|found| found.modified()).expect("it is there");
        let mut sighting = Sighting::new(file.path().to_owned());
        // Long enough ago that nobody compares the content.
        sighting.since -= YOUNG;
        fs::write(file.path(), "two").expect("it can be written");
        file.as_file().set_modified(before).expect("it is ours");
        sighting.look(&PACE);
        assert!(sighting.due(&PACE).is_some(), "the inode's own time cannot be set");
    }

    #[test]
    fn a_file_that_is_gone_and_back_is_told_once_each() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.wasm");
        fs::write(&file, "one").expect("it can be written");
        let mut sighting = Sighting::new(file.clone());
        fs::remove_file(&file).expect("it is there");
        assert_eq!(sighting.look(&PACE), Some(Change::Gone));
        assert_eq!(sighting.look(&PACE), None);
        fs::write(&file, "one").expect("it can be written");
        assert_eq!(sighting.look(&PACE), Some(Change::Back));
        assert_eq!(sighting.look(&PACE), None);
    }
}
