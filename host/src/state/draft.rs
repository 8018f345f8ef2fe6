//! The writes of one event on its connection's state, not yet applied.
//!
//! Laid over what is stored, so that the event reads what it wrote; forgotten where the event faults.
//! Invariant: the state would take no more than the limit if this were applied.

use bytes::Bytes;

use super::{Bounds, Entry, State, Writer};

/// The writes of one event, at most one for each key.
#[derive(Default, Debug)]
pub struct Draft {
    writes: Vec<Entry>,
    /// What the state takes once they are applied, and how many of its keys have a value; none while there are none.
    after: Option<Bounds>,
}

impl Draft {
    /// The value as this event sees it.
    pub fn get<'a>(&'a self, state: &'a State, key: &str) -> Option<&'a Bytes> {
        self.present(state, key)?.value.as_ref()
    }

    /// Notes a write, a value of none being a removal, or refuses it where the state would then be out of bounds.
    pub fn set(&mut self, state: &State, (key, value): (&str, Option<Bytes>), writer: &Writer, most: Bounds) -> bool {
        let own = self.present(state, key).filter(|entry| entry.writer == *writer);
        let before = own.and_then(|entry| entry.before.clone());
        self.put(state, Entry { key: key.into(), value, writer: writer.clone(), before }, most)
    }

    /// Whether there is nothing to apply.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) fn into_writes(self) -> Vec<Entry> {
        self.writes
    }

    pub(super) fn writes(&self) -> &[Entry] {
        &self.writes
    }

    /// What this event sees under a key, removed or not.
    pub(super) fn present<'a>(&'a self, state: &'a State, key: &str) -> Option<&'a Entry> {
        self.find(key).or_else(|| state.find(key))
    }

    pub(super) fn find(&self, key: &str) -> Option<&Entry> {
        self.writes.iter().find(|write| &*write.key == key)
    }

    pub(super) fn put(&mut self, state: &State, write: Entry, most: Bounds) -> bool {
        let replaced = self.present(state, &write.key).map_or((0, 0), |entry| (entry.size(), entry.keys()));
        let now = self.after.unwrap_or(Bounds { bytes: state.bytes, keys: state.keys });
        let after = Bounds { bytes: now.bytes - replaced.0 + write.size(), keys: now.keys - replaced.1 + write.keys() };
        // What gets smaller is never refused.
        if (after.bytes > now.bytes && after.bytes > most.bytes) || (after.keys > now.keys && after.keys > most.keys) {
            return false;
        }
        self.writes.retain(|other| other.key != write.key);
        self.writes.push(write);
        self.after = Some(after);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(draft: &mut Draft, state: &State, key: &str, value: Option<&'static str>) -> bool {
        let writer = Writer { plugin: "test".into(), version: 0 };
        draft.set(
            state,
            (key, value.map(|text| Bytes::from_static(text.as_bytes()))),
            &writer,
            Bounds { bytes: 20, keys: 3 },
        )
    }

    #[test]
    fn the_keys_that_have_a_value_are_bounded_too() {
        let (mut state, mut draft) = (State::default(), Draft::default());
        assert!(["a", "b", "c"].iter().all(|key| set(&mut draft, &state, key, Some("x"))), "three fit");
        assert!(!set(&mut draft, &state, "d", Some("x")), "and no fourth");
        state.commit(draft);
        let mut draft = Draft::default();
        assert!(set(&mut draft, &state, "a", Some("y")), "another value of a key");
        assert!(!set(&mut draft, &state, "d", Some("x")));
        assert!(set(&mut draft, &state, "b", None) && set(&mut draft, &state, "d", Some("x")), "in the place of one");
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
    fn a_removed_key_is_gone_for_the_event_at_once_and_for_all_after_the_commit() {
        let mut state = State::default();
        let mut draft = Draft::default();
        set(&mut draft, &state, "user", Some("ann"));
        state.commit(draft);
        let mut draft = Draft::default();
        set(&mut draft, &state, "user", None);
        assert!(draft.get(&state, "user").is_none());
        state.commit(draft);
        assert!(state.entries.is_empty());
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
        state.commit(draft);
        let mut draft = Draft::default();
        assert!(!set(&mut draft, &state, "d", Some("12345678")), "twelve are taken");
        assert!(set(&mut draft, &state, "d", Some("1234567")));
    }
}
