//! A handler that cannot say which version of the state it writes.
//!
//! It traps or never ends, as `version` of its configuration says. The export is made by hand, since for the SDK a version is
//! a constant.

use switchboard_sdk::{Close, Connection, Handler, Message, config, export};

mod bindings {
    #![allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used)]

    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package some:thing; world migrates { export switchboard:ws/migration@0.1.0; }",
    });

    pub use exports::switchboard::ws::migration::Guest;

    export!(BadVersion);

    pub struct BadVersion;
}

#[derive(Default)]
struct Handles;

impl Handler for Handles {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send(message)?)
    }
}

export!(Handles);

impl bindings::Guest for bindings::BadVersion {
    fn state_version() -> u32 {
        match config::get("version").as_deref() {
            Some("endless") => loop {
                std::hint::spin_loop();
            },
            _ => panic!("no version today"),
        }
    }

    fn migrate(_: u32, _: String, value: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(value)
    }
}
