//! A handler that takes one kind of message, told by `?expects=`: `text` and `bytes` come back, `json` is wrapped.
//!
//! What is of another kind ends with `?`, as in any plugin.

use serde_json::{Value, json};
use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Strict;

impl Handler for Strict {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        Ok(match connection.handshake()?.query("expects") {
            Some("bytes") => connection.send_bytes(message.bytes()?)?,
            Some("json") => {
                let data: Value = message.json()?;
                connection.send_json(&json!({"status": "success", "data": data}))?
            }
            _ => connection.send_text(message.text()?)?,
        })
    }
}

export!(Strict);
