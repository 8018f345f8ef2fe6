//! A handler without the SDK, for what the SDK does not let a plugin ask: close frames that may not be sent.
//!
//! A message `CODE LENGTH` asks for a close with a reason of that length; where the host refuses, its failure's kind is
//! said to the client. With `?close=CODE` the handshake is answered with a close of this code.

mod bindings {
    #![allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used)]

    wit_bindgen::generate!({ path: "../../wit", world: "handler-plugin" });

    pub use exports::switchboard::ws::handler::Guest;
    pub use switchboard::ws::{connections, types};

    export!(BadFrames);

    pub struct BadFrames;
}

use bindings::{BadFrames, Guest, connections, types};

impl Guest for BadFrames {
    fn on_connect(_: u64, request: types::Request) -> types::Answer {
        match request.query.strip_prefix("close=") {
            Some(code) => types::Answer::Close(frame(code, 0)),
            None => types::Answer::Accept(types::Accept { subprotocol: None, headers: Vec::new() }),
        }
    }

    fn on_message(connection: u64, message: types::Message) {
        let types::Message::Text(text) = message else { panic!("a text was expected") };
        let (code, length) = text.split_once(' ').expect("CODE LENGTH");
        let length = length.parse().expect("a length");
        if let Err(failure) = connections::close(connection, &frame(code, length)) {
            connections::send(connection, &types::Message::Text(failure.kind)).expect("one text fits");
        }
    }

    fn on_disconnect(_: u64, _: types::CloseFrame) {}
}

fn frame(code: &str, length: usize) -> types::CloseFrame {
    types::CloseFrame { code: code.parse().expect("a code"), reason: "x".repeat(length) }
}
