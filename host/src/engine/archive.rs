//! The archive: for each plugin, the last component that worked, the one before it, and those that did not.
//!
//! It lies in the state folder and outlives the server, so that a restart brings neither a broken file nor a rejected
//! one into service while one that worked is known, and goes on with a roll-out that it cuts short.
//! Invariant: what is called good was instantiated by a server, and not rejected by its first event.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::compile::Candidate;
use super::shelf::Shelf;

/// So many rejections are remembered for each plugin.
const MAX_REJECTED: usize = 100;
/// The extension of a record.
const RECORD: &str = "json";
/// The extension of a component.
const COMPONENT: &str = "wasm";

/// The folder of the archive.
pub struct Archive {
    shelf: Shelf,
}

/// What is known of one plugin.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Record {
    /// Hash of the last component that worked.
    good: Option<String>,
    /// Hash of what takes over again where that one is rejected.
    before: Option<String>,
    /// How far the good one has come.
    age: Age,
    /// What was rolled back, newest last.
    rejected: Vec<Rejection>,
}

/// A component that must not come back with what it was given (`compile::key`).
#[derive(Serialize, Deserialize)]
struct Rejection {
    key: String,
    why: String,
}

/// What a component has shown.
#[derive(Serialize, Deserialize, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum Age {
    /// That it starts.
    New,
    /// That it can handle an event.
    Tried,
    /// That it is good: it was promoted, or there is no other.
    #[default]
    Promoted,
}

impl Archive {
    /// The archive in this folder. What a server that was killed left over there goes, and what is damaged is mended.
    pub fn new(folder: PathBuf) -> Self {
        let archive = Self { shelf: Shelf::new(folder) };
        archive.mend();
        archive
    }

    /// Notes that this component works, and that the one with the hash `before` takes over again if it is rejected. Where
    /// that one is not here, it is the last one that an event has shown to work.
    pub fn keep(&self, plugin: &str, Candidate { hash, bytes, .. }: &Candidate, before: Option<&str>) {
        let _held = self.shelf.hold();
        let mut record = self.record(plugin);
        if record.good.as_ref() == Some(hash) {
            return;
        }
        let shown = record.shown();
        let known = [record.good.take(), record.before.take()];
        let others = || known.iter().flatten().filter(|known| *known != hash);
        let named = others().find(|known| Some(known.as_str()) == before).cloned();
        record.before = named.or_else(|| shown.into_iter().find(|known| known != hash));
        record.good = Some(hash.clone());
        record.age = if record.before.is_some() { Age::New } else { Age::Promoted };
        self.save(plugin, &record, Some((hash, bytes)));
        self.discard(plugin, others(), &record);
    }

    /// Notes that an event of this component ended well.
    pub fn note_event(&self, plugin: &str, hash: &str) {
        self.come_to(plugin, hash, Age::Tried);
    }

    /// Notes that this component has shown that it is good.
    pub fn promote(&self, plugin: &str, hash: &str) {
        self.come_to(plugin, hash, Age::Promoted);
    }

    /// Notes why what has this key must not come back.
    pub fn reject(&self, plugin: &str, key: &str, why: &str) {
        let _held = self.shelf.hold();
        let mut record = self.record(plugin);
        record.rejected.retain(|known| known.key != key);
        record.rejected.push(Rejection { key: key.to_owned(), why: why.to_owned() });
        let surplus = record.rejected.len().saturating_sub(MAX_REJECTED);
        record.rejected.drain(..surplus);
        self.save(plugin, &record, None);
    }

    /// Notes that this component is no good, whatever it is given; the one before it is the good one again.
    pub fn degrade(&self, plugin: &str, hash: &str) {
        let _held = self.shelf.hold();
        let mut record = self.record(plugin);
        if record.good.as_deref() == Some(hash) {
            (record.good, record.age) = (record.before.take(), Age::Promoted);
            self.save(plugin, &record, None);
        }
        self.discard(plugin, [&hash.to_owned()], &record);
    }

    /// Why what has this key was rejected before, if it was.
    pub fn rejection(&self, plugin: &str, key: &str) -> Option<String> {
        let rejected = self.record(plugin).rejected;
        rejected.into_iter().find(|known| known.key == key).map(|known| known.why)
    }

    /// Forgets that what has this key was rejected.
    pub fn forgive(&self, plugin: &str, key: &str) {
        let _held = self.shelf.hold();
        let mut record = self.record(plugin);
        record.rejected.retain(|known| known.key != key);
        self.save(plugin, &record, None);
    }

    /// Components that worked, whole, the last one first: what may stand in for a file that cannot be used.
    pub fn good(&self, plugin: &str) -> impl Iterator<Item = Candidate> {
        let Record { good, before, .. } = self.record(plugin);
        [good, before].into_iter().flatten().filter_map(move |hash| self.component(plugin, &hash))
    }

