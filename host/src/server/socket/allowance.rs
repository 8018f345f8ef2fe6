//! What one peer may send: messages and bytes a second, control frames a second, fragments of one message.
//!
//! Asked by `server/socket` of all that it reads; whoever sends more is closed with 1008. The rates of a tenant, under which
//! its connections wait and lose nothing, are in `socket/throttle`.
//! Invariant: a peer within its limits is never closed for what others send, or for how the network bunches its bytes within
//! a second.

use crate::clock::{Clock, Moment};
use crate::limits::Limits;
use crate::message::{CloseFrame, close};
use crate::metrics::Failure;
use crate::server::deadlines::{Signs, Times};
use crate::tenants::rates::Flow;

/// The allowance of one connection.
pub(super) struct Allowance {
    messages: Flow,
    controls: Flow,
    fragments: usize,
    /// For a message to come, and for bytes to go.
    times: Times,
}

/// What a peer sent too much of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// Messages, or bytes of them.
    Messages,
    /// Pings and pongs.
    Controls,
    /// Fragments of one message.
    Fragments,
}

impl Excess {
    /// How the connection is closed.
    pub fn frame(self) -> CloseFrame {
        match self {
            Self::Messages => close::RATE,
            Self::Controls => close::CONTROLS,
            Self::Fragments => close::FRAGMENTS,
        }
    }

    /// As what it is counted.
    pub fn failure(self) -> Failure {
        match self {
            Self::Messages => Failure::Rate,
            Self::Controls => Failure::Controls,
            Self::Fragments => Failure::Fragments,
        }
    }
}

impl Allowance {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            messages: Flow::new(limits.connection_messages, limits.connection_bytes),
            controls: Flow::new(limits.control_frames, 0),
            fragments: limits.fragments,
            times: Times::new(limits),
        }
    }

    /// When to look at what has just begun, as these signs differ.
    pub(super) fn next(&self, before: Signs, now: Signs) -> Option<Moment> {
        let begun = Signs {
            stuck: now.stuck.filter(|_| before.stuck.is_none()),
            partial: now.partial.filter(|_| before.partial.is_none()),
            grown: now.grown.filter(|_| before.grown.is_none()),
            ..now
        };
        self.times.next(begun)
    }

    /// A message of this size came.
    pub(super) fn message(&self, size: usize, clock: &Clock) -> Option<Excess> {
        self.messages.take(size, clock).map(|_| Excess::Messages)
    }

    /// A ping or pong came.
    pub(super) fn control(&self, clock: &Clock) -> Option<Excess> {
        self.controls.take(0, clock).map(|_| Excess::Controls)
    }

    /// A message has so many fragments so far.
    pub(super) fn fragments(&self, count: usize) -> Option<Excess> {
        (count > self.fragments).then_some(Excess::Fragments)
    }
}
