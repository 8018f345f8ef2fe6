//! Speaks first, echoes, and lets the client end it with `quit`.

use switchboard_sdk::{Accept, Close, Connection, Handler, Message, Refusal, Request, export};

#[derive(Default)]
struct Greeter;

impl Handler for Greeter {
    type State = ();

    fn connect(&self, connection: &Connection, _: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        connection.send_text("Connected!")?;
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        match message.text()? {
            "quit" => Err(Close::normal("User requested disconnect")),
            text => Ok(connection.send_text(format!("Echo: {text}"))?),
        }
    }
}

export!(Greeter);
