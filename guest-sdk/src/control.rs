//! Protocol pongs by hand.
//!
//! The host answers the client's pings by itself; to see them, and pongs, implement
//! [`ControlEvents`](crate::ControlEvents). Pings are sent with [`Connection::ping`](crate::Connection::ping).

use crate::{Connection, Failure, host};

/// Sends a pong that nobody asked for (WIT: `control.pong`; RFC 6455, section 5.5.3). Fails with `too-large` for more than
/// 125 bytes.
pub fn pong(connection: &Connection, payload: &[u8]) -> Result<(), Failure> {
    Ok(host::control::pong(connection.id(), payload)?)
}
