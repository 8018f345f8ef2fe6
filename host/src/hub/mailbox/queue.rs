//! The queue inside of a mailbox: its order, what each thing in it counts, and what is written next.
//!
//! The mailbox decides what may come in; here it is put where it belongs. A replay is one thing in it, however long it is, and
//! messages come out of it one by one.
//! Invariant: the load is that of what lies in the queue, at all times.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Outgoing;
use crate::event::Origin;
use crate::hub::history::Cursor;
use crate::message::CloseFrame;

/// Past this many slots an emptied queue gives its memory back.
const SPARE_SLOTS: usize = 16;

/// Who queued something: its own event is bounded by its effects, others by the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    Own,
    Others,
}

/// How many bytes and messages wait.
#[derive(Default, Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

/// What lies in a mailbox, in the order in which it is written.
#[derive(Default)]
pub(super) struct Queue {
    items: VecDeque<(From, Waiting)>,
    pub(super) total: Load,
    pub(super) others: Load,
}

/// One thing in the queue.
#[derive(Debug)]
pub(super) enum Waiting {
    Item(Outgoing),
    /// What a room kept, for a connection that joined it; one message after the other is taken from it.
    Replay(Cursor),
    /// Where what the plugin sends as it hears of the join goes; nothing behind it is written before it was told.
    Mark,
}

impl Waiting {
    fn load(&self) -> Load {
        match self {
            Self::Item(item) => Load { bytes: item.size(), messages: 1 },
            Self::Replay(cursor) => Load { bytes: cursor.bytes(), messages: cursor.messages() },
            Self::Mark => Load::default(),
        }
    }

    /// What is written next, and what is then left.
    fn split(self) -> (Option<Outgoing>, Option<Self>) {
        match self {
            Self::Item(item) => (Some(item), None),
            Self::Replay(cursor) => {
                let room = cursor.room().clone();
                let (message, place, rest) = cursor.advance();
                let origin = Some(Origin { room, place: Some(place) });
                (Some(Outgoing::Message { message, origin, reach: usize::MAX }), rest.map(Self::Replay))
            }
            Self::Mark => (None, Some(Self::Mark)),
        }
    }
}

impl Queue {
    pub(super) fn push(&mut self, from: From, waiting: Waiting) {
        self.count(from, waiting.load());
        self.items.push_back((from, waiting));
    }

    fn take(&mut self, index: usize) -> Option<(From, Waiting)> {
        let (from, waiting) = self.items.remove(index)?;
        self.uncount(from, waiting.load());
        Some((from, waiting))
    }

    /// What is written next. Nothing, where nothing waits, or the plugin is still to be told of a join.
    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let (from, waiting) = self.take(0)?;
        let (item, rest) = waiting.split();
        if let Some(rest) = rest {
            self.count(from, rest.load());
            self.items.push_front((from, rest));
        }
        if self.items.is_empty() && self.items.capacity() > SPARE_SLOTS {
            self.items = VecDeque::new();
        }
        item
    }

    /// The size of the message that is written next, if it is one.
    pub(super) fn next_message(&self) -> Option<usize> {
        match &self.items.front()?.1 {
            Waiting::Item(Outgoing::Message { message, .. }) => Some(message.len()),
            Waiting::Replay(cursor) => Some(cursor.next_bytes()),
            Waiting::Item(_) | Waiting::Mark => None,
        }
    }

    /// Puts what the plugin sends as it hears of a join before the first mark; gives it back where there is none.
    pub(super) fn insert_at_mark(&mut self, item: Outgoing) -> Option<Outgoing> {
        let Some(mark) = self.mark() else { return Some(item) };
        let own = Waiting::Item(item);
        self.count(From::Own, own.load());
        self.items.insert(mark, (From::Own, own));
        None
    }

    /// Takes the first mark away.
    pub(super) fn release(&mut self) {
        if let Some(mark) = self.mark() {
            self.take(mark);
        }
    }

    /// Drops what is left of a room's replay.
    pub(super) fn end_replay(&mut self, room: &Arc<str>) {
        let ends = |waiting: &Waiting| matches!(waiting, Waiting::Replay(cursor) if cursor.room() == room);
        while let Some(index) = self.items.iter().position(|(_, waiting)| ends(waiting)) {
            self.take(index);
        }
    }

    /// The close that waits, if one does.
    pub(super) fn into_close(self) -> Option<CloseFrame> {
        self.items.into_iter().find_map(|(_, waiting)| match waiting {
            Waiting::Item(Outgoing::Close(frame)) => Some(frame),
            _ => None,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Drops what others sent first, if there is such a message; what is no message, and its own traffic, stays.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let may_go = |(from, waiting): &(From, Waiting)| {
            *from == From::Others && matches!(waiting, Waiting::Item(Outgoing::Message { .. }))
        };
        let oldest = self.items.iter().position(may_go);
        oldest.is_some_and(|oldest| self.take(oldest).is_some())
    }

    fn mark(&self) -> Option<usize> {
        self.items.iter().position(|(_, waiting)| matches!(waiting, Waiting::Mark))
    }

    fn count(&mut self, from: From, load: Load) {
        self.total.add(load);
        if from == From::Others {
            self.others.add(load);
        }
    }

    fn uncount(&mut self, from: From, load: Load) {
        self.total.subtract(load);
        if from == From::Others {
            self.others.subtract(load);
        }
    }
}

impl Load {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.messages += other.messages;
    }

    fn subtract(&mut self, other: Self) {
        self.bytes -= other.bytes;
        self.messages -= other.messages;
    }
}
