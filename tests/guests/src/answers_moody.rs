//! Build 5 of the plugin that is swapped under load, which traps on about one in ten events; see `script::answers`.

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Answers;

impl Handler for Answers {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        let length = message.len();
        script::answers::answer::<5>(connection, message)?;
        // After it has answered, so that an attempt that is thrown away would show as a second answer.
        assert_ne!(length % 10, 7, "not this one");
        Ok(())
    }
}

export!(Answers);
