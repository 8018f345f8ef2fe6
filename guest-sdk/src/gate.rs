//! A gate: middleware on the life of connections, from the handshake to the end.
//!
//! Gates run from the outermost inwards on connect and the other way on disconnect. They cost nothing per message. A gate
//! has no typed state of its own; what it learns, such as who the user is, it leaves in named state for those further in.

use crate::{Close, Connection, Pass, Refusal, Request};

/// Middleware around the life of a connection (WIT: `gate`).
///
/// Its connect and those of the other gates and the handler are one transaction: where one of them refuses or faults,
/// nothing of it happened but what the gates' `disconnect` asks for.
pub trait Gate: Default {
    /// A client asks for a connection. Lets it pass if not implemented. After a refusal nothing further in is asked. A panic
    /// answers 500.
    fn connect(&self, connection: &Connection, request: &Request) -> Result<Pass, Refusal> {
        let _ = (connection, request);
        Ok(Pass::new())
    }

    /// The connection is gone, or was refused further in (with the refusal's frame, or 1006 "refused" for an HTTP response).
    /// Comes exactly once for each connection that this gate let pass. An error is logged only.
    fn disconnect(&self, connection: &Connection, close: &Close) -> Result<(), Close> {
        let _ = (connection, close);
        Ok(())
    }
}

pub(crate) fn connect<G: Gate>(gate: &G, connection: &Connection, request: &Request) -> Result<Pass, Refusal> {
    gate.connect(connection, request).inspect_err(Refusal::log)
}

pub(crate) fn disconnect<G: Gate>(gate: &G, connection: &Connection, close: &Close) {
    if let Err(error) = gate.disconnect(connection, close) {
        error.log("disconnect");
    }
}
