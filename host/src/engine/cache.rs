//! The cache of compiled code, on disk, by content and engine.
//!
//! Compiling takes from 35 ms to 20 s, loading compiled code about a millisecond. A file's name holds the hash of the
//! component and of the engine's settings and version, so nothing in it is ever out of date.
//! Invariant: only files that this server wrote are loaded, from a folder that only its user can write.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::component::Component;

/// The extension of a file that is being written.
const UNFINISHED: &str = "unfinished";

/// A folder of compiled components.
pub struct Cache {
    folder: PathBuf,
    engine: u64,
}

impl Cache {
    /// The cache in this folder, which is made with its first file. What an earlier server left unfinished there goes.
    pub fn new(folder: PathBuf, engine: &wasmtime::Engine) -> Self {
        sweep(&folder);
        Self { folder, engine: fingerprint(engine) }
    }

    /// The compiled component, if it is here and this engine can load it.
    pub fn load(&self, engine: &wasmtime::Engine, hash: &str) -> Option<Component> {
        let path = self.path(hash);
        path.is_file().then(|| deserialize(engine, &path)).flatten()
    }

    /// Keeps compiled code and loads it from there, so that its pages are the file's. A cache that cannot be written costs
    /// memory, and time at the next start.
    pub fn adopt(&self, engine: &wasmtime::Engine, hash: &str, code: &[u8]) -> Option<Component> {
        if let Err(error) = write_private(&self.path(hash), code) {
            tracing::warn!(folder = %self.folder.display(), "compiled code could not be cached: {error}");
            return trust(engine, code);
        }
        self.load(engine, hash)
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
    use std::os::unix::fs::DirBuilderExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let writing = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_extension(format!("{}-{writing}.{UNFINISHED}", std::process::id()));
    let written = write_through(&unfinished, content).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // What a full disk took of it would only make that worse.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// On the disk before it gets its name: a name with half a file behind it would be trusted.
fn write_through(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
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
    // SAFETY: the file lies in a folder that only this user may write, under a name that only `adopt` gives.
    let loaded = unsafe { Component::deserialize_file(engine, path) };
    loaded.inspect_err(|error| tracing::warn!(file = %path.display(), "cached code is not usable: {error}")).ok()
}
