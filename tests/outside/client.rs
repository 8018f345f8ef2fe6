//! A plain WebSocket client in Rust, for the tests that are about something else than clients.
//!
//! Blocking, one call after the other; whoever waits too long fails.

use std::net::{SocketAddr, TcpStream};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::program::PATIENCE;

pub struct Client {
    socket: WebSocket<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr, target: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("any time can be set");
        let url = format!("ws://{address}{target}");
        let (socket, _) = tungstenite::client(url, stream).unwrap_or_else(|error| panic!("no connection: {error}"));
        Self { socket }
    }

    /// Says something and returns what comes next.
    pub fn ask(&mut self, text: &str) -> String {
        self.socket.send(Message::text(text)).expect("the connection is open");
        match self.socket.read() {
            Ok(Message::Text(answer)) => answer.to_string(),
            other => panic!("no answer to `{text}`, but {other:?}"),
        }
    }

    /// The same, but none where the connection is lost.
    pub fn try_ask(&mut self, text: &str) -> Option<String> {
        self.socket.send(Message::text(text)).ok()?;
        match self.socket.read().ok()? {
            Message::Text(answer) => Some(answer.to_string()),
            _ => None,
        }
    }

    /// Waits until the server closes, and returns with which code.
    pub fn closed(mut self) -> CloseCode {
        match self.socket.read() {
            Ok(Message::Close(Some(frame))) => frame.code,
            other => panic!("no close with a code came, but {other:?}"),
        }
    }
}
