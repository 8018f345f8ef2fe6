//! Timers of a connection: they wake the plugin through [`TimerEvents`](crate::TimerEvents).
//!
//! A timer ends with its connection and outlives a reload. A plugin tells its timers apart by their tokens.

use std::time::Duration;

use crate::{Connection, Failure, events::whole_millis, host};

/// Sets the timer named by the token, in whole milliseconds from now (at most 49 days); setting it again moves it (WIT:
/// `timers.set`). Takes the event's own connection, `invalid` otherwise. Fails with `quota` over the timers of one
/// connection.
pub fn set(connection: &Connection, token: u32, after: Duration) -> Result<(), Failure> {
    Ok(host::timers::set(connection.id(), token, whole_millis(after))?)
}

/// Takes the timer back; without one, nothing happens (WIT: `timers.cancel`). Fails with `invalid` for another connection.
pub fn cancel(connection: &Connection, token: u32) -> Result<(), Failure> {
    Ok(host::timers::cancel(connection.id(), token)?)
}
