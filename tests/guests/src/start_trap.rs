//! A component that fits its world and traps as soon as it is instantiated.

#![allow(unsafe_code, reason = "only a constructor runs before the first event")]

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

/// Run by the linker's start function, before anything is called.
#[cfg(target_arch = "wasm32")]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = trap;

#[cfg(target_arch = "wasm32")]
extern "C" fn trap() {
    panic!("no start today")
}
