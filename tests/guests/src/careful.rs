//! A handler that knows errors: it answers those that it expects, and returns the others.
//!
//! JSON with the type `ping` is answered with `pong`, and what is no JSON with an error, as the text `error` is. `fail` returns an
//! error of its own, which `on_error` maps where the configuration has a `reason` for it.

use std::fmt;

use serde_json::{Value, json};
use switchboard_sdk::{Close, Connection, Handler, Message, config, export};

#[derive(Default)]
struct Careful;

#[derive(Debug)]
struct OutOfStock;

impl Handler for Careful {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        match message.text()? {
            "error" => return Ok(connection.send_text("Error: Simulated error")?),
            "fail" => return Err(OutOfStock.into()),
            _ => {}
        }
        match message.json::<Value>() {
            Ok(value) if value["type"] == "ping" => connection.send_json(&json!({"type": "pong"}))?,
            Ok(value) => connection.send_json(&value)?,
            Err(_) => connection.send_json(&json!({"error": "Invalid JSON"}))?,
        }
        Ok(())
    }

    fn on_error(&self, close: Close) -> Close {
        let expected = close.cause().is_some_and(|cause| cause.is::<OutOfStock>());
        match config::get("reason").filter(|_| expected) {
            Some(reason) => Close::new(4001, reason),
            None => close,
        }
    }
}

impl fmt::Display for OutOfStock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("out of stock: 3 of 4 in the warehouse")
    }
}

impl std::error::Error for OutOfStock {}

export!(Careful);
