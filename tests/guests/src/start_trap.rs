//! A component that fits its world and traps as soon as it is instantiated.

#![allow(unsafe_code, reason = "the export that instantiation calls has a fixed name")]

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct StartTrap;

impl Handler for StartTrap {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send(message)?)
    }
}

export!(StartTrap);

/// What instantiation calls, before any event.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    panic!("no start today")
}
