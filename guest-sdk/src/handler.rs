//! A route's handler: the plugin that a connection is for.
//!
//! The host calls it with the events of one connection one at a time and in order: connect, messages, disconnect. Here is
//! the trait that a plugin implements, and how an event is run: state in, the plugin's method, state out, and a returned
//! `Close` carried out. The WIT side is in `export`, the native side in `testing`; both run events through here.

use crate::{Accept, Close, Connection, Message, Refusal, Request, State, state};

/// A route's handler (WIT: `handler`).
///
/// Each event is a transaction: when the method returns, all that it asked for takes effect, also where it returns an error;
/// when it panics, nothing does. Between events a plugin keeps nothing that matters: its value is made by `Default` once for
/// each instance, and any instance may take any event. So `default` is where to read the configuration.
pub trait Handler: Default {
    /// What a connection remembers from event to event; `()` for nothing, which costs nothing. See [`State`].
    type State: State;

    /// A client asks for a connection, and all gates have let it pass. Accepts if not implemented. A panic answers 500.
    fn connect(&self, connection: &Connection, request: &Request, state: &mut Self::State) -> Result<Accept, Refusal> {
        let _ = (connection, request, state);
        Ok(Accept::new())
    }

    /// A whole message came. An error closes the connection with its code and reason; a panic closes it with 1011.
    fn message(&self, connection: &Connection, message: Message, state: &mut Self::State) -> Result<(), Close>;

    /// The connection is gone, and has left its rooms; what is sent to it falls away. Comes exactly once for each accepted
    /// connect. `close` is what ended it: the client's frame, 1005 where that had no code, 1006 where the connection was
    /// lost, or what this server sent. An error is logged only.
    fn disconnect(&self, connection: &Connection, close: &Close, state: &mut Self::State) -> Result<(), Close> {
        let _ = (connection, close, state);
        Ok(())
    }

    /// Maps the error of an event to the close that the client sees. [`Close::cause`] tells what it was made from.
    fn on_error(&self, close: Close) -> Close {
        close
    }
}

pub(crate) fn connect<H: Handler>(handler: &H, connection: &Connection, request: &Request) -> Result<Accept, Refusal> {
    let answer = state::begin(connection, |state| handler.connect(connection, request, state));
    answer.inspect_err(Refusal::log)
}

pub(crate) fn message<H: Handler>(handler: &H, connection: &Connection, message: Message) {
    let outcome = state::with(connection, |state| handler.message(connection, message, state));
    if let Err(close) = outcome {
        handler.on_error(close).carry_out(connection);
    }
}

pub(crate) fn disconnect<H: Handler>(handler: &H, connection: &Connection, close: &Close) {
    let outcome = state::with(connection, |state| handler.disconnect(connection, close, state));
    if let Err(error) = outcome {
        error.log("disconnect");
    }
}
