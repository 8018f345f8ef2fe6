//! A plugin that counts its messages in the store, under `told`, and answers `BUILD TEXT COUNT`.
//!
//! Two fixtures differ in their number and in what they trap on, after they have counted it, so that an answer shows who gave it
//! and whether an attempt that was thrown away left anything.

use switchboard_sdk::{Close, Connection, Message, store};

/// Counts the message, traps if this build does not like it, and answers.
pub fn tell<const BUILD: u8>(connection: &Connection, message: &Message, likes: fn(&str) -> bool) -> Result<(), Close> {
    let told = store::increment("told", 1, None)?;
    let text = message.text()?;
    assert!(likes(text), "message {told} is not to my taste");
    Ok(connection.send_text(format!("{BUILD} {text} {told}"))?)
}
