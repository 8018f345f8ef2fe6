//! Named groups of connections, and how a plugin speaks to all of one at once.
//!
//! A room has no owner and need not be made: it is there while it has members. A connection leaves all its rooms when it
//! closes, before its `disconnect` runs. Joining and leaving belong to [`Connection`](crate::Connection), because only the
//! event's own connection can do it. Names that begin with `@` belong to the host: every connection is in `@all`,
//! `@router/NAME` and `@route/NAME` of where it came through.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

pub use crate::host::rooms::{Entry, Page, Replay};
pub use crate::host::types::Place;
use crate::{ConnectionId, Failure, Message, host};

/// A room by its name (WIT: `rooms`). A bad name, which is one of 0 or more than 128 bytes or
/// with a control character, fails each call with `invalid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room<'a> {
    name: &'a str,
}

impl<'a> Room<'a> {
    /// The room of this name. Also for services, which have no connection of their own.
    pub fn named(name: &'a str) -> Self {
        Self { name }
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Sends a message to all members when the event returns; the sender too, if it is one (WIT: `rooms.publish`). All
    /// members on a server see the messages of a room in one order. Fails with `denied` in an outbound filter, and `quota`.
    pub fn publish(&self, message: impl Into<Message>) -> Result<(), Failure> {
        self.publish_except(message, &[])
    }

    /// Publishes a value as compact JSON in a text message. Fails with `invalid` too, for what JSON cannot hold.
    pub fn publish_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        self.publish(Message::from_json(value)?)
    }

    /// Like [`publish`](Self::publish), to all members but these.
    pub fn publish_except(&self, message: impl Into<Message>, exclude: &[ConnectionId]) -> Result<(), Failure> {
        Ok(host::rooms::publish(self.name, &message.into(), exclude)?)
    }

    /// At most this many members (and never more than 10,000) in no particular order, without this event's own changes
    /// (WIT: `rooms.members`).
    pub fn members(&self, limit: u32) -> Result<Vec<ConnectionId>, Failure> {
        Ok(host::rooms::members(self.name, limit)?)
    }

    /// How many members it has, without this event's own changes (WIT: `rooms.count`).
    pub fn count(&self) -> Result<u32, Failure> {
        Ok(host::rooms::count(self.name)?)
    }

    /// At most `limit` kept messages after the offset `since`, or from the oldest, oldest first (WIT: `rooms.history`). What a
    /// room keeps is configured in the host. One call gives at most 1000 messages with 1 MiB of payloads together. Fails with
    /// `unsupported` where the room keeps nothing.
    pub fn history(&self, since: Option<u64>, limit: u32) -> Result<Page, Failure> {
        Ok(host::rooms::history(self.name, since, limit)?)
    }
}

/// `EPOCH-OFFSET`, as a client can be told and give back.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.epoch, self.offset)
    }
}

/// Reads `EPOCH-OFFSET`.
impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let (epoch, offset) = text.split_once('-').ok_or(BadPlace)?;
        let number = |text: &str| text.parse().map_err(|_| BadPlace);
        Ok(Self { epoch: number(epoch)?, offset: number(offset)? })
    }
}

/// The text is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPlace;

impl fmt::Display for BadPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("expected a place in a room, EPOCH-OFFSET")
    }
}

impl std::error::Error for BadPlace {}
