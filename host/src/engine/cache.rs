//! The cache of compiled code, on disk, by content and engine.
//!
//! Compiling takes from 35 ms to 20 s, loading compiled code about a millisecond. A file's name holds the hash of the
//! component and of the engine's settings and version, so nothing in it is ever out of date. New code is used from a file
//! without that name, and gets it once it is on the disk, which nobody who waits for the code has to wait for.
//! Invariant: only files that this server wrote are loaded, from a folder that only its user can write.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use wasmtime::component::Component;

/// The extension of a file that is being written.
const UNFINISHED: &str = "unfinished";

/// A folder of compiled components.
pub struct Cache {
    folder: PathBuf,
    engine: u64,
    /// Files that are in use and have no name yet that is trusted, each with that name.
    unsettled: Mutex<Vec<(PathBuf, PathBuf)>>,
}

impl Cache {
    /// The cache in this folder, which is made with its first file. What an earlier server left unfinished there goes.
    pub fn new(folder: PathBuf, engine: &wasmtime::Engine) -> Self {
        sweep(&folder);
        Self { folder, engine: fingerprint(engine), unsettled: Mutex::default() }
    }

    /// The compiled component, if it is here and this engine can load it.
    pub fn load(&self, engine: &wasmtime::Engine, hash: &str) -> Option<Component> {
        let path = self.path(hash);
        path.is_file().then(|| deserialize(engine, &path)).flatten()
    }

    /// Loads compiled code from a file, so that its pages are the file's; [`Cache::settle`] keeps it. A cache that cannot be
    /// written costs memory, and time at the next start.
    pub fn adopt(&self, engine: &wasmtime::Engine, hash: &str, code: &[u8]) -> Option<Component> {
        let path = self.path(hash);
        match write_unfinished(&path, code) {
            Ok(unfinished) => {
                let loaded = deserialize(engine, &unfinished);
                self.unsettled().push((unfinished, path));
                loaded
            }
            Err(error) => {
                self.warn(&error);
                trust(engine, code)
            }
        }
    }

    /// Keeps what was adopted since. Waits for the disk, so whoever adopts calls it once the code serves.
    pub fn settle(&self) {
        let unsettled = std::mem::take(&mut *self.unsettled());
        for (unfinished, path) in unsettled {
            if let Err(error) = finish(&unfinished, &path) {
                self.warn(&error);
            }
        }
    }

    fn unsettled(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, PathBuf)>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, error: &std::io::Error) {
        tracing::warn!(folder = %self.folder.display(), "compiled code could not be cached: {error}");
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.folder.join(format!("{hash}-{:016x}.cwasm", self.engine))
    }
}

/// What code of one engine runs on another: settings, version and target, the same in each process of this binary.
pub fn fingerprint(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Writes a file whole or not at all, also where the machine stops meanwhile, in folders that only this user may enter.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let unfinished = write_unfinished(path, content)?;
    finish(&unfinished, path)
}

/// Writes a file next to the one that it is to be, under a name that nobody trusts.
fn write_unfinished(path: &Path, content: &[u8]) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let writing = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_extension(format!("{}-{writing}.{UNFINISHED}", std::process::id()));
    or_remove(&unfinished, fs::write(&unfinished, content))?;
    Ok(unfinished)
}

/// On the disk before it gets its name: a name with half a file behind it would be trusted.
fn finish(unfinished: &Path, path: &Path) -> std::io::Result<()> {
    let synced = fs::File::open(unfinished).and_then(|file| file.sync_all());
    or_remove(unfinished, synced.and_then(|()| fs::rename(unfinished, path)))
}

/// What a full disk took of a file would only make that worse.
fn or_remove(unfinished: &Path, outcome: std::io::Result<()>) -> std::io::Result<()> {
    if outcome.is_err() {
        let _ = fs::remove_file(unfinished);
    }
    outcome
}

/// Removes what servers that were killed left half written.
fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for left in entries.filter(|path| path.extension().is_some_and(|extension| extension == UNFINISHED)) {
        // What stays behind wastes space and nothing else.
        let _ = fs::remove_file(left);
    }
}

