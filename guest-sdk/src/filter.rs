//! Filters: middleware on messages, one trait for each direction and one for both.
//!
//! A plugin implements and exports the directions that it wants; the host asks nobody else. Messages from the client pass
//! from the outermost filter inwards, messages to the client from the innermost outwards. A filter that closes by `?` ends
//! the message as well.

use crate::{Close, Connection, Message, host::types, room::Place};

/// What a filter decides about one message (WIT: `types.verdict`).
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// The message goes on as it is.
    Pass,
    /// This message goes on in its place.
    Replace(Message),
    /// The message ends here.
    Drop,
    /// The message ends here, and the connection is closed.
    Close(Close),
}

/// Where a message to the client came from a room (WIT: `outbound.origin`).
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The room's name.
    pub room: String,
    /// Where in the room's kept messages; none where it keeps nothing.
    pub place: Option<Place>,
}

/// Middleware on messages from the client (WIT: `inbound`).
pub trait Inbound: Default {
    /// A whole message came. A drop or a close commits what this event asked for. An error closes like [`Verdict::Close`];
    /// a panic closes with 1011.
    fn message(&self, connection: &Connection, message: &Message) -> Result<Verdict, Close>;
}

/// Middleware on messages to the client (WIT: `outbound`).
///
/// What it sends passes only the filters further out; publish and join are `denied` to it. Its panic closes the recipient,
/// never the sender. A route with an outbound filter cannot share one encoding of a message among all members of a room.
pub trait Outbound: Default {
    /// A message is about to be written to the connection; `origin` is none for what was sent by id. An error closes like
    /// [`Verdict::Close`].
    fn message(&self, connection: &Connection, message: &Message, origin: Option<&Origin>) -> Result<Verdict, Close>;
}

/// Middleware on messages of both directions at once: [`Inbound`] and [`Outbound`] in one, each passing what it is not
/// written for. Export it as `filter`; one that looks at a single direction implements that trait instead, so that the other
/// direction costs nothing.
pub trait Filter: Default {
    /// A whole message came from the client; see [`Inbound::message`].
    fn inbound(&self, _connection: &Connection, _message: &Message) -> Result<Verdict, Close> {
        Ok(Verdict::Pass)
    }

    /// A message is about to be written to the client; see [`Outbound::message`].
    fn outbound(&self, _: &Connection, _message: &Message, _origin: Option<&Origin>) -> Result<Verdict, Close> {
        Ok(Verdict::Pass)
    }
}

impl<T: Filter> Inbound for T {
    fn message(&self, connection: &Connection, message: &Message) -> Result<Verdict, Close> {
        self.inbound(connection, message)
    }
}

impl<T: Filter> Outbound for T {
    fn message(&self, connection: &Connection, message: &Message, origin: Option<&Origin>) -> Result<Verdict, Close> {
        self.outbound(connection, message, origin)
    }
}

impl Verdict {
    pub(crate) fn of(outcome: Result<Verdict, Close>) -> Self {
        outcome.unwrap_or_else(|close| {
            close.log("a filter");
            Self::Close(close)
        })
    }

    pub(crate) fn into_wit(self) -> types::Verdict {
        match self {
            Self::Pass => types::Verdict::Pass,
            Self::Replace(message) => types::Verdict::Replace(message),
            Self::Drop => types::Verdict::Drop,
            Self::Close(close) => types::Verdict::Close(close.into_frame()),
        }
    }
}

impl From<Close> for Verdict {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}
