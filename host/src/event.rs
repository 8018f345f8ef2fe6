//! Events: what a guest is told, what it answers, and what it asks for.
//!
//! Only words here; an event's effects are gathered in `transaction` and carried out by `hub/commit`.
//! Invariant: nothing in this file has an effect.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Moment;
use crate::handshake::Handshake;
use crate::id::{ConnectionId, TenantId};
use crate::message::{CloseFrame, Control, Message};
use crate::state::State;
use crate::store::Refusal;
use crate::store::draft::Draft;
use crate::timers::{TimerKey, Timers};

/// Which of a component's exports an event is for; each is the WIT interface of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// A route's handler.
    Handler,
    /// Middleware on the life of a connection.
    Gate,
    /// Middleware on messages from the client.
    Inbound,
    /// Middleware on messages to the client.
    Outbound,
    /// A timer that the plugin set is due.
    TimerEvents,
    /// Little is left in the mailbox.
    FlowEvents,
    /// The client's pings and pongs.
    ControlEvents,
    /// How a join with a replay went.
    RoomEvents,
    /// A plugin further in faulted.
    FaultEvents,
    /// A plugin that runs by itself.
    Service,
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Handler,
        Self::Gate,
        Self::Inbound,
        Self::Outbound,
        Self::TimerEvents,
        Self::FlowEvents,
        Self::ControlEvents,
        Self::RoomEvents,
        Self::FaultEvents,
        Self::Service,
    ];

    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Gate => "gate",
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::TimerEvents => "timer-events",
            Self::FlowEvents => "flow-events",
            Self::ControlEvents => "control-events",
            Self::RoomEvents => "room-events",
            Self::FaultEvents => "fault-events",
            Self::Service => "service",
        }
    }
}

/// Whose event it is, and how it stands with the connection as the event begins.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The connection.
    pub connection: ConnectionId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Bytes in its mailbox.
    pub queued: usize,
}

/// One event, as it is told to one guest.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A client asks for a connection.
    Connect(&'a Handshake),
    /// A message, with where it came from a room where it is on its way out.
    Message(&'a Message, Option<&'a Origin>),
    /// The connection is gone.
    Disconnect(&'a CloseFrame),
    /// Something else happened around the connection.
    Notice(&'a Notice),
    /// A plugin further in faulted: its name, and why.
    Fault(&'a str, &'static str),
    /// What a service is told.
    Service(Call),
}

/// What happens to a connection beside its messages; told to the plugins that export the interface for it.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A timer with this token is due.
    Timer(u32),
    /// Little is left in the mailbox, after an event had left it more than half full.
    Drained,
    /// The client sent a ping, which is answered already, or a pong.
    Control(Control),
    /// A join with a replay was carried out.
    Joined(Joined),
}

/// How a join with a replay went (WIT `room-events.on-joined`).
#[derive(Clone, Debug)]
pub struct Joined {
    /// The room's name.
    pub room: Arc<str>,
    /// The place that the replay reaches.
    pub newest: Place,
    /// Whether all after the asked place was still kept.
    pub complete: bool,
}

/// A place in a room's kept messages (WIT `types.place`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which life of the room's memory.
    pub epoch: u64,
    /// Counts up by one with each message of the room, from 1.
    pub offset: u64,
}

/// What a service is told (WIT `service`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// It begins.
    Start,
    /// It is its turn.
    Tick,
    /// It ends.
    Stop,
}

impl Notice {
    /// The interface that it is told through.
    pub fn interface(&self) -> Interface {
        match self {
            Self::Timer(_) => Interface::TimerEvents,
            Self::Drained => Interface::FlowEvents,
            Self::Control(_) => Interface::ControlEvents,
            Self::Joined(_) => Interface::RoomEvents,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Timer(_) => "on-timer",
            Self::Drained => "on-drained",
            Self::Control(Control::Ping(_)) => "on-ping",
            Self::Control(Control::Pong(_)) => "on-pong",
            Self::Joined(_) => "on-joined",
        }
    }
}

impl Event<'_> {
    /// Whether it is the last one that a connection or a service is told. Nobody notices what comes of it, so a build that
    /// handled nothing else has not shown that it works.
    pub fn is_farewell(&self) -> bool {
        matches!(self, Self::Disconnect(_) | Self::Service(Call::Stop))
    }

    /// Its name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "on-connect",
            Self::Message(..) => "on-message",
            Self::Disconnect(_) => "on-disconnect",
            Self::Notice(notice) => notice.name(),
            Self::Fault(..) => "on-fault",
            Self::Service(Call::Start) => "start",
            Self::Service(Call::Tick) => "tick",
            Self::Service(Call::Stop) => "stop",
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
    /// A service wants to be called again after so many milliseconds.
    Again(u32),
    /// A service could not start.
    Failed(String),
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
    /// A ping, or a pong that nobody asked for.
    Control(ConnectionId, Control),
    /// A timer of the event's connection is set, or moved.
    SetTimer(TimerKey, Moment),
    /// A timer of the event's connection is taken back.
    CancelTimer(TimerKey),
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
    /// What it asked of the store; the first of its effects.
    Store(Box<Draft>),
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

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::ValueTooLarge { .. } => "too-large",
            Refusal::Keys(_) | Refusal::Bytes(_) | Refusal::Event(..) => "quota",
            Refusal::NoCounter | Refusal::OutOfRange => "invalid",
            Refusal::Failed => "unsupported",
        };
        Self::new(kind, refusal.to_string())
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
    /// What it is to be woken for.
    pub timers: Timers,
    /// Set once the connection has ended or was refused: it can join nothing any more.
    pub gone: bool,
}

impl Kept {
    /// All of it, for an event. The handshake stays here too, so that nothing is made anew for the time of the event.
    pub fn lend(&mut self) -> Self {
        let (state, rooms, timers, gone) = Default::default();
        std::mem::replace(self, Self { handshake: self.handshake.clone(), state, rooms, timers, gone })
    }
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
