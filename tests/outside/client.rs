//! A plain WebSocket client in Rust, for the tests that are about something else than clients.
//!
//! Blocking, one call after the other; whoever waits too long fails.

use std::net::{SocketAddr, TcpStream};

use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::program::PATIENCE;

/// Room for what a client reads, so that thousands fit into a test.
const READ_BUFFER: usize = 4096;

pub struct Client {
    socket: WebSocket<TcpStream>,
}

/// What a client got.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Text(String),
    /// So many of them.
    Bytes(usize),
    Close(CloseCode),
    /// The connection is lost, or something came that nobody expects.
    Else(String),
}

impl Client {
    pub fn connect(address: SocketAddr, target: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("any time can be set");
        let url = format!("ws://{address}{target}");
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let connected = tungstenite::client::client_with_config(url, stream, Some(config));
        let (socket, _) = connected.unwrap_or_else(|error| panic!("no connection: {error}"));
        Self { socket }
    }

    /// The same, but none where nobody accepts.
    pub fn try_connect(address: SocketAddr, target: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("any time can be set");
        let (socket, _) = tungstenite::client(format!("ws://{address}{target}"), stream).ok()?;
        Some(Self { socket })
    }

    /// Says something and returns what comes next, pings of a server that was long silent apart.
    pub fn ask(&mut self, text: &str) -> String {
        self.socket.send(Message::text(text)).expect("the connection is open");
        loop {
            match self.socket.read() {
                Ok(Message::Text(answer)) => return answer.to_string(),
                Ok(Message::Ping(_)) => {}
                other => panic!("no answer to `{text}`, but {other:?}"),
            }
        }
    }

    /// Says something, and does not wait for an answer.
    pub fn tell(&mut self, text: &str) -> Result<(), String> {
        self.socket.send(Message::text(text)).map_err(|error| error.to_string())
    }

    /// What comes next, pings apart. A close is answered.
    pub fn hear(&mut self) -> Heard {
        let heard = loop {
            match self.socket.read() {
                Ok(Message::Ping(_)) => {}
                other => break other,
            }
        };
        match heard {
            Ok(Message::Text(text)) => Heard::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Heard::Bytes(bytes.len()),
            Ok(Message::Close(Some(frame))) => {
                // Gone already is as good.
                let _ = self.socket.flush();
                Heard::Close(frame.code)
            }
            other => Heard::Else(format!("{other:?}")),
        }
    }

    /// Reads binary messages until the server closes with 1000, and returns how many bytes they had. Looks on at each
    /// hundredth, which makes the client a slow one.
    pub fn drain(mut self, mut look: impl FnMut(u64)) -> u64 {
        let mut received = 0;
        for count in 0.. {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => received += bytes.len() as u64,
                Ok(Message::Close(Some(frame))) if frame.code == CloseCode::Normal => break,
                other => panic!("no bytes and no close, but {other:?}"),
            }
            if count % 100 == 0 {
                look(received);
            }
        }
        received
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
