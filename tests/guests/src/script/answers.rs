//! Answers that show which build of a plugin gave them: what the client said, with the number of the build before it.
//!
//! Four fixtures differ in this number alone, so that a test can swap one for another and see who answered what.

use switchboard_sdk::{Close, Connection, Message};

/// Text comes back behind the number and a space, binary behind one byte.
pub fn answer<const BUILD: u8>(connection: &Connection, message: Message) -> Result<(), Close> {
    match message {
        Message::Text(text) => connection.send_text(format!("{BUILD} {text}"))?,
        Message::Binary(bytes) => connection.send_bytes([&[BUILD][..], &bytes].concat())?,
    }
    Ok(())
}
