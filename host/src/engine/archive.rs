//! The archive: for each plugin, the last component that worked, and those that did not.
//!
//! It lies in the state folder and outlives the server, so that a restart brings neither a broken file nor a rejected
//! one into service while one that worked is known.
//! Invariant: what is called good was instantiated by a server, and not rejected by its first event.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::cache::write_private;

/// So many rejected hashes are remembered for each plugin.
const MAX_REJECTED: usize = 100;

/// The folder of the archive.
pub struct Archive {
    folder: PathBuf,
    /// Held while a record is changed: what is kept and what is rejected comes from several threads.
    changing: Mutex<()>,
}

/// What is known of one plugin.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Record {
    /// Hash of the last component that worked.
    good: Option<String>,
    /// Hash of the one that worked before it.
    before: Option<String>,
    /// Hashes of components whose first event faulted, newest last.
    rejected: Vec<String>,
}

impl Record {
    fn has_rejected(&self, hash: &str) -> bool {
        self.rejected.iter().any(|known| known == hash)
    }
}

impl Archive {
    /// The archive in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, changing: Mutex::default() }
    }

    /// Notes that this component works, unless its first event was faster to say otherwise. The one before is kept too, in case
    /// that this one is rejected. Waits for the disk.
    pub fn keep(&self, plugin: &str, hash: &str, component: &[u8]) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record(plugin);
        if record.good.as_deref() == Some(hash) || record.has_rejected(hash) {
            return;
        }
        let outdated = std::mem::replace(&mut record.before, record.good.replace(hash.to_owned()));
        self.save(plugin, &record, Some((hash, component)));
        self.discard(plugin, outdated, &record);
    }

    /// Notes that this component must not come back; the one before it is the good one again.
    pub fn reject(&self, plugin: &str, hash: &str) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record(plugin);
        record.rejected.retain(|known| known != hash);
        record.rejected.push(hash.to_owned());
        let surplus = record.rejected.len().saturating_sub(MAX_REJECTED);
        record.rejected.drain(..surplus);
        if record.good.as_deref() == Some(hash) {
            record.good = record.before.take();
        }
        self.save(plugin, &record, None);
        self.discard(plugin, Some(hash.to_owned()), &record);
    }

    /// Whether a component was rejected before.
    pub fn is_rejected(&self, plugin: &str, hash: &str) -> bool {
        self.record(plugin).has_rejected(hash)
    }

    /// The last component that worked.
    pub fn last_good(&self, plugin: &str) -> Option<Vec<u8>> {
        let hash = self.record(plugin).good?;
        fs::read(self.component(plugin, &hash)).ok().filter(|bytes| blake3::hash(bytes).to_string() == hash)
    }

    fn record(&self, plugin: &str) -> Record {
        let text = fs::read(self.folder.join(format!("{plugin}.json"))).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn component(&self, plugin: &str, hash: &str) -> PathBuf {
        self.folder.join(format!("{plugin}-{hash}.wasm"))
    }

    /// Removes a component that the record no longer names.
    fn discard(&self, plugin: &str, hash: Option<String>, record: &Record) {
        let named = |hash: &String| record.good.as_ref() == Some(hash) || record.before.as_ref() == Some(hash);
        if let Some(hash) = hash.filter(|hash| !named(hash)) {
            // A file that stays behind wastes space and nothing else.
            let _ = fs::remove_file(self.component(plugin, &hash));
        }
    }

    /// The component first, so that a record never names one that is not there.
    fn save(&self, plugin: &str, record: &Record, component: Option<(&str, &[u8])>) {
        let write = || -> std::io::Result<()> {
            if let Some((hash, bytes)) = component {
                write_private(&self.component(plugin, hash), bytes)?;
            }
            let text = serde_json::to_vec_pretty(record)?;
            write_private(&self.folder.join(format!("{plugin}.json")), &text)
        };
        if let Err(error) = write() {
            tracing::warn!(plugin, folder = %self.folder.display(), "the archive could not be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> (tempfile::TempDir, Archive) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::new(folder.path().join("archive"));
        (folder, archive)
    }

    fn hash(bytes: &[u8]) -> String {
        blake3::hash(bytes).to_string()
    }

    #[test]
    fn the_last_good_component_comes_back_and_only_that() {
        let (_folder, archive) = archive();
        assert!(archive.last_good("chat").is_none());
        archive.keep("chat", &hash(b"one"), b"one");
        archive.keep("chat", &hash(b"two"), b"two");
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"two"[..]));
        assert!(archive.last_good("echo").is_none());
    }

    #[test]
    fn a_rejected_one_is_remembered_and_the_other_is_good() {
        let (_folder, archive) = archive();
        archive.keep("chat", &hash(b"old"), b"old");
        archive.keep("chat", &hash(b"bad"), b"bad");
        archive.reject("chat", &hash(b"bad"));
        assert!(archive.is_rejected("chat", &hash(b"bad")));
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"old"[..]));
    }

    #[test]
    fn one_that_is_rejected_before_it_is_kept_is_not_good() {
        let (_folder, archive) = archive();
        archive.keep("chat", &hash(b"old"), b"old");
        archive.reject("chat", &hash(b"bad"));
        archive.keep("chat", &hash(b"bad"), b"bad");
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"old"[..]));
        archive.keep("chat", &hash(b"new"), b"new");
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_damaged_component_is_not_good() {
        let (_folder, archive) = archive();
        archive.keep("chat", &hash(b"one"), b"one");
        fs::write(archive.component("chat", &hash(b"one")), b"other").expect("it can be written");
        assert!(archive.last_good("chat").is_none());
    }
}
