//! A build that starts well and traps in its first event, whichever that is; a message after it added to a counter.

use switchboard_sdk::{Accept, Close, Connection, Handler, Message, Refusal, Request, export, store};

#[derive(Default)]
struct NewbornTrap;

impl Handler for NewbornTrap {
    type State = ();

    fn connect(&self, _: &Connection, _: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        panic!("the first event is too much")
    }

    fn message(&self, _: &Connection, _: Message, _: &mut ()) -> Result<(), Close> {
        store::increment("seats", 1000, None)?;
        panic!("the first event is too much")
    }
}

export!(NewbornTrap);
