//! Build 1 of the plugin that is swapped under load; see `script::answers`.

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Answers;

impl Handler for Answers {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        script::answers::answer::<1>(connection, message)
    }
}

export!(Answers);
