//! Values of other versions of a plugin: which they are, and what becomes of them before a generation reads them.
//!
//! A generation of a higher version migrates them, and what they were stays beside them until it is promoted; one that is
//! gone back to finds that again. Values of other plugins are read as they are. Who calls the guest is `engine/migration`.
//! Invariant: all here is part of the event's draft. What is kept from before is what one version of a plugin had stored, so
//! it takes, beside the limit of the state, no more than that limit again for each plugin.

use bytes::Bytes;

use super::draft::Draft;
use super::{Before, Bounds, Entry, State, Writer};

/// Which versions the values of a state have.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Versions {
    have: Have,
    keep_before: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Have {
    #[default]
    None,
    One(u32),
    Several,
}

impl Versions {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut versions = entries.iter().map(|entry| entry.writer.version);
        let have = versions.next().map_or(Have::None, |first| match versions.all(|version| version == first) {
            true => Have::One(first),
            false => Have::Several,
        });
        Self { have, keep_before: entries.iter().any(|entry| entry.before.is_some()) }
    }

    /// Whether any value may have another version than this.
    fn differ(self, version: u32) -> bool {
        match self.have {
            Have::None => false,
            Have::One(one) => one != version,
            Have::Several => true,
        }
    }

    /// Whether anything is kept from before a migration.
    pub(super) fn keeps_before(self) -> bool {
        self.keep_before
    }
}

/// A value that is to be migrated.
#[derive(Debug)]
pub struct Outdated {
    /// Its key.
    pub key: Box<str>,
    /// Its bytes.
    pub value: Bytes,
    /// The version that wrote them.
    pub version: u32,
}

impl Draft {
    /// Whether this plugin wrote anything under another version. Costs a comparison in the usual case.
    pub fn has_outdated(&self, state: &State, plugin: &str, version: u32) -> bool {
        let other = |entry: &Entry| entry.is_of_another(plugin, version);
        let stored = state.versions.differ(version) && state.entries.iter().any(other);
        stored || self.writes().iter().any(other)
    }

    /// Goes back to what was kept from before, where the reader has the version of that or a lower one than the value; says
    /// how many values were. What is kept of removed values for another version is dropped. An error is the key of a value
    /// for which there is no room any more.
    pub fn roll_back(&mut self, state: &State, reader: &Writer, most: Bounds) -> Result<u64, Box<str>> {
        let mut rolled_back = 0;
        for entry in self.of_others(state, reader, returns) {
            let key = entry.key.clone();
            rolled_back += u64::from(entry.value.is_some());
            if !self.put(state, entry, most) {
                return Err(key);
            }
        }
        Ok(rolled_back)
    }

    /// The values that the reader's plugin wrote under another version.
    pub fn outdated(&self, state: &State, reader: &Writer) -> Vec<Outdated> {
        self.of_others(state, reader, |entry, _| {
            let value = entry.value.clone()?;
            Some(Outdated { key: entry.key.clone(), value, version: entry.writer.version })
        })
    }

    /// Notes a migrated value, with what it was beside it; false where it is too large.
    pub fn migrate(
        &mut self,
        state: &State,
        (outdated, value): (Outdated, Bytes),
        reader: &Writer,
        most: Bounds,
    ) -> bool {
        let Outdated { key, value: old, version } = outdated;
        let before = Some(Box::new(Before { value: old, version }));
        self.put(state, Entry { key, value: Some(value), writer: reader.clone(), before }, most)
    }

    /// What is made of each entry, as this event sees them, of another version of the reader's plugin.
    fn of_others<T>(&self, state: &State, reader: &Writer, make: impl Fn(&Entry, &Writer) -> Option<T>) -> Vec<T> {
        let stored = state.entries.iter().filter(|entry| self.find(&entry.key).is_none());
        let others = stored.chain(self.writes()).filter(|entry| entry.is_of_another(&reader.plugin, reader.version));
        others.filter_map(|entry| make(entry, reader)).collect()
    }
}

