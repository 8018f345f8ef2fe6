//! The archive: for each plugin, the last component that worked, and those that did not.
//!
//! It lies in the state folder and outlives the server, so that a restart brings neither a broken file nor a rejected
//! one into service while one that worked is known.
//! Invariant: what is called good was instantiated by a server, and not rejected by its first event.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::cache::write_private;

/// So many rejected hashes are remembered for each plugin.
const MAX_REJECTED: usize = 100;

/// The folder of the archive.
pub struct Archive {
    folder: PathBuf,
    /// What is good and not written yet. Held from reading a record to writing it, since rejections come from threads of their
    /// own.
    changing: Mutex<Vec<Good>>,
}

/// A component that works, and is not written yet.
struct Good {
    plugin: Arc<str>,
    hash: String,
    component: Vec<u8>,
}

/// What is known of one plugin.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Record {
    /// Hash of the last component that worked.
    good: Option<String>,
    /// Hash of the one that worked before it.
    before: Option<String>,
    /// What was rolled back, newest last.
    rejected: Vec<Rejection>,
}

/// A component that must not come back with what it was given (`compile::key`).
#[derive(Serialize, Deserialize)]
struct Rejection {
    key: String,
    why: String,
}

impl Archive {
    /// The archive in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, changing: Mutex::default() }
    }

    /// Notes that this component works. The one before is kept too, in case that this one is rejected. Waits for the disk.
    pub fn keep(&self, plugin: &str, hash: &str, component: &[u8]) {
        let _changing = self.lock();
        self.write(plugin, hash, component);
    }

    /// The same, at the next [`Archive::settle`], unless it is degraded before that.
    pub fn prepare(&self, plugin: Arc<str>, hash: String, component: Vec<u8>) {
        self.lock().push(Good { plugin, hash, component });
    }

    /// Writes what was prepared. Waits for the disk, so whoever prepares calls it once the new code serves.
    pub fn settle(&self) {
        let mut prepared = self.lock();
        for Good { plugin, hash, component } in std::mem::take(&mut *prepared) {
            self.write(&plugin, &hash, &component);
        }
    }

    fn write(&self, plugin: &str, hash: &str, component: &[u8]) {
        let mut record = self.record(plugin);
        if record.good.as_deref() == Some(hash) {
            return;
        }
        let outdated = std::mem::replace(&mut record.before, record.good.replace(hash.to_owned()));
        self.save(plugin, &record, Some((hash, component)));
        self.discard(plugin, outdated, &record);
    }

    /// Notes why what has this key must not come back.
    pub fn reject(&self, plugin: &str, key: &str, why: &str) {
        let _changing = self.lock();
        let mut record = self.record(plugin);
        record.rejected.retain(|known| known.key != key);
        record.rejected.push(Rejection { key: key.to_owned(), why: why.to_owned() });
        let surplus = record.rejected.len().saturating_sub(MAX_REJECTED);
        record.rejected.drain(..surplus);
        self.save(plugin, &record, None);
    }

    /// Notes that this component is no good, whatever it is given; the one before it is the good one again.
    pub fn degrade(&self, plugin: &str, hash: &str) {
        let mut prepared = self.lock();
        prepared.retain(|good| (&*good.plugin, &*good.hash) != (plugin, hash));
        let mut record = self.record(plugin);
        if record.good.as_deref() == Some(hash) {
            record.good = record.before.take();
            self.save(plugin, &record, None);
        }
        self.discard(plugin, Some(hash.to_owned()), &record);
    }

    /// Why what has this key was rejected before, if it was.
    pub fn rejection(&self, plugin: &str, key: &str) -> Option<String> {
        let rejected = self.record(plugin).rejected;
        rejected.into_iter().find(|known| known.key == key).map(|known| known.why)
    }

    /// Forgets that what has this key was rejected.
    pub fn forgive(&self, plugin: &str, key: &str) {
        let _changing = self.lock();
        let mut record = self.record(plugin);
        record.rejected.retain(|known| known.key != key);
        self.save(plugin, &record, None);
    }

    /// The last component that worked.
    pub fn last_good(&self, plugin: &str) -> Option<Vec<u8>> {
        let hash = self.record(plugin).good?;
        fs::read(self.component(plugin, &hash)).ok().filter(|bytes| blake3::hash(bytes).to_string() == hash)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Good>> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
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
        archive.reject("chat", "bad with nothing", "it faulted");
        assert_eq!(archive.rejection("chat", "bad with nothing").as_deref(), Some("it faulted"));
        assert_eq!(archive.rejection("chat", "bad with something"), None);
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"bad"[..]), "the component need not be to blame");
        archive.degrade("chat", &hash(b"bad"));
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"old"[..]));
        archive.forgive("chat", "bad with nothing");
        assert_eq!(archive.rejection("chat", "bad with nothing"), None);
    }

    #[test]
    fn one_that_is_degraded_before_it_is_written_is_not_good() {
        let (_folder, archive) = archive();
        archive.keep("chat", &hash(b"old"), b"old");
        archive.prepare("chat".into(), hash(b"bad"), b"bad".to_vec());
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"old"[..]));
        archive.degrade("chat", &hash(b"bad"));
        archive.settle();
        assert_eq!(archive.last_good("chat").as_deref(), Some(&b"old"[..]));
        archive.prepare("chat".into(), hash(b"new"), b"new".to_vec());
        archive.settle();
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
