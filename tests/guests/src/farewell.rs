//! Takes a connection only to say that it closes, and closes it.

use switchboard_sdk::{Accept, Close, Connection, Handler, Message, Refusal, Request, export};

#[derive(Default)]
struct Farewell;

impl Handler for Farewell {
    type State = ();

    fn connect(&self, connection: &Connection, _: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        connection.send_text("Closing connection with custom code")?;
        connection.close(Close::going_away("Service shutting down"))?;
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, _: Message, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send_text("a message after the close")?)
    }
}

export!(Farewell);
