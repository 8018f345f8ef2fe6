//! How much waits to be written to a connection, for plugins that stream.
//!
//! Send until enough is queued, then return, and go on in [`FlowEvents::drained`](crate::FlowEvents::drained).

use crate::{Connection, Failure, host};

/// Bytes in the mailbox of the event's own connection, this event's own sends included (WIT: `flow.queued`). Fails with
/// `invalid` for another connection.
pub fn queued(connection: &Connection) -> Result<u32, Failure> {
    Ok(host::flow::queued(connection.id())?)
}
