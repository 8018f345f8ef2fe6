//! Build 2 of the plugin of `script::moody`. Traps on `666` and on each number that ten divides.

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Moody;

impl Handler for Moody {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        script::moody::tell::<2>(connection, &message, |text| {
            text.parse::<u64>().is_ok_and(|number| number % 10 != 0 && number != 666)
        })
    }
}

export!(Moody);
