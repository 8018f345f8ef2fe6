//! A service: a plugin that runs by itself, once for the server.
//!
//! It starts before the first connection is accepted. Any instance may take any call, so what must last lives in the
//! [`store`](crate::store). It has no connection of its own: it speaks through [`Room::named`](crate::Room::named) and
//! [`Connection::with_id`](crate::Connection::with_id).

use std::time::Duration;

/// A plugin that runs by itself (WIT: `service`).
pub trait Service: Default {
    /// The server starts, or this generation takes over. An error is a failed start: it is logged and tried again with
    /// growing pauses. Does nothing if not implemented.
    fn start(&self) -> Result<(), String> {
        Ok(())
    }

    /// Called at once after `start`, then again after the pause that the last call returned: whole milliseconds, at least
    /// one, at most 49 days. A panic is logged only.
    fn tick(&self) -> Duration;

    /// The server stops, or another generation takes over. Does nothing if not implemented.
    fn stop(&self) {}
}