    /// What may take over again from a component that a server starts with, the best first: nothing where that one has shown
    /// that it is good.
    pub fn behind(&self, plugin: &str, hash: &str) -> impl Iterator<Item = Candidate> {
        let record = self.record(plugin);
        let is_promoted = record.age == Age::Promoted && record.good.as_deref() == Some(hash);
        let others = record.shown().into_iter().filter(|known| !is_promoted && known != hash);
        others.filter_map(move |hash| self.component(plugin, &hash)).collect::<Vec<_>>().into_iter()
    }

    /// The hashes of all components that may be needed again.
    pub fn hashes(&self) -> BTreeSet<String> {
        let records = self.names().into_iter().map(|plugin| self.record(&plugin));
        records.flat_map(|record| [record.good, record.before]).flatten().collect()
    }

    /// Never back: what is told late is told by a thread that was overtaken.
    fn come_to(&self, plugin: &str, hash: &str, age: Age) {
        let _held = self.shelf.hold();
        let record = self.record(plugin);
        if record.age < age && record.good.as_deref() == Some(hash) {
            self.save(plugin, &Record { age, ..record }, None);
        }
    }

    fn record(&self, plugin: &str) -> Record {
        self.read(plugin).unwrap_or_else(|error| {
            tracing::warn!(plugin, "what the archive knows of it cannot be read: {error}");
            Record::default()
        })
    }

