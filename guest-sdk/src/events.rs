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
///
/// Needed only where the defaults of [`State`] are not enough: where a field has another meaning, name or type. Each change
/// of that kind is a higher `VERSION`. A plugin that has this once keeps it, since a build without it reads version 0.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use switchboard_sdk::{Close, Connection, Handler, Message, Migration, STATE_KEY, export};
///
/// #[derive(Default)]
/// struct Greeter;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Profile {
///     first_name: String,
///     last_name: String,
/// }
///
/// impl Handler for Greeter {
///     type State = Profile;
///
///     fn message(&self, connection: &Connection, _: Message, profile: &mut Profile) -> Result<(), Close> {
///         Ok(connection.send(format!("Hello {}", profile.first_name))?)
///     }
/// }
///
/// impl Migration for Greeter {
///     const VERSION: u32 = 1;
///
///     fn migrate(&self, from_version: u32, key: &str, value: Vec<u8>) -> Result<Vec<u8>, String> {
///         #[derive(Deserialize)]
///         struct Before {
///             name: String,
///         }
///         if (from_version, key) != (0, STATE_KEY) {
///             return Err(format!("version {from_version} of {key} is unknown here"));
///         }
///         let before: Before = serde_json::from_slice(&value).map_err(|error| error.to_string())?;
///         let (first_name, last_name) = before.name.split_once(' ').unwrap_or((&before.name, ""));
///         let after = Profile { first_name: first_name.into(), last_name: last_name.into() };
///         serde_json::to_vec(&after).map_err(|error| error.to_string())
///     }
/// }
///
/// export!(Greeter: handler, migration);
///
/// let after = Greeter.migrate(0, STATE_KEY, br#"{"name": "Ann Lee"}"#.to_vec());
/// assert_eq!(after, Ok(br#"{"first_name":"Ann","last_name":"Lee"}"#.to_vec()));
/// ```
///
/// The host keeps what was before until the roll-out of this version is promoted, so that a build which is gone back to
/// finds it again; what was stored since is lost then.
pub trait Migration: Default {
    /// The version of the state that this build writes. A plugin without this trait writes version 0.
    const VERSION: u32;

    /// Given the bytes of a value that this plugin wrote last under another version, returns those of this version. Called
    /// once for each connection and key, before the first event that this version is told and as part of it. An error, or a
    /// panic, means: it does not fit.
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
