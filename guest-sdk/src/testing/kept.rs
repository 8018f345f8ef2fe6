//! What the rooms of the fake host keep, where a test has it keep something.
//!
//! A count of messages and nothing else: the fake host's time stands still, and its memory is as large as the test's. Every
//! room has a memory of one life, whose epoch is [`EPOCH`].

use std::collections::{BTreeMap, VecDeque};

use crate::{
    host::{
        rooms::{Entry, Page, Replay},
        types::{Message, Place},
    },
    testing::world::World,
};

/// The life of every room's memory.
pub const EPOCH: u64 = 1;
/// The most messages of one page.
const PAGE: usize = 1000;

/// What is kept, and which rooms keep anything.
#[derive(Default)]
pub struct Kept {
    /// Names, or prefixes with `*` at their end, and how many messages they keep.
    patterns: Vec<(String, usize)>,
    rooms: BTreeMap<String, Room>,
}

#[derive(Default)]
struct Room {
    newest: u64,
    entries: VecDeque<Entry>,
}

/// How a join with a replay went.
pub struct Replayed {
    pub messages: Vec<Message>,
    pub newest: Place,
    pub complete: bool,
}

impl Kept {
    pub fn configure(&mut self, pattern: &str, count: usize) {
        self.patterns.push((pattern.to_owned(), count));
    }

    /// How many messages rooms of this name keep; none where they keep nothing.
    pub fn count_of(&self, room: &str) -> Option<usize> {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => room.starts_with(prefix) && !room.starts_with('@'),
            None => room == pattern,
        };
        self.patterns.iter().find(|(pattern, _)| matches(pattern)).map(|(_, count)| *count)
    }

    pub fn push(&mut self, name: &str, message: &Message) {
        let Some(count) = self.count_of(name) else { return };
        let room = self.rooms.entry(name.to_owned()).or_default();
        room.newest += 1;
        room.entries.push_back(Entry { offset: room.newest, at: 0, message: message.clone() });
        while room.entries.len() > count {
            room.entries.pop_front();
        }
    }

    pub fn replay(&mut self, name: &str, asked: Replay) -> Replayed {
        let room = self.rooms.entry(name.to_owned()).or_default();
        let oldest = room.entries.front().map_or(room.newest + 1, |entry| entry.offset);
        let (after, complete) = match asked {
            Replay::Nothing => (room.newest, true),
            Replay::Newest(count) => (room.newest.saturating_sub(count.into()), true),
            Replay::Since(place) if place.epoch == EPOCH && (oldest - 1..=room.newest).contains(&place.offset) => {
                (place.offset, true)
            }
            Replay::Since(_) => (0, false),
        };
        let messages = room.entries.iter().filter(|entry| entry.offset > after);
        let messages = messages.map(|entry| entry.message.clone()).collect();
        Replayed { messages, newest: Place { epoch: EPOCH, offset: room.newest }, complete }
    }

    pub fn page(&self, name: &str, since: Option<u64>, limit: u32) -> Page {
        let Some(room) = self.rooms.get(name) else {
            return Page { epoch: 0, oldest: 0, newest: 0, entries: Vec::new() };
        };
        let later = room.entries.iter().filter(|entry| entry.offset > since.unwrap_or_default());
        Page {
            epoch: EPOCH,
            oldest: room.entries.front().map_or(0, |entry| entry.offset),
            newest: room.entries.back().map_or(0, |entry| entry.offset),
            entries: later.take(PAGE.min(limit as usize)).cloned().collect(),
        }
    }
}

impl World {
    /// Carries out a join: the replay comes before anything live.
    pub fn join(&mut self, id: u64, room: String, replay: Replay) {
        let open = self.connections.get(&id).is_some_and(|peer| peer.closed.is_none());
        if !open || self.peer(id).rooms.contains(&room) {
            return;
        }
        if replay != Replay::Nothing {
            let replayed = self.kept.replay(&room, replay);
            self.peer(id).received.extend(replayed.messages);
            self.peer(id).joined.push((room.clone(), replayed.newest, replayed.complete));
        }
        self.peer(id).rooms.insert(room);
    }
}