/// The entry as it was before, if the reader goes back to that; or its removal, if there is nothing to go on from.
fn returns(entry: &Entry, reader: &Writer) -> Option<Entry> {
    let back = |before: &&Before| before.version == reader.version || reader.version < entry.writer.version;
    let before = entry.before.as_deref().filter(back);
    if before.is_none() && entry.value.is_some() {
        return None;
    }
    let version = before.map_or(reader.version, |before| before.version);
    let (key, value) = (entry.key.clone(), before.map(|before| before.value.clone()));
    Some(Entry { key, value, writer: Writer { plugin: reader.plugin.clone(), version }, before: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Unfit;

    const LIMIT: Bounds = Bounds { bytes: 100, keys: 10 };

    fn writer(plugin: &str, version: u32) -> Writer {
        Writer { plugin: plugin.into(), version }
    }

    /// An event of this writer: what it finds is carried over as a host does it, where a migration adds `>VERSION`.
    fn event(state: &mut State, reader: &Writer, write: impl FnOnce(&State, &mut Draft)) -> u64 {
        let mut draft = Draft::default();
        let mut rolled_back = 0;
        if draft.has_outdated(state, &reader.plugin, reader.version) {
            rolled_back = draft.roll_back(state, reader, LIMIT).expect("there is room");
            for outdated in draft.outdated(state, reader) {
                let value = [&outdated.value[..], format!(">{}", reader.version).as_bytes()].concat();
                assert!(draft.migrate(state, (outdated, value.into()), reader, LIMIT));
            }
        }
        write(state, &mut draft);
        state.commit(draft);
        rolled_back
    }

    fn set(state: &mut State, writer: &Writer, key: &str, value: Option<&'static str>) {
        let value = value.map(Bytes::from);
        event(state, writer, |state, draft| assert!(draft.set(state, (key, value), writer, LIMIT)));
    }

    fn run(state: &mut State, reader: &Writer) -> u64 {
        event(state, reader, |_, _| {})
    }

    fn stored(state: &State, key: &str) -> Option<String> {
        let value = Draft::default().get(state, key).map(|value| value.to_vec());
        value.map(|value| String::from_utf8(value).expect("it is text"))
    }

    /// A state with one value of version 0, migrated to version 1.
    fn migrated() -> State {
        let mut state = State::default();
        set(&mut state, &writer("chat", 0), "user", Some("ann"));
        run(&mut state, &writer("chat", 1));
        assert_eq!(stored(&state, "user").as_deref(), Some("ann>1"));
        state
    }

    #[test]
    fn a_value_is_migrated_once_and_only_for_who_wrote_it() {
        let mut state = migrated();
        assert!(!Draft::default().has_outdated(&state, "chat", 1), "it has the version now");
        set(&mut state, &writer("log", 7), "line", Some("x"));
        assert!(!Draft::default().has_outdated(&state, "chat", 1));
        assert!(!Draft::default().has_outdated(&state, "auth", 3), "it wrote nothing");
        run(&mut state, &writer("chat", 1));
        assert_eq!((stored(&state, "user"), stored(&state, "line")), (Some("ann>1".into()), Some("x".into())));
    }

    #[test]
    fn whoever_is_gone_back_to_finds_what_was_before() {
        let mut state = migrated();
        set(&mut state, &writer("chat", 1), "user", Some("bob>1"));
        set(&mut state, &writer("chat", 1), "user", Some("cid>1"));
        assert_eq!(run(&mut state, &writer("chat", 0)), 1);
        assert_eq!(stored(&state, "user").as_deref(), Some("ann"));
        assert_eq!(run(&mut state, &writer("chat", 0)), 0, "once");
        run(&mut state, &writer("chat", 1));
        assert_eq!(stored(&state, "user").as_deref(), Some("ann>1"), "and it can be migrated again");
    }

    #[test]
    fn a_removed_value_comes_back_too() {
        let mut state = migrated();
        set(&mut state, &writer("chat", 1), "user", None);
        assert_eq!(stored(&state, "user"), None);
        assert_eq!(run(&mut state, &writer("chat", 0)), 1);
        assert_eq!(stored(&state, "user").as_deref(), Some("ann"));
    }

    #[test]
    fn what_was_before_is_dropped_with_the_promotion() {
        let mut state = migrated();
        set(&mut state, &writer("chat", 1), "gone", Some("x"));
        state.promote("chat", 0);
        state.promote("log", 1);
        assert!(state.versions.keeps_before());
        state.promote("chat", 1);
        assert!(!state.versions.keeps_before());
        assert_eq!(run(&mut state, &writer("chat", 0)), 0);
        assert_eq!(stored(&state, "user").as_deref(), Some("ann>1>0"), "it is migrated like any other");
    }

    #[test]
    fn one_step_is_kept_and_a_removed_value_not_longer_than_that() {
        let mut state = migrated();
        set(&mut state, &writer("chat", 0), "other", Some("x"));
        set(&mut state, &writer("chat", 1), "other", None);
        run(&mut state, &writer("chat", 2));
        assert_eq!(state.entries.len(), 1, "nobody goes back to a value that the version before removed");
        run(&mut state, &writer("chat", 1));
        assert_eq!(stored(&state, "user").as_deref(), Some("ann>1"));
    }

    #[test]
    fn a_value_that_another_plugin_wrote_over_is_not_gone_back_from() {
        let mut state = migrated();
        set(&mut state, &writer("auth", 0), "user", Some("eve"));
        assert_eq!(run(&mut state, &writer("chat", 0)), 0);
        assert_eq!(stored(&state, "user").as_deref(), Some("eve"));
    }

    #[test]
    fn within_one_event_the_second_of_two_versions_migrates_what_the_first_wrote() {
        let state = State::default();
        let mut draft = Draft::default();
        draft.set(&state, ("user", Some(Bytes::from("ann"))), &writer("chat", 0), LIMIT);
        assert!(draft.has_outdated(&state, "chat", 1));
        assert_eq!(draft.outdated(&state, &writer("chat", 1)).len(), 1);
    }

    #[test]
    fn a_migrated_value_is_bounded_like_any_other_and_what_was_before_does_not_count() {
        let mut state = State::default();
        let (old, new) = (writer("chat", 0), writer("chat", 1));
        let most = Bytes::from(vec![b'x'; LIMIT.bytes - 1]);
        event(&mut state, &old, |state, draft| assert!(draft.set(state, ("k", Some(most.clone())), &old, LIMIT)));
        let mut draft = Draft::default();
        let outdated = || Outdated { key: "k".into(), value: most.clone(), version: 0 };
        assert!(!draft.migrate(&state, (outdated(), Bytes::from(vec![b'y'; LIMIT.bytes])), &new, LIMIT));
        assert!(draft.migrate(&state, (outdated(), most.clone()), &new, LIMIT));
        state.commit(draft);
        assert_eq!(state.bytes, LIMIT.bytes);
    }

    #[test]
    fn there_may_be_no_room_for_what_was_before() {
        let mut state = migrated();
        set(&mut state, &writer("chat", 1), "user", None);
        let most = Bytes::from(vec![b'x'; LIMIT.bytes - 3]);
        let auth = writer("auth", 0);
        event(&mut state, &auth, |state, draft| assert!(draft.set(state, ("big", Some(most)), &auth, LIMIT)));
        let back = Draft::default().roll_back(&state, &writer("chat", 0), LIMIT);
        assert_eq!(back, Err("user".into()));
    }

    #[test]
    fn a_reset_removes_one_value_and_keeps_it_for_who_is_gone_back_to() {
        let mut state = State::default();
        let (old, new) = (writer("chat", 0), writer("chat", 1));
        set(&mut state, &old, "user", Some("ann"));
        let unfit = Unfit { key: "user".into(), reader: new.clone() };
        assert!(state.reset(&unfit));
        assert_eq!((stored(&state, "user"), state.bytes), (None, 0));
        assert!(!state.reset(&unfit), "there is nothing any more");
        assert_eq!(run(&mut state, &new), 0);
        assert_eq!(run(&mut state, &old), 1);
        assert_eq!(stored(&state, "user").as_deref(), Some("ann"));
        assert!(state.reset(&Unfit { key: "user".into(), reader: writer("auth", 0) }));
        assert!(state.entries.is_empty(), "of another plugin, nothing is kept");
    }
}
