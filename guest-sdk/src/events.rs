//! Further events that a plugin may ask for, each a trait of its own and an interface of its own in the contract.
//!
//! The host looks at which of them a component exports, and calls only those; a plugin names them in
//! [`export!`](crate::export!) beside its main kind. Those with a `State` see the state of the connection's handler: give
//! the handler's own type there, or `()` from a gate. Their errors close the connection as those of `Handler::message` do.

use std::time::Duration;

use crate::{Close, Connection, State, room::Place, state};

/// Wakes for the timers that [`timer::set`](crate::timer::set) set (WIT: `timer-events`).
pub trait TimerEvents: Default {
    /// The handler's state, or `()`.
    type State: State;

    /// The timer named by the token is due; it is gone unless it is set again.
    fn timer(&self, connection: &Connection, token: u32, state: &mut Self::State) -> Result<(), Close>;
}

/// For plugins that stream (WIT: `flow-events`); see [`flow::queued`](crate::flow::queued).
pub trait FlowEvents: Default {
    /// The handler's state, or `()`.
    type State: State;

    /// Little is left in the mailbox, after an event left it more than half full: send more now.
    fn drained(&self, connection: &Connection, state: &mut Self::State) -> Result<(), Close>;
}

/// The client's pings and pongs (WIT: `control-events`).
pub trait ControlEvents: Default {
    /// The handler's state, or `()`.
    type State: State;

    /// The client sent a ping; the host has answered it. Does nothing if not implemented.
    fn ping(&self, connection: &Connection, payload: &[u8], state: &mut Self::State) -> Result<(), Close> {
        let _ = (connection, payload, state);
        Ok(())
    }

    /// The client sent a pong, asked for or not. Does nothing if not implemented.
    fn pong(&self, connection: &Connection, payload: &[u8], state: &mut Self::State) -> Result<(), Close> {
        let _ = (connection, payload, state);
        Ok(())
    }
}

/// How a join with a replay went (WIT: `room-events`), told to the plugin that joined, right after the event in which it did.
pub trait RoomEvents: Default {
    /// The handler's state, or `()`.
    type State: State;

    /// The connection joined, and what was kept is on its way to it. What is sent here comes behind that.
    fn joined(&self, connection: &Connection, joined: Joined<'_>, state: &mut Self::State) -> Result<(), Close>;
}

/// What [`RoomEvents::joined`] is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Joined<'a> {
    /// The room's name.
    pub room: &'a str,
    /// The place that the replay reached.
    pub newest: Place,
    /// Whether all after the asked place was still kept.
    pub complete: bool,
}

/// Decides, from a gate, how a connection ends when a plugin further in faults (WIT: `fault-events`).
pub trait FaultEvents: Default {
    /// `plugin` is the name of the one that faulted; `kind` is `trap`, `deadline`, `memory` or `quota`. None leaves 1011.
    fn fault(&self, connection: &Connection, plugin: &str, kind: &str) -> Option<Close>;
}

/// Carries state that another version of this plugin wrote over to this one (WIT: `migration`).
pub trait Migration: Default {
    /// The version of the state that this build writes. A plugin without this trait writes version 0.
    const VERSION: u32;

    /// Given the bytes of a value that this plugin wrote last under another version, returns those of this version. Called
    /// once for each connection and key, as part of the event that needs them. An error means: it does not fit.
    fn migrate(&self, from_version: u32, key: &str, value: Vec<u8>) -> Result<Vec<u8>, String>;
}

/// Runs one of these events with its state, and carries out the close that it may end with.
pub(crate) fn run<S: State>(connection: &Connection, event: impl FnOnce(&mut S) -> Result<(), Close>) {
    if let Err(close) = state::with(connection, event) {
        close.carry_out(connection);
    }
}

/// Whole milliseconds of a pause, at least one and at most what the contract can say.
pub(crate) fn whole_millis(pause: Duration) -> u32 {
    u32::try_from(pause.as_millis()).unwrap_or(u32::MAX).max(1)
}
