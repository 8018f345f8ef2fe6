//! A WebSocket client for tests: says things, and expects things.
//!
//! `expect_...` takes the next message and panics where it is another one. Pings of the server are answered by the library
//! and passed over; so what is left is what an application would see, in its order.

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::deadline::within;
use crate::response::Response;

/// Small, so that a test can have thousands of clients.
const READ_BUFFER: usize = 8 * 1024;

/// An open connection.
pub struct Client {
    ws: WebSocketStream<TcpStream>,
    response: Response,
}

/// What a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// The server's close, with code and reason; 1005 where it had none.
    Close(u16, String),
    /// The end of the connection, without a close or behind one.
    End,
}

impl Client {
    pub(crate) async fn new(stream: TcpStream, response: Response, behind: Vec<u8>) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let ws = WebSocketStream::from_partially_read(stream, behind, Role::Client, Some(config)).await;
        Self { ws, response }
    }

    /// The 101 that opened the connection.
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// Sends a text message.
    pub async fn send(&mut self, text: &str) {
        self.write(Message::text(text)).await;
    }

    /// Sends a binary message.
    pub async fn send_binary(&mut self, bytes: impl Into<Bytes>) {
        self.write(Message::binary(bytes)).await;
    }

    /// Sends a ping.
    pub async fn ping(&mut self, payload: &[u8]) {
        self.write(Message::Ping(payload.to_vec().into())).await;
    }

    /// Sends a close frame; the server's echo is still to be expected.
    pub async fn close(&mut self, code: u16, reason: &str) {
        self.write(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await;
    }

    /// Sends a close frame without a code.
    pub async fn close_without_code(&mut self) {
        self.write(Message::Close(None)).await;
    }

    /// Writes bytes past the WebSocket library; see [`masked`](crate::masked) for making frames.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let written = within("bytes to be written", self.ws.get_mut().write_all(bytes)).await;
        written.unwrap_or_else(|error| panic!("the bytes could not be written: {error}"));
    }

    /// Ends the connection with a TCP reset: the server is told nothing.
    pub fn reset(self) {
        let lingers = self.ws.get_ref().set_zero_linger();
        lingers.expect("a socket can be told not to linger");
    }

    /// The stream of messages itself, for tests that read and write at the same time.
    pub fn into_stream(self) -> WebSocketStream<TcpStream> {
        self.ws
    }

    /// What comes next, pings apart.
    pub async fn receive(&mut self) -> Received {
        within("a message from the server", self.next()).await
    }

    /// Unbounded in time: the server's pings do not make a wait longer.
    async fn next(&mut self) -> Received {
        loop {
            return match self.ws.next().await {
                Some(Ok(Message::Text(text))) => Received::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => Received::Binary(bytes.to_vec()),
                Some(Ok(Message::Pong(payload))) => Received::Pong(payload.to_vec()),
                Some(Ok(Message::Close(Some(frame)))) => Received::Close(frame.code.into(), frame.reason.to_string()),
                Some(Ok(Message::Close(None))) => Received::Close(1005, String::new()),
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
                Some(Err(_)) | None => self.end().await,
            };
        }
    }

    /// Ends this side too, as every client does once the server has ended its own.
    async fn end(&mut self) -> Received {
        // It may be gone altogether.
        let _ = self.ws.get_mut().shutdown().await;
        Received::End
    }

    /// The next message, which must be text.
    pub async fn text(&mut self) -> String {
        match self.receive().await {
            Received::Text(text) => text,
            other => panic!("expected a text message, got {other:?}"),
        }
    }

    /// The next message, which must be binary.
    pub async fn binary(&mut self) -> Vec<u8> {
        match self.receive().await {
            Received::Binary(bytes) => bytes,
            other => panic!("expected a binary message, got {other:?}"),
        }
    }

    /// The next message must be this text.
    pub async fn expect_text(&mut self, expected: &str) {
        assert_eq!(self.receive().await, Received::Text(expected.to_owned()));
    }

    /// The next message must be these bytes.
    pub async fn expect_binary(&mut self, expected: &[u8]) {
        assert_eq!(self.receive().await, Received::Binary(expected.to_vec()));
    }

    /// The next frame must be the answer to a ping.
    pub async fn expect_pong(&mut self, payload: &[u8]) {
        assert_eq!(self.receive().await, Received::Pong(payload.to_vec()));
    }

    /// The server must close next, with this code and reason, and then end the connection.
    pub async fn expect_close(&mut self, code: u16, reason: &str) {
        assert_eq!(self.receive().await, Received::Close(code, reason.to_owned()));
        self.expect_end().await;
    }

    /// The connection must end here.
    pub async fn expect_end(&mut self) {
        assert_eq!(self.receive().await, Received::End);
    }

    /// Nothing may have been queued for this client: the answer to a ping is the next thing that comes. What other
    /// connections cause must have happened before, for instance by having been received elsewhere.
    pub async fn expect_nothing_more(&mut self) {
        self.ping(b"nothing more").await;
        self.expect_pong(b"nothing more").await;
    }

    async fn write(&mut self, message: Message) {
        let written = within("a message to be written", self.ws.send(message)).await;
        written.unwrap_or_else(|error| panic!("the message could not be written: {error}"));
    }
}
