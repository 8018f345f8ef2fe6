//! Random numbers, in three ways: a message `secure`, `number` or `map` asks for some and tells that they came.
//!
//! `secure` and `number` are calls of `wasi:random/random`; `map` is what the standard library asks for to seed its maps. With
//! `secure N` it is N bytes.

mod bindings {
    #![allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used)]

    wit_bindgen::generate!({
        inline: "
            package wasi:random@0.2.0;
            interface random {
                get-random-bytes: func(len: u64) -> list<u8>;
                get-random-u64: func() -> u64;
            }
            world dice { import random; }
        ",
    });

    pub use wasi::random::random;
}

use std::hash::{BuildHasher, RandomState};

use bindings::random;
use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Dice;

impl Handler for Dice {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        let told = match message.text()? {
            "map" => format!("map {}", RandomState::new().hash_one(())),
            "number" => format!("number {}", random::get_random_u64()),
            secure => {
                let length = secure.strip_prefix("secure ").and_then(|length| length.parse().ok());
                let bytes = random::get_random_bytes(length.expect("`secure` and how many"));
                format!("secure {}: {:?}", bytes.len(), &bytes[..8])
            }
        };
        Ok(connection.send_text(told)?)
    }
}

export!(Dice);
