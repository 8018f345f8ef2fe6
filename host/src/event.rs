//! Events: what a guest is told, what it answers, and what it asks for.
//!
//! Only words here; an event's effects are gathered in `transaction` and carried out by `hub/commit`.
//! Invariant: nothing in this file has an effect.

use std::sync::Arc;

use bytes::Bytes;

use crate::handshake::Handshake;
use crate::id::ConnectionId;
use crate::message::{CloseFrame, Message};
use crate::state::State;

/// Which of a component's exports an event is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// WIT `handler`.
    Handler,
    /// WIT `gate`.
    Gate,
    /// WIT `inbound`.
    Inbound,
    /// WIT `outbound`.
    Outbound,
}

/// One event, as it is told to one guest.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client asks for a connection.
    Connect(&'a Handshake),
    /// A message, with where it came from a room where it is on its way out.
    Message(&'a Message, Option<&'a Origin>),
    /// The connection is gone.
    Disconnect(&'a CloseFrame),
}

impl Event<'_> {
    /// Its name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "on-connect",
            Self::Message(..) => "on-message",
            Self::Disconnect(_) => "on-disconnect",
        }
    }
}

/// A header of a response, as a guest gave it.
pub type Header = (String, String);

/// What a guest answers. Which cases can come is said by the interface that was asked.
#[derive(Debug)]
pub enum Reply {
    /// Nothing to answer, or the component has no such export.
    Done,
    /// The connection is taken, or the gate lets it pass.
    Accept {
        /// One of those offered; only a handler chooses.
        subprotocol: Option<String>,
        /// Added to the 101.
        headers: Vec<Header>,
    },
    /// An HTTP response in place of a WebSocket.
    Respond {
        /// As the guest gave it; checked before it is sent.
        status: u16,
        /// The same.
        headers: Vec<Header>,
        /// At most 64 KiB; checked before it is sent.
        body: Bytes,
    },
    /// The connection is opened and closed, or, as a filter's verdict, closed.
    Close(CloseFrame),
    /// A filter's verdict: go on with this one.
    Replace(Message),
    /// A filter's verdict: go no further.
    Drop,
}

/// Something that a guest asked for.
#[derive(Debug)]
pub enum Effect {
    /// A message to one connection.
    Send {
        /// Any connection of the tenant.
        to: ConnectionId,
        /// What it is sent.
        message: Message,
        /// How many links of the chain, from the outermost, a message to the event's own connection passes.
        reach: usize,
    },
    /// The end of a connection.
    Close(ConnectionId, CloseFrame),
    /// A protocol ping.
    Ping(ConnectionId, Bytes),
    /// The event's connection becomes a member.
    Join {
        /// The room's name.
        room: Arc<str>,
        /// What it is sent of the kept messages.
        replay: Replay,
        /// Which link of the chain asked, so that it can be told how it went.
        position: usize,
    },
    /// Its membership ends.
    Leave(Arc<str>),
    /// A message to all members but some.
    Publish {
        /// The room's name.
        room: Arc<str>,
        /// What the members are sent.
        message: Message,
        /// Who is left out.
        exclude: Box<[ConnectionId]>,
    },
}

/// A place in a room's kept messages (WIT `types.place`). Both numbers stay below 2^53.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which life of the room's memory.
    pub epoch: u64,
    /// Counts up by one with each message of the room, from 1.
    pub offset: u64,
}

/// Where a message came from a room (WIT `outbound.origin`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The room's name.
    pub room: Arc<str>,
    /// None where the room keeps nothing.
    pub place: Option<Place>,
}

/// What a joining connection is sent of the kept messages (WIT `rooms.replay`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// Live messages only.
    Nothing,
    /// At most this many of the newest.
    Newest(usize),
    /// All after this place.
    Since(Place),
}

/// A join with a replay that was carried out (WIT `room-events.on-joined`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// Which link of the chain asked for it.
    pub position: usize,
    /// The room's name.
    pub room: Arc<str>,
    /// The place that the replay reaches.
    pub newest: Place,
    /// Whether all after the asked place was still kept.
    pub complete: bool,
}

/// Why a guest did not get what it asked for (WIT `types.failure`).
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the documented words.
    pub kind: &'static str,
    /// For the author of the plugin.
    pub message: String,
}

impl Failure {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A bad argument.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid", message)
    }

    /// Not granted, or not allowed where it was asked.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new("denied", message)
    }

    /// This host does not have the ability.
    pub fn unsupported(what: &str) -> Self {
        Self::new("unsupported", format!("{what} is not supported by this version of the host"))
    }

    /// This host is not configured for it.
    pub fn without(message: impl Into<String>) -> Self {
        Self::new("unsupported", message)
    }

    /// Over a count or rate limit.
    pub fn quota(message: impl Into<String>) -> Self {
        Self::new("quota", message)
    }

    /// Over a size limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new("too-large", message)
    }
}

/// What the host keeps of a connection between its events, and lends to each.
#[derive(Default, Debug)]
pub struct Kept {
    /// The request that opened it.
    pub handshake: Arc<Handshake>,
    /// What guests stored.
    pub state: State,
    /// The rooms that it joined, implicit ones apart.
    pub rooms: Vec<Arc<str>>,
    /// Set once the connection has ended or was refused: it can join nothing any more.
    pub gone: bool,
}

/// Which guest asks, and so what it may ask for.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Which export runs.
    pub interface: Interface,
    /// Its place in the chain, the outermost being 0; what it sends passes only the filters further out.
    pub position: usize,
}
