//! Build 2 of a plugin that counts its messages in the store, under `told`, and answers with its build; it traps
//! after that on `666` and each number that ten divides.

use switchboard_sdk::{Close, Connection, Handler, Message, export, store};

#[derive(Default)]
struct Moody;

impl Handler for Moody {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        let told = store::increment("told", 1, None)?;
        let number = message.text()?.parse::<u64>();
        assert!(number.is_ok_and(|number| number % 10 != 0 && number != 666), "message {told} is not to my taste");
        connection.send_text(format!("2 {} {told}", message.text()?))?;
        Ok(())
    }
}

export!(Moody);
