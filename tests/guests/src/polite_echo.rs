//! Says text again after `Echo: `, and sends bytes back as they are.
//!
//! The handler of the simplest scenarios.

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct PoliteEcho;

impl Handler for PoliteEcho {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        match message {
            Message::Text(text) => Ok(connection.send_text(format!("Echo: {text}"))?),
            bytes => Ok(connection.send(bytes)?),
        }
    }
}

export!(PoliteEcho);
