//! The cache of compiled code, on disk, by content and engine.
//!
//! Compiling takes from 35 ms to 20 s, loading compiled code about a millisecond. A file's name holds the hash of the
//! component and of the engine's settings and version, so nothing in it is ever out of date; its end holds the hash of the
//! code, since wasmtime trusts what it loads. Over its bound, what was not used for longest goes.
//! Invariant: only whole files that this server's user wrote are loaded, from a folder that nobody else can write.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use wasmtime::component::Component;

use super::shelf::Shelf;
use crate::metrics::Metrics;

/// The hash of the code (BLAKE3) is the end of its file, where no reader of the format before it (ELF) looks.
const SEAL: usize = blake3::OUT_LEN;

/// A folder of compiled components.
pub struct Cache {
    shelf: Shelf,
    engine: u64,
    metrics: Arc<Metrics>,
}

/// A file of the cache.
struct Cached {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// The cache in this folder, which is made with its first file. What an earlier server left unfinished there goes.
    pub fn new(folder: PathBuf, engine: &wasmtime::Engine, metrics: &Arc<Metrics>) -> Self {
        Self { shelf: Shelf::new(folder), engine: fingerprint(engine), metrics: metrics.clone() }
    }

    /// The compiled component, if it is here whole and this engine can load it. A damaged file is removed and counted.
    pub fn load(&self, engine: &wasmtime::Engine, hash: &str) -> Option<Component> {
        let path = self.path(hash);
        match is_whole(&path) {
            Ok(true) => deserialize(engine, &path),
            Ok(false) => {
                self.metrics.cache_damaged.inc();
                tracing::warn!(file = %path.display(), "cached code is damaged; it is removed and compiled again");
                remove(&path);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), "cached code cannot be read, and is compiled again: {error}");
                None
            }
        }
    }

    /// Keeps compiled code and loads it from there, so that its pages are the file's. A cache that cannot be written costs
    /// memory, and time at the next start.
    pub fn adopt(&self, engine: &wasmtime::Engine, hash: &str, code: &[u8]) -> Option<Component> {
        // Nobody waits for the disk: of a file that is not whole after a power failure the seal tells.
        if let Err(error) = self.shelf.lay(&self.name(hash), &[code, blake3::hash(code).as_bytes()]) {
            tracing::warn!(folder = %self.shelf.folder().display(), "compiled code could not be cached: {error}");
            return trust(engine, code);
        }
        // Another server on the same folder may have made room by it already.
        self.load(engine, hash).or_else(|| trust(engine, code))
    }

    /// Makes room until there are at most so many bytes: what was not used for longest goes first. Components of these
    /// hashes stay whatever they take; code that runs is not harmed in any case.
    pub fn trim(&self, limit: usize, needed: &BTreeSet<String>) {
        let mut files: Vec<_> = self.shelf.files().into_iter().filter_map(cached).collect();
        files.sort_by_key(|file| file.used);
        let needed: BTreeSet<_> = needed.iter().map(|hash| self.path(hash)).collect();
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files.iter().filter(|file| !needed.contains(&file.path)) {
            if bytes <= limit as u64 {
                break;
            }
            remove(&file.path);
            self.metrics.cache_evicted.inc();
            bytes -= file.bytes;
        }
        self.metrics.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.shelf.path(&self.name(hash))
    }

    fn name(&self, hash: &str) -> String {
        format!("{hash}-{:016x}.code", self.engine)
    }
}

/// What code of one engine runs on another: settings, version and target, the same in each process of this binary.
pub fn fingerprint(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Whether the end of a file is the hash of what is before it. Notes that it is used. Reads all of it, which takes 0.3 ms for
/// each MiB where the system has it in memory.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let Some(code) = file.metadata()?.len().checked_sub(SEAL as u64) else { return Ok(false) };
    // Where that is refused it only goes earlier.
    let _ = file.set_modified(SystemTime::now());
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&mut file).take(code))?;
    let mut seal = Vec::with_capacity(SEAL);
    file.take(SEAL as u64).read_to_end(&mut seal)?;
    Ok(seal == hasher.finalize().as_bytes())
}

/// None where another server was faster to remove it.
fn cached(path: PathBuf) -> Option<Cached> {
    let metadata = fs::metadata(&path).ok()?;
    Some(Cached { bytes: metadata.len(), used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), path })
}

