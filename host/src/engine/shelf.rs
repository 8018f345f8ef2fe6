//! A shelf: a folder of files that are whole or not there, for this user only, and for more than one server at once.
//!
//! A file's name may have one `/` in it, as that of a tenant's plugin has: such files lie in a folder below.
//! The cache and the archive lie on shelves. A file is written under another name, and gets its own once it is on the disk;
//! while it is written it is locked, and the kernel takes the lock from a server that was killed.
//! Invariant: under a name lies all that was put there or nothing, and nothing that somebody still writes is swept away.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The extension of a file that is being written.
const UNFINISHED: &str = "unfinished";
/// The file that is locked by whoever changes several files at once. No tenant's name, and so no folder's, has a dot.
const LOCK: &str = ".lock";

/// A folder.
pub struct Shelf {
    folder: PathBuf,
}

/// Keeps others from changing what is on a shelf, until it is dropped.
pub struct Held {
    _lock: Option<File>,
}

impl Shelf {
    /// This folder, which is made with its first file. What servers left unfinished there that are gone is removed.
    pub fn new(folder: PathBuf) -> Self {
        let shelf = Self { folder };
        shelf.sweep();
        shelf
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of this name lies, if it is there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The finished files.
    pub fn files(&self) -> Vec<PathBuf> {
        let is_finished = |path: &PathBuf| !is_unfinished(path) && *path != self.path(LOCK);
        self.all().filter(is_finished).collect()
    }

    /// The names of the finished files.
    pub fn names(&self) -> Vec<String> {
        let name = |path: PathBuf| Some(path.strip_prefix(&self.folder).ok()?.to_str()?.to_owned());
        self.files().into_iter().filter_map(name).collect()
    }

    /// Writes a file whole or not at all, also where the machine stops meanwhile. Its content comes in parts.
    pub fn put(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.write(name, parts, File::sync_all)
    }

    /// The same without waiting for the disk, for files whose reader sees whether they are whole: of one that was not on the
    /// disk when the machine stopped, a part may be left.
    pub fn lay(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.write(name, parts, |_| Ok(()))
    }

    fn write(&self, name: &str, parts: &[&[u8]], finish: fn(&File) -> io::Result<()>) -> io::Result<()> {
        make(self.path(name).parent().unwrap_or(&self.folder))?;
        match self.try_write(name, parts, finish) {
            // A server that starts may sweep it away in the moment before it is locked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.try_write(name, parts, finish),
            outcome => outcome,
        }
    }

    /// Waits until nobody else changes several files at once. Where the folder cannot be written, nobody can.
    pub fn hold(&self) -> Held {
        let open = || {
            make(&self.folder)?;
            let file = File::options().create(true).append(true).open(self.path(LOCK))?;
            file.lock().map(|()| file)
        };
        Held { _lock: open().ok() }
    }

    fn try_write(&self, name: &str, parts: &[&[u8]], finish: fn(&File) -> io::Result<()>) -> io::Result<()> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let writing = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.path(&format!("{name}.{}-{writing}.{UNFINISHED}", std::process::id()));
        let written =
            write_through(&unfinished, parts, finish).and_then(|_locked| fs::rename(&unfinished, self.path(name)));
        if written.is_err() {
            // What a full disk took of it would only make that worse.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn all(&self) -> impl Iterator<Item = PathBuf> {
        let (folders, files): (Vec<_>, Vec<_>) = entries(&self.folder).partition(|(_, is_folder)| *is_folder);
        let below = folders.into_iter().flat_map(|(folder, _)| entries(&folder).collect::<Vec<_>>());
        files.into_iter().chain(below.filter(|(_, is_folder)| !is_folder)).map(|(path, _)| path)
    }

    /// Removes what is half written and nobody writes any more. What stays behind wastes space and nothing else.
    fn sweep(&self) {
        for left in self.all().filter(|path| is_unfinished(path)) {
            let is_written = |file: File| matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if !File::open(&left).is_ok_and(is_written) {
                let _ = fs::remove_file(left);
            }
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// What is in a folder, and whether it is one itself.
fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, bool)> + use<> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir())))
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == UNFINISHED)
}

/// Finished before it gets its name: a name with half a file behind it would be trusted. Gives the file, which is locked.
fn write_through(path: &Path, parts: &[&[u8]], finish: fn(&File) -> io::Result<()>) -> io::Result<File> {
    let mut file = File::create(path)?;
    // Where the file system knows no locks, a server that starts meanwhile may remove it, and it is written again.
    let _ = file.try_lock();
    parts.iter().try_for_each(|part| file.write_all(part))?;
    finish(&file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::new(folder.path().join("shelf"));
        (folder, shelf)
    }

    #[test]
    fn what_was_put_is_there_whole_and_alone() {
        let (_folder, shelf) = shelf();
        shelf.put("one", &[b"a", b"b"]).expect("it can be written");
        shelf.put("one", &[b"c"]).expect("it can be written");
        assert_eq!(fs::read(shelf.path("one")).expect("it is there"), b"c");
        assert_eq!(shelf.files(), [shelf.path("one")]);
        assert_eq!(shelf.all().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_a_killed_server_left_goes_and_what_another_one_writes_stays() {
        let (_folder, shelf) = shelf();
        shelf.put("one", &[b"whole"]).expect("it can be written");
        let (left, written) = (shelf.path("two.9-0.unfinished"), shelf.path("three.9-1.unfinished"));
        fs::write(&left, "hal").expect("it can be written");
        let writing = write_through(&written, &[b"nearly who"], File::sync_all).expect("it can be written");
        let next = Shelf::new(shelf.folder.clone());
        assert!(!left.exists() && written.exists());
        assert_eq!(next.files(), [shelf.path("one")], "neither is taken");
        drop(writing);
        assert!(Shelf::new(shelf.folder.clone()).all().eq([shelf.path("one")]));
    }

    #[test]
    fn a_folder_below_is_swept_too_and_its_files_are_named_with_it() {
        let (_folder, shelf) = shelf();
        shelf.put("lock/one", &[b"whole"]).expect("it can be written");
        shelf.put("one", &[b"whole"]).expect("it can be written");
        drop(shelf.hold());
        let left = shelf.path("lock/two.9-0.unfinished");
        fs::write(&left, "hal").expect("it can be written");
        let mut names = Shelf::new(shelf.folder.clone()).names();
        names.sort();
        assert_eq!(names, ["lock/one", "one"]);
        assert!(!left.exists());
    }

    #[test]
    fn one_at_a_time_holds_a_shelf() {
        let (_folder, shelf) = shelf();
        let held = shelf.hold();
        let lock = || File::open(shelf.path(LOCK)).expect("it is there").try_lock();
        assert!(matches!(lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        assert!(lock().is_ok());
    }
}