/// Loads compiled code that is in memory.
#[allow(unsafe_code, reason = "loading compiled code trusts its bytes; they are our own")]
pub(super) fn trust(engine: &wasmtime::Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the code was made by this process, or by the compiling process and came whole.
    let loaded = unsafe { Component::deserialize(engine, code) };
    loaded.inspect_err(|error| tracing::warn!("compiled code is not usable: {error}")).ok()
}

#[allow(unsafe_code, reason = "loading compiled code trusts its bytes; they are our own")]
fn deserialize(engine: &wasmtime::Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file lies in a folder that only this user may write. Either `adopt` has just written it whole, or it has a
    // name that only `settle` gives.
    let loaded = unsafe { Component::deserialize_file(engine, path) };
    loaded.inspect_err(|error| tracing::warn!(file = %path.display(), "cached code is not usable: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn compiled() -> (wasmtime::Engine, Vec<u8>) {
        let engine = wasmtime::Engine::default();
        let code = engine.precompile_component(COMPONENT).expect("it is valid");
        (engine, code)
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("it was made").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_was_adopted_is_there_for_the_same_content_and_engine_only() {
        let (folder, (engine, code)) = (tempfile::tempdir().expect("a temporary folder"), compiled());
        let cache = Cache::new(folder.path().join("cache"), &engine);
        assert!(cache.load(&engine, "one").is_none());
        assert!(cache.adopt(&engine, "one", &code).is_some());
        cache.settle();
        assert!(cache.load(&engine, "one").is_some() && cache.load(&engine, "two").is_none());
        let mut settings = wasmtime::Config::new();
        let other = wasmtime::Engine::new(settings.epoch_interruption(true)).expect("the settings fit");
        assert!(Cache::new(folder.path().join("cache"), &other).load(&other, "one").is_none());
        assert_eq!(files(&folder.path().join("cache")).len(), 1, "nothing else is left");
    }

    /// A server that is killed before the code is on the disk leaves a file that is in use and that no other server takes.
    #[test]
    fn what_is_not_on_the_disk_yet_serves_and_has_no_name_that_is_trusted() {
        let (folder, (engine, code)) = (tempfile::tempdir().expect("a temporary folder"), compiled());
        let cache = Cache::new(folder.path().to_owned(), &engine);
        assert!(cache.adopt(&engine, "one", &code).is_some());
        assert!(cache.load(&engine, "one").is_none());
        assert_eq!(files(folder.path()).len(), 1);
        let next = Cache::new(folder.path().to_owned(), &engine);
        assert!(files(folder.path()).is_empty());
        // Nothing is left to be named, which is no more than a warning.
        cache.settle();
        assert!(next.load(&engine, "one").is_none());
    }

    /// A server that is killed while it writes leaves the file without its name: whole or not, nobody takes it.
    #[test]
    fn what_a_killed_server_left_is_not_taken_and_removed() {
        let (folder, (engine, code)) = (tempfile::tempdir().expect("a temporary folder"), compiled());
        let cache = Cache::new(folder.path().to_owned(), &engine);
        for (number, length) in [0, 1, code.len() / 2, code.len()].into_iter().enumerate() {
            let left = cache.path("one").with_extension(format!("9-{number}.{UNFINISHED}"));
            fs::write(left, &code[..length]).expect("it can be written");
        }
        assert!(cache.load(&engine, "one").is_none());
        let next = Cache::new(folder.path().to_owned(), &engine);
        assert!(files(folder.path()).is_empty());
        assert!(next.adopt(&engine, "one", &code).is_some());
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_no_more_than_the_cache() {
        let (folder, (engine, code)) = (tempfile::tempdir().expect("a temporary folder"), compiled());
        let blocked = folder.path().join("cache");
        fs::write(&blocked, "a file where the folder should be").expect("it can be written");
        assert!(Cache::new(blocked, &engine).adopt(&engine, "one", &code).is_some());
    }
}