/// What stays behind wastes space and nothing else, and is met again at the next chance.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
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
    // SAFETY: the file lies in a folder that only this user may write, under a name that only `adopt` gives, and was just
    // seen to be what `adopt` put there; nobody writes to a file under that name, it can only be replaced or removed.
    let loaded = unsafe { Component::deserialize_file(engine, path) };
    loaded.inspect_err(|error| tracing::warn!(file = %path.display(), "cached code is not usable: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The smallest component.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn compiled() -> (wasmtime::Engine, Vec<u8>) {
        let engine = wasmtime::Engine::default();
        let code = engine.precompile_component(COMPONENT).expect("it is valid");
        (engine, code)
    }

    fn cache(folder: &Path, engine: &wasmtime::Engine) -> Cache {
        Cache::new(folder.join("cache"), engine, &Arc::default())
    }

    /// With these in it, the first one used the longest ago.
    fn holding(folder: &Path, hashes: &[&str]) -> (Cache, wasmtime::Engine, usize) {
        let (engine, code) = compiled();
        let cache = cache(folder, &engine);
        for (index, hash) in hashes.iter().enumerate() {
            assert!(cache.adopt(&engine, hash, &code).is_some());
            let ago = Duration::from_secs((100 - index) as u64);
            let file = File::open(cache.path(hash)).expect("it is there");
            file.set_modified(SystemTime::now() - ago).expect("it is ours");
        }
        (cache, engine, code.len() + SEAL)
    }

    fn needed(hashes: &[&str]) -> BTreeSet<String> {
        hashes.iter().map(ToString::to_string).collect()
    }

    /// Which of these are there.
    fn there<'a>(cache: &Cache, hashes: &[&'a str]) -> Vec<&'a str> {
        hashes.iter().copied().filter(|hash| cache.path(hash).exists()).collect()
    }

    #[test]
    fn what_was_adopted_is_there_for_the_same_content_and_engine_only() {
        let (folder, (engine, code)) = (tempfile::tempdir().expect("a temporary folder"), compiled());
        let one = cache(folder.path(), &engine);
        assert!(one.load(&engine, "one").is_none());
        assert!(one.adopt(&engine, "one", &code).is_some());
        assert!(one.load(&engine, "one").is_some() && one.load(&engine, "two").is_none());
        let mut settings = wasmtime::Config::new();
        let other = wasmtime::Engine::new(settings.epoch_interruption(true)).expect("the settings fit");
        assert!(cache(folder.path(), &other).load(&other, "one").is_none());
        assert_eq!(one.shelf.files().len(), 1, "nothing else is left");
    }

    /// A server that is killed while it writes leaves the file without its name: whole or not, nobody takes it.
    #[test]
    fn what_a_killed_server_left_is_not_taken_and_removed() {
        let (folder, (engine, code)) = (tempfile::tempdir().expect("a temporary folder"), compiled());
        let before = cache(folder.path(), &engine);
        fs::create_dir_all(before.shelf.folder()).expect("it can be made");
        for (number, length) in [0, 1, code.len() / 2, code.len()].into_iter().enumerate() {
            let left = before.path("one").with_extension(format!("code.9-{number}.unfinished"));
            fs::write(left, &code[..length]).expect("it can be written");
        }
        assert!(before.load(&engine, "one").is_none());
        let next = cache(folder.path(), &engine);
        assert_eq!(fs::read_dir(next.shelf.folder()).expect("it was made").count(), 0);
        assert!(next.adopt(&engine, "one", &code).is_some());
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_no_more_than_the_cache() {
        let (folder, (engine, code)) = (tempfile::tempdir().expect("a temporary folder"), compiled());
        fs::write(folder.path().join("cache"), "a file where the folder should be").expect("it can be written");
        assert!(cache(folder.path(), &engine).adopt(&engine, "one", &code).is_some());
    }

    #[test]
    fn what_is_damaged_is_never_loaded_but_removed_and_counted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (cache, engine, _) = holding(folder.path(), &["one"]);
        let whole = fs::read(cache.path("one")).expect("it is there");
        let flip = |at: usize| {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            damaged
        };
        let short = [0, 1, SEAL, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
        let flipped = [0, whole.len() / 2, whole.len() - SEAL - 1, whole.len() - 1].map(flip);
        let damaged: Vec<_> = short.into_iter().chain(flipped).chain([[&whole[..], b"x"].concat()]).collect();
        for (number, damaged) in damaged.iter().enumerate() {
            fs::write(cache.path("one"), damaged).expect("it can be written");
            assert!(cache.load(&engine, "one").is_none(), "damage {number}");
            assert!(!cache.path("one").exists(), "damage {number}");
            assert_eq!(cache.metrics.cache_damaged.get(), number as u64 + 1);
        }
        fs::write(cache.path("one"), whole).expect("it can be written");
        assert!(cache.load(&engine, "one").is_some());
    }

    #[test]
    fn at_its_bound_all_stay_and_over_it_what_was_not_used_for_longest_goes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let all = ["a", "b", "c"];
        let (cache, engine, size) = holding(folder.path(), &all);
        cache.trim(3 * size, &needed(&[]));
        assert_eq!(there(&cache, &all), all);
        assert_eq!((cache.metrics.cache_bytes.get(), cache.metrics.cache_evicted.get()), (3 * size as i64, 0));
        assert!(cache.load(&engine, "a").is_some(), "now it is the one that was used last");
        cache.trim(3 * size - 1, &needed(&[]));
        assert_eq!(there(&cache, &all), ["a", "c"]);
        assert_eq!((cache.metrics.cache_bytes.get(), cache.metrics.cache_evicted.get()), (2 * size as i64, 1));
    }

    #[test]
    fn what_is_needed_stays_whatever_it_takes_and_code_of_other_engines_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let all = ["a", "b", "c"];
        let (cache, engine, _) = holding(folder.path(), &all);
        let foreign = cache.path("b").with_file_name("b-0000000000000000.code");
        fs::copy(cache.path("b"), &foreign).expect("it can be copied");
        let loaded = cache.load(&engine, "a");
        cache.trim(0, &needed(&["b"]));
        assert_eq!(there(&cache, &all), ["b"]);
        assert!(!foreign.exists());
        drop(loaded.expect("it goes on without its file"));
    }
}
