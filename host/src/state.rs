//! The state of one connection: small named values that outlive instances, reloads and faults.
//!
//! An event reads through a [`draft::Draft`], which lays its own writes over what is stored, and either applies or
//! forgets them. Each value says who wrote it under which version, so that a new version of a plugin can carry it over
//! (`state/versions`). Owned by the connection; lent to a guest's store for the time of an event.
//! Invariant: keys and values never take more than the bounds that writes were checked against.

pub mod draft;
pub mod versions;

use std::sync::Arc;

use bytes::Bytes;

use draft::Draft;
use versions::Versions;

/// What a connection remembers. Few keys, so a list is faster and smaller than a map.
#[derive(Default, Debug)]
pub struct State {
    entries: Vec<Entry>,
    /// What keys and values take, and how many have a value.
    bytes: usize,
    keys: usize,
    /// Spares the look at each entry in the usual case.
    versions: Versions,
}

/// What a state may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Keys and values together.
    pub bytes: usize,
    /// How many keys have a value.
    pub keys: usize,
}

/// Who wrote a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Writer {
    /// The plugin: only its own values are carried over between its versions.
    pub plugin: Arc<str>,
    /// The version of the state that its generation writes (WIT `migration.state-version`).
    pub version: u32,
}

/// One value, stored or as an event wants it stored.
#[derive(Debug)]
struct Entry {
    key: Box<str>,
    /// None where it was removed; such an entry is stored only for what was before.
    value: Option<Bytes>,
    writer: Writer,
    /// What the generation before stored, until the one that carried it over is promoted.
    before: Option<Box<Before>>,
}

/// A value as another version of its writer stored it.
#[derive(Clone, Debug)]
struct Before {
    value: Bytes,
    version: u32,
}

/// A value that does not fit the version which reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    /// Its key.
    pub key: Box<str>,
    /// Who reads it.
    pub reader: Writer,
}

impl Writer {
    fn is(&self, plugin: &str, version: u32) -> bool {
        self.version == version && *self.plugin == *plugin
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.value.as_ref().map_or(0, |value| self.key.len() + value.len())
    }

    fn keys(&self) -> usize {
        usize::from(self.value.is_some())
    }

    /// Whether this plugin wrote it, under another version.
    fn is_of_another(&self, plugin: &str, version: u32) -> bool {
        self.writer.version != version && *self.writer.plugin == *plugin
    }
}

impl State {
    fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.key == key)
    }

    fn apply(&mut self, write: Entry) {
        self.entries.retain(|entry| entry.key != write.key);
        if write.value.is_some() || write.before.is_some() {
            self.entries.push(write);
        }
    }

    fn settle(&mut self) {
        self.bytes = self.entries.iter().map(Entry::size).sum();
        self.keys = self.entries.iter().map(Entry::keys).sum();
        self.versions = Versions::of(&self.entries);
    }

    /// Carries out the writes of an event.
    pub fn commit(&mut self, draft: Draft) {
        if draft.is_empty() {
            return;
        }
        draft.into_writes().into_iter().for_each(|write| self.apply(write));
        self.settle();
    }

    /// Removes a value that does not fit, so that its reader starts empty; false where there is none, so that nothing is
    /// won by another try. What another version of the reader stored stays beside it, as after a migration.
    pub fn reset(&mut self, unfit: &Unfit) -> bool {
        let Unfit { key, reader } = unfit;
        let found = self.find(key).filter(|entry| entry.value.is_some());
        let Some(entry) = found else { return false };
        let before = match &entry.value {
            Some(value) if entry.is_of_another(&reader.plugin, reader.version) => {
                Some(Box::new(Before { value: value.clone(), version: entry.writer.version }))
            }
            _ => entry.before.clone().filter(|_| entry.writer == *reader),
        };
        self.apply(Entry { key: key.clone(), value: None, writer: reader.clone(), before });
        self.settle();
        true
    }

    /// Drops what was kept from before this version of a plugin, which nobody goes back from any more. One comparison where
    /// nothing is kept.
    pub fn promote(&mut self, plugin: &str, version: u32) {
        if !self.versions.keeps_before() {
            return;
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.writer.is(plugin, version)) {
            entry.before = None;
        }
        self.entries.retain(|entry| entry.value.is_some() || entry.before.is_some());
        self.settle();
    }
}
