//! The cache of compiled code, on disk, by content and engine.
//!
//! Compiling takes from 35 ms to 20 s, loading compiled code about a millisecond. A file's name holds the hash of the
//! component and of the engine's settings and version, so nothing in it is ever out of date.
//! Invariant: only files that this server wrote are loaded, from a folder that only its user can write.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::component::Component;

/// A folder of compiled components.
pub struct Cache {
    folder: PathBuf,
    engine: u64,
}

impl Cache {
    /// The cache in this folder, which is made with its first file.
    pub fn new(folder: PathBuf, engine: &wasmtime::Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self { folder, engine: hasher.finish() }
    }

    /// The compiled component, if it is here and this engine can load it.
    pub fn load(&self, engine: &wasmtime::Engine, hash: &str) -> Option<Component> {
        let path = self.path(hash);
        path.is_file().then(|| deserialize(engine, &path)).flatten()
    }

    /// Keeps a compiled component. A cache that cannot be written costs time and nothing else.
    pub fn store(&self, hash: &str, component: &Component) {
        let stored = component
            .serialize()
            .map_err(|error| error.to_string())
            .and_then(|code| write_private(&self.path(hash), &code).map_err(|error| error.to_string()));
        if let Err(error) = stored {
            tracing::warn!(folder = %self.folder.display(), "compiled code could not be cached: {error}");
        }
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.folder.join(format!("{hash}-{:016x}.cwasm", self.engine))
    }
}

/// Writes a file whole or not at all, in folders that only this user may enter.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let writing = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_extension(format!("{}-{writing}.unfinished", std::process::id()));
    fs::write(&unfinished, content)?;
    fs::rename(&unfinished, path)
}

#[allow(unsafe_code, reason = "loading compiled code trusts its bytes; they are our own")]
fn deserialize(engine: &wasmtime::Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file lies in a folder that only this user may write, under a name that only `store` gives.
    let loaded = unsafe { Component::deserialize_file(engine, path) };
    loaded.inspect_err(|error| tracing::warn!(file = %path.display(), "cached code is not usable: {error}")).ok()
}
