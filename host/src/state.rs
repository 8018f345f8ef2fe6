//! The state of one connection: small named values that outlive instances, reloads and faults.
//!
//! An event reads through a [`Draft`], which lays its own writes over what is stored, and either applies or forgets
//! them. Owned by the connection; lent to a guest's store for the time of an event.
//! Invariant: keys and values together never take more than the limit that writes were checked against.

use std::sync::Arc;

use bytes::Bytes;

/// What a connection remembers. Few keys, so a list is faster and smaller than a map.
#[derive(Default, Debug)]
pub struct State {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: Box<str>,
    value: Bytes,
    /// The plugin that wrote the value last: only its own values are migrated between its versions.
    #[allow(dead_code, reason = "read once state is migrated between generations")]
    writer: Arc<str>,
}

impl Entry {
    fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// One write that an event asked for; a value of none removes the key.
#[derive(Debug)]
struct Write {
    key: Box<str>,
    value: Option<Bytes>,
    writer: Arc<str>,
}

/// The writes of one event, in order, not yet applied.
#[derive(Default, Debug)]
pub struct Draft {
    writes: Vec<Write>,
}

impl State {
    fn get(&self, key: &str) -> Option<&Bytes> {
        self.entries.iter().find(|entry| &*entry.key == key).map(|entry| &entry.value)
    }

    fn size(&self) -> usize {
        self.entries.iter().map(Entry::size).sum()
    }

    fn apply(&mut self, write: Write) {
        self.entries.retain(|entry| entry.key != write.key);
        if let Some(value) = write.value {
            self.entries.push(Entry { key: write.key, value, writer: write.writer });
        }
    }

    /// Carries out the writes of an event.
    pub fn commit(&mut self, draft: Draft) {
        draft.writes.into_iter().for_each(|write| self.apply(write));
    }
}

impl Draft {
    /// The value as this event sees it.
    pub fn get<'a>(&'a self, state: &'a State, key: &str) -> Option<&'a Bytes> {
        match self.find(key) {
            Some(write) => write.value.as_ref(),
            None => state.get(key),
        }
    }

    /// Notes a write, or refuses it where the state would then take more than `limit` bytes.
    pub fn set(&mut self, state: &State, key: &str, value: Option<Bytes>, writer: &Arc<str>, limit: usize) -> bool {
        let added = value.as_ref().map_or(0, |value| key.len() + value.len());
        let replaced = self.get(state, key).map_or(0, |value| key.len() + value.len());
        if added > replaced && self.size(state) + added - replaced > limit {
            return false;
        }
        self.writes.retain(|write| &*write.key != key);
        self.writes.push(Write { key: key.into(), value, writer: writer.clone() });
        true
    }

    fn find(&self, key: &str) -> Option<&Write> {
        self.writes.iter().find(|write| &*write.key == key)
    }

    /// What the state would take if this were applied.
    fn size(&self, state: &State) -> usize {
        let hidden: usize = state.entries.iter().filter(|entry| self.find(&entry.key).is_some()).map(Entry::size).sum();
        let written = self.writes.iter().filter_map(|w| w.value.as_ref().map(|value| w.key.len() + value.len()));
        state.size() - hidden + written.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(draft: &mut Draft, state: &State, key: &str, value: Option<&'static str>) -> bool {
        draft.set(state, key, value.map(|text| Bytes::from_static(text.as_bytes())), &Arc::from("test"), 20)
    }

    #[test]
    fn an_event_reads_what_it_wrote_and_others_only_after_the_commit() {
        let mut state = State::default();
        let mut draft = Draft::default();
        assert!(set(&mut draft, &state, "user", Some("ann")));
        assert_eq!(draft.get(&state, "user").map(|v| &v[..]), Some(&b"ann"[..]));
        assert!(Draft::default().get(&state, "user").is_none());
        state.commit(draft);
        assert_eq!(Draft::default().get(&state, "user").map(|v| &v[..]), Some(&b"ann"[..]));
    }

    #[test]
    fn a_removed_key_is_gone_for_the_event_at_once() {
        let mut state = State::default();
        let mut draft = Draft::default();
        set(&mut draft, &state, "user", Some("ann"));
        state.commit(draft);
        let mut draft = Draft::default();
        set(&mut draft, &state, "user", None);
        assert!(draft.get(&state, "user").is_none());
    }

    #[test]
    fn the_limit_counts_keys_and_values_as_they_would_be() {
        let mut state = State::default();
        let mut draft = Draft::default();
        assert!(set(&mut draft, &state, "a", Some("123456789")));
        assert!(set(&mut draft, &state, "b", Some("123456789")), "exactly the limit fits");
        assert!(!set(&mut draft, &state, "c", Some("")), "one byte more does not");
        assert!(set(&mut draft, &state, "a", Some("987654321")), "a value of the same size does");
        state.commit(draft);
        let mut draft = Draft::default();
        assert!(!set(&mut draft, &state, "c", Some("1")));
        assert!(set(&mut draft, &state, "a", None));
        assert!(set(&mut draft, &state, "c", Some("1")));
    }
}
