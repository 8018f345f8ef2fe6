//! One connection, as a plugin sees it: an id and the host functions that take it.
//!
//! What is asked for here takes effect when the event returns, all of it or, if the event faults, none of it. A connection
//! that is gone is no failure: what is sent to it falls away. `Connection` is a plain value that can be kept, but between
//! two events a plugin keeps nothing that matters: ids belong into the state or the store.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Close, Failure, Message, Request, Room, host, room::Replay};

/// Names one connection while it lives, on all servers; always below 2^53 (WIT: `types.connection-id`).
pub type ConnectionId = u64;

/// One WebSocket (WIT: `connections`). One event may ask for at most 1000 effects with 4 MiB together; what goes over it
/// fails with `quota`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    id: ConnectionId,
}

impl Connection {
    /// The connection of this id, which need not be the event's own: it can be sent to, pinged and closed. What only the
    /// event's own connection can do (state, handshake, rooms) fails with `invalid` for another.
    pub fn with_id(id: ConnectionId) -> Self {
        Self { id }
    }

    /// Its id; below 2^53.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Sends a message: text from a string, binary from bytes, or a [`Message`] as it is (WIT: `connections.send`).
    /// Messages of one event arrive in the order of the calls. Fails with `quota`.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Failure> {
        Ok(host::connections::send(self.id, &message.into())?)
    }

    /// Sends a text message. Fails with `quota`.
    pub fn send_text(&self, text: impl Into<String>) -> Result<(), Failure> {
        self.send(Message::Text(text.into()))
    }

    /// Sends a binary message. Fails with `quota`.
    pub fn send_bytes(&self, bytes: impl Into<Vec<u8>>) -> Result<(), Failure> {
        self.send(Message::Binary(bytes.into()))
    }

    /// Sends a value as compact JSON in a text message. Fails with `quota`, and with `invalid` for what JSON cannot hold.
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        self.send(Message::from_json(value)?)
    }

    /// Sends a message to another connection of the same tenant. Fails with `quota`.
    pub fn send_to(&self, other: ConnectionId, message: impl Into<Message>) -> Result<(), Failure> {
        Self::with_id(other).send(message)
    }

    /// Sends a protocol ping (WIT: `connections.ping`). Fails with `too-large` for more than 125 bytes.
    pub fn ping(&self, payload: &[u8]) -> Result<(), Failure> {
        Ok(host::connections::ping(self.id, payload)?)
    }

    /// Sends a pong that nobody asked for (WIT: `control.pong`). Fails with `too-large` for more than 125 bytes.
    pub fn pong(&self, payload: &[u8]) -> Result<(), Failure> {
        crate::control::pong(self, payload)
    }

    /// Closes after all that this event sent before (WIT: `connections.close`). The first close of an event counts.
    /// Fails with `invalid` for a code that may not be sent, and leaves the connection unharmed.
    pub fn close(&self, close: Close) -> Result<(), Failure> {
        Ok(host::connections::close(self.id, &close.into_frame())?)
    }

    /// Makes the connection a member of a room (WIT: `rooms.join`); a member that joins again stays one. A name has 1 to 128
    /// bytes, and those that begin with `@` belong to the host. Fails with `invalid`, `denied` in an outbound filter, and
    /// `quota` over the rooms of one connection (100 by default).
    pub fn join(&self, room: &str) -> Result<(), Failure> {
        self.join_with(room, Replay::Nothing)
    }

    /// Like [`join`](Self::join), and sends the connection messages that the room keeps before any live one, without gap or
    /// repeat; [`RoomEvents`](crate::RoomEvents) tells how that went. A connection that is a member already gets no replay.
    /// Fails with `unsupported` too, for a replay of a room that keeps nothing.
    pub fn join_with(&self, room: &str, replay: Replay) -> Result<(), Failure> {
        Ok(host::rooms::join(self.id, room, replay)?)
    }

    /// Ends the membership; without one, nothing happens (WIT: `rooms.leave`). Fails like [`join`](Self::join), but for
    /// `quota`.
    pub fn leave(&self, room: &str) -> Result<(), Failure> {
        Ok(host::rooms::leave(self.id, room)?)
    }

    /// A room by its name, to publish to it; membership is not needed.
    pub fn room<'a>(&self, name: &'a str) -> Room<'a> {
        Room::named(name)
    }

    /// Reads a value that the plugins of this connection share, or none (WIT: `connections.get-state`). Fields that the value
    /// has and `T` lacks are ignored; mark fields that may be missing with `#[serde(default)]`. Fails with `invalid` for
    /// another connection, and for a value of another shape.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Failure> {
        let Some(bytes) = host::connections::get_state(self.id, key)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(Failure::invalid(format!("the state \"{key}\" has another shape: {error}"))),
        }
    }

    /// Writes a value that the plugins of this connection share, as JSON (WIT: `connections.set-state`). A key has 1 to 128
    /// bytes, `invalid` otherwise. Keys and values together take at most 16 KiB by default; over it fails with `too-large`.
    pub fn set_state<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), Failure> {
        match serde_json::to_vec(value) {
            Ok(bytes) => Ok(host::connections::set_state(self.id, key, Some(&bytes))?),
            Err(error) => Err(Failure::invalid(format!("the state \"{key}\" cannot be JSON: {error}"))),
        }
    }

    /// Removes a value; without one, nothing happens.
    pub fn clear_state(&self, key: &str) -> Result<(), Failure> {
        Ok(host::connections::set_state(self.id, key, None)?)
    }

    /// The request that opened the connection, readable up to and in `disconnect` (WIT: `connections.handshake`). Fails with
    /// `invalid` for another connection.
    pub fn handshake(&self) -> Result<Request, Failure> {
        Ok(host::connections::handshake(self.id)?.into())
    }
}
