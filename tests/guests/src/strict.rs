//! A handler that takes one kind of message, told by `?expects=`: `text` and `bytes` come back, `json` is wrapped.
//!
//! What is of another kind ends with `?`, as in any plugin.

use serde::Serialize;
use serde_json::Value;
use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Strict;

/// Fields in the order in which they are sent.
#[derive(Serialize)]
struct Answer {
    status: &'static str,
    data: Value,
}

impl Handler for Strict {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        match connection.handshake()?.query("expects") {
            Some("bytes") => connection.send_bytes(message.bytes()?)?,
            Some("json") => connection.send_json(&Answer { status: "success", data: message.json()? })?,
            _ => connection.send_text(message.text()?)?,
        }
        Ok(())
    }
}

export!(Strict);