    fn read(&self, plugin: &str) -> io::Result<Record> {
        match fs::read(self.shelf.path(&format!("{plugin}.{RECORD}"))) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error),
        }
    }

    /// None where it is not what its name says.
    fn component(&self, plugin: &str, hash: &str) -> Option<Candidate> {
        let path = self.shelf.path(&component(plugin, hash));
        let found = fs::read(&path).map(Candidate::from);
        let whole = found.as_ref().ok().is_some_and(|candidate| candidate.hash == hash);
        if !whole {
            let reason = found.as_ref().err().map_or("it is damaged".to_owned(), ToString::to_string);
            tracing::warn!(plugin, file = %path.display(), "a component of the archive cannot be used: {reason}");
        }
        found.ok().filter(|_| whole)
    }

    /// Removes components that the record no longer names.
    fn discard<'a>(&self, plugin: &str, hashes: impl IntoIterator<Item = &'a String>, record: &Record) {
        for hash in hashes.into_iter().filter(|hash| !record.names(hash)) {
            // A file that stays behind wastes space until the next start, and nothing else.
            let _ = fs::remove_file(self.shelf.path(&component(plugin, hash)));
        }
    }

    /// The component first, so that a record never names one that is not there.
    fn save(&self, plugin: &str, record: &Record, kept: Option<(&str, &[u8])>) {
        let write = || -> io::Result<()> {
            if let Some((hash, bytes)) = kept {
                self.shelf.put(&component(plugin, hash), &[bytes])?;
            }
            self.shelf.put(&format!("{plugin}.{RECORD}"), &[&serde_json::to_vec_pretty(record)?])
        };
        if let Err(error) = write() {
            tracing::warn!(plugin, folder = %self.shelf.folder().display(), "the archive could not be written: {error}");
        }
    }

    /// The plugins that it knows.
    fn names(&self) -> BTreeSet<String> {
        let names = self.shelf.names().into_iter();
        names.filter_map(|name| Some(name.strip_suffix(&format!(".{RECORD}"))?.to_owned())).collect()
    }

    fn mend(&self) {
        // Nothing is made where nothing is.
        if self.shelf.names().is_empty() {
            return;
        }
        let _held = self.shelf.hold();
        for plugin in self.names() {
            if let Err(error) = self.read(&plugin) {
                tracing::warn!(
                    plugin,
                    "what the archive knows of it is damaged: {error}; its components are taken as good, newest first, \
                     and those that were rejected are forgotten"
                );
                self.save(&plugin, &self.found(&plugin), None);
            }
        }
        for (path, plugin, hash) in self.components() {
            if !self.record(&plugin).names(&hash) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// What the components say that are there, where the record says nothing.
    fn found(&self, plugin: &str) -> Record {
        let own = self.components().filter(|(_, owner, _)| owner == plugin);
        let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        let mut found: Vec<(Option<SystemTime>, String)> = own.map(|(path, _, hash)| (changed(&path), hash)).collect();
        found.sort();
        let mut newest = found.into_iter().rev().map(|(_, hash)| hash);
        let mut whole = newest.by_ref().filter(|hash| self.component(plugin, hash).is_some());
        let (good, before) = (whole.next(), whole.next());
        // Nobody knows how far it had come.
        Record { age: Age::New, good, before, rejected: Vec::new() }
    }

    /// Each component, with its plugin and its hash.
    fn components(&self) -> impl Iterator<Item = (PathBuf, String, String)> {
        self.shelf.names().into_iter().filter_map(|name| {
            let (plugin, hash) = name.strip_suffix(&format!(".{COMPONENT}"))?.rsplit_once('-')?;
            Some((self.shelf.path(&name), plugin.to_owned(), hash.to_owned()))
        })
    }
}

impl Record {
    /// Those of which an event has shown that they work, the last one first.
    fn shown(&self) -> Vec<String> {
        let good = self.good.as_ref().filter(|_| self.age > Age::New);
        good.into_iter().chain(&self.before).cloned().collect()
    }

    fn names(&self, hash: &str) -> bool {
        [&self.good, &self.before].into_iter().any(|known| known.as_deref() == Some(hash))
    }
}

/// The name of a component's file.
fn component(plugin: &str, hash: &str) -> String {
    format!("{plugin}-{hash}.{COMPONENT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> (tempfile::TempDir, Archive) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::new(folder.path().join("archive"));
        (folder, archive)
    }

    /// The archive of a server that is started on the same folder.
    fn started_again(archive: &Archive) -> Archive {
        Archive::new(archive.shelf.folder().to_owned())
    }

    fn hash(text: &str) -> String {
        candidate(text).hash
    }

    fn candidate(text: &str) -> Candidate {
        Candidate::from(text.as_bytes().to_vec())
    }

    /// Kept by a server for which the one of these words takes over again.
    fn keep(archive: &Archive, plugin: &str, text: &str, before: Option<&str>) {
        archive.keep(plugin, &candidate(text), before.map(hash).as_deref());
    }

    fn texts(found: impl Iterator<Item = Candidate>) -> Vec<String> {
        found.map(|found| String::from_utf8(found.bytes).expect("it is text")).collect()
    }

    fn path(archive: &Archive, plugin: &str, text: &str) -> PathBuf {
        archive.shelf.path(&component(plugin, &hash(text)))
    }

    #[test]
    fn the_last_good_component_comes_back_and_the_one_before_it() {
        let (_folder, archive) = archive();
        assert!(texts(archive.good("chat")).is_empty());
        keep(&archive, "chat", "one", None);
        keep(&archive, "chat", "two", Some("one"));
        keep(&archive, "chat", "three", Some("two"));
        assert_eq!(texts(archive.good("chat")), ["three", "two"]);
        assert!(texts(archive.good("echo")).is_empty());
        assert_eq!(archive.components().count(), 2, "no more are kept");
        assert_eq!(archive.hashes(), ["two", "three"].map(hash).into());
    }

    #[test]
    fn a_rejected_one_is_remembered_and_the_other_is_good() {
        let (_folder, archive) = archive();
        keep(&archive, "chat", "old", None);
        keep(&archive, "chat", "bad", Some("old"));
        archive.reject("chat", "bad with nothing", "it faulted");
        assert_eq!(archive.rejection("chat", "bad with nothing").as_deref(), Some("it faulted"));
        assert_eq!(archive.rejection("chat", "bad with something"), None);
        assert_eq!(texts(archive.good("chat")), ["bad", "old"], "the component need not be to blame");
        archive.degrade("chat", &hash("bad"));
        assert_eq!(texts(archive.good("chat")), ["old"]);
        archive.forgive("chat", "bad with nothing");
        assert_eq!(archive.rejection("chat", "bad with nothing"), None);
    }

    #[test]
    fn no_more_than_a_hundred_are_remembered_as_rejected() {
        let (_folder, archive) = archive();
        let texts: Vec<_> = (0..=MAX_REJECTED).map(|number| number.to_string()).collect();
        texts.iter().for_each(|text| archive.reject("chat", text, "it faulted"));
        assert!(archive.rejection("chat", &texts[0]).is_none());
        assert!(texts[1..].iter().all(|text| archive.rejection("chat", text).is_some()));
    }

    /// The second one was replaced before any event had shown that it works.
    #[test]
    fn what_takes_over_again_is_what_the_server_says() {
        let (_folder, archive) = archive();
        keep(&archive, "chat", "one", None);
        keep(&archive, "chat", "untried", Some("one"));
        keep(&archive, "chat", "bad", Some("one"));
        archive.degrade("chat", &hash("bad"));
        assert_eq!(texts(archive.good("chat")), ["one"]);
        keep(&archive, "chat", "two", Some("unknown"));
        assert_eq!(texts(archive.good("chat")), ["two", "one"]);
        keep(&archive, "chat", "one", None);
        assert_eq!(texts(archive.good("chat")), ["one"], "an event never showed that the second one works");
    }

    #[test]
    fn behind_one_that_was_not_promoted_stands_the_one_before() {
        let (_folder, archive) = archive();
        keep(&archive, "chat", "one", None);
        assert!(texts(archive.behind("chat", &hash("one"))).is_empty(), "there is no other");
        keep(&archive, "chat", "two", Some("one"));
        assert_eq!(texts(archive.behind("chat", &hash("two"))), ["one"]);
        assert_eq!(texts(archive.behind("chat", &hash("new"))), ["one"], "it has shown nothing");
        assert!(texts(archive.behind("chat", &hash("one"))).is_empty());
        archive.note_event("chat", &hash("two"));
        assert_eq!(texts(archive.behind("chat", &hash("new"))), ["two", "one"], "now it has");
        assert_eq!(texts(archive.behind("chat", &hash("two"))), ["one"], "and may fault all the same");
        archive.promote("chat", &hash("one"));
        assert_eq!(texts(archive.behind("chat", &hash("two"))), ["one"], "another one was meant");
        archive.promote("chat", &hash("two"));
        archive.note_event("chat", &hash("two"));
        assert!(texts(archive.behind("chat", &hash("two"))).is_empty());
        assert_eq!(texts(archive.behind("chat", &hash("new"))), ["two", "one"]);
    }

    #[test]
    fn a_damaged_component_is_not_good_and_the_one_before_stands_in() {
        let (_folder, archive) = archive();
        keep(&archive, "chat", "one", None);
        keep(&archive, "chat", "two", Some("one"));
        fs::write(path(&archive, "chat", "two"), "other").expect("it can be written");
        assert_eq!(texts(archive.good("chat")), ["one"]);
        fs::remove_file(path(&archive, "chat", "one")).expect("it is there");
        assert!(texts(archive.good("chat")).is_empty());
    }

    #[test]
    fn a_damaged_record_is_made_anew_of_what_is_there() {
        let (_folder, archive) = archive();
        keep(&archive, "chat-room", "one", None);
        keep(&archive, "chat-room", "two", Some("one"));
        keep(&archive, "chat", "other", None);
        let file = fs::File::open(path(&archive, "chat-room", "one")).expect("it is there");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
        let record = archive.shelf.path("chat-room.json");
        let whole = fs::read(&record).expect("it was written");
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&record, &whole[..length]).expect("it can be written");
            let next = started_again(&archive);
            assert_eq!(texts(next.good("chat-room")), ["two", "one"], "{length} bytes");
            assert_eq!(texts(next.behind("chat-room", &hash("two"))), ["one"]);
            assert_eq!(texts(next.good("chat")), ["other"]);
        }
    }

    #[test]
    fn plugins_of_tenants_have_records_of_their_own_which_are_mended_and_swept_too() {
        let (_folder, archive) = archive();
        for plugin in ["chat", "acme/chat", "umbrella/chat"] {
            keep(&archive, plugin, "one", None);
            keep(&archive, plugin, plugin, Some("one"));
        }
        assert_eq!(archive.names(), ["acme/chat", "chat", "umbrella/chat"].map(str::to_owned).into());
        assert_eq!(archive.hashes(), ["one", "acme/chat", "chat", "umbrella/chat"].map(hash).into());
        archive.reject("acme/chat", "key", "it faulted");
        archive.degrade("acme/chat", &hash("acme/chat"));
        for other in ["chat", "umbrella/chat"] {
            assert!(archive.rejection(other, "key").is_none());
            assert_eq!(texts(archive.good(other)), [other, "one"]);
        }
        assert_eq!(texts(archive.good("acme/chat")), ["one"]);
        fs::write(archive.shelf.path("umbrella/chat.json"), "{").expect("it can be written");
        let file = fs::File::open(path(&archive, "umbrella/chat", "one")).expect("it is there");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
        for left in [&component("acme/chat", &hash("two")), "acme/chat.json.9-0.unfinished"] {
            fs::write(archive.shelf.path(left), "two").expect("it can be written");
        }
        let next = started_again(&archive);
        assert_eq!(texts(next.good("umbrella/chat")), ["umbrella/chat", "one"], "mended");
        assert_eq!(next.rejection("acme/chat", "key").as_deref(), Some("it faulted"));
        assert_eq!(next.shelf.files().len(), 3 + 5, "a record each, and its components");
    }

    /// A server may be killed after any of its writes.
    #[test]
    fn what_no_record_names_goes_at_the_next_start() {
        let (_folder, archive) = archive();
        keep(&archive, "chat", "one", None);
        for left in [&component("chat", &hash("two")), "chat.json.9-0.unfinished"] {
            fs::write(archive.shelf.path(left), "two").expect("it can be written");
        }
        let next = started_again(&archive);
        assert_eq!(texts(next.good("chat")), ["one"]);
        assert_eq!(next.shelf.files().len(), 2, "the record and its component");
    }
}
