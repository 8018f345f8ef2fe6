//! Chooses the subprotocol that it is configured to choose (`choose`), offered or not, and adds a header of its own.

use switchboard_sdk::{Accept, Close, Connection, Handler, Message, Refusal, Request, config, export};

#[derive(Default)]
struct Subprotocol;

impl Handler for Subprotocol {
    type State = ();

    fn connect(&self, _: &Connection, _: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        let accept = Accept::new().header("X-Server", "Switchboard");
        Ok(match config::get("choose") {
            Some(choice) => accept.subprotocol(choice),
            None => accept,
        })
    }

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send(message)?)
    }
}

export!(Subprotocol);
