//! Build 1 of a plugin that counts its messages in the store, under `told`, and answers with its build. Traps on `666`.

use switchboard_sdk::{Close, Connection, Handler, Message, export, store};

#[derive(Default)]
struct Moody;

impl Handler for Moody {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        let told = store::increment("told", 1, None)?;
        assert_ne!(message, "666", "message {told} is not to my taste");

        connection.send_text(format!("1 {} {told}", message.text()?))?;
        Ok(())
    }
}

export!(Moody);
