//! Echoes, and answers `?` with its stamp, which says which build it is: what `bench reload` swaps.
//!
//! The generator writes another stamp over the one in the component, which makes of it what a build from a source with
//! that constant would be, in no time.
//! Invariant: the stamp is in the component once, as it stands here.
use switchboard_sdk::{Close, Connection, Handler, Message, export};

/// Kept out of the compiler's sight, which might keep pieces of it in the code.
static STAMP: &str = "stamp 00000000";

#[derive(Default)]
struct Stamped;

impl Handler for Stamped {
    type State = ();
    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        if message == "?" {
            return Ok(connection.send(*std::hint::black_box(&STAMP))?);
        }
        Ok(connection.send(message)?)
    }
}
export!(Stamped);
