//! Build 1 of the plugin of `script::moody`. Traps on `666`.

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Moody;

impl Handler for Moody {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        script::moody::tell::<1>(connection, &message, |text| text != "666")
    }
}

export!(Moody);
