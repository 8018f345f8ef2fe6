//! A client's request for a WebSocket, from its first header to an open connection or a refusal.
//!
//! It is written by hand, so that a test can leave out, repeat or spoil any part of it. What the server answers is checked
//! as a browser would check it (RFC 6455, section 4.1).

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::client::Client;
use crate::deadline::within;
use crate::response::Response;

/// The key of RFC 6455, section 1.3; nothing depends on its being secret.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request for a WebSocket, not yet sent.
#[derive(Clone, Debug)]
pub struct Request {
    address: SocketAddr,
    target: String,
    headers: Vec<(String, String)>,
    before: Vec<u8>,
    behind: Vec<u8>,
    receive_buffer: Option<u32>,
}

impl Request {
    /// A correct request for this path and query.
    pub fn new(address: SocketAddr, target: &str) -> Self {
        let headers = [
            ("Host", address.to_string().as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (headers, before, behind) = (headers.into(), Vec::new(), Vec::new());
        Self { address, target: target.to_owned(), headers, before, behind, receive_buffer: None }
    }

    /// Adds a header, also one that is there already.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a header out.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Offers subprotocols, as they are written in the header: `chat, b`.
    pub fn subprotocols(self, offered: &str) -> Self {
        self.header("Sec-WebSocket-Protocol", offered)
    }

    /// Says which page asks, as a browser does.
    pub fn origin(self, origin: &str) -> Self {
        self.header("Origin", origin)
    }

    /// Sends these bytes in one piece with the request and in front of it, as proxies do.
    pub fn preceded_by(mut self, bytes: &[u8]) -> Self {
        self.before.extend(bytes);
        self
    }

    /// Sends these bytes in one piece with the request, before the server has answered.
    pub fn and_at_once(mut self, bytes: &[u8]) -> Self {
        self.behind.extend(bytes);
        self
    }

    /// Has the kernel keep about so many bytes for the client, so that the server feels soon that it does not read.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Sends it; gives the open connection, or what the server said instead.
    pub async fn open(self) -> Result<Client, Response> {
        let asked = format!("the answer to {}", self.target);
        within(&asked, self.exchange()).await.unwrap_or_else(|error| panic!("{asked} was lost: {error}"))
    }

    /// Sends it; the connection must open.
    pub async fn connect(self) -> Client {
        self.open().await.unwrap_or_else(|refused| panic!("the connection was refused: {refused:?}"))
    }

    /// Sends it; the connection must be refused.
    pub async fn refused(self) -> Response {
        match self.open().await {
            Err(refused) => refused,
            Ok(_) => panic!("the connection was opened and should have been refused"),
        }
    }

    async fn exchange(self) -> std::io::Result<Result<Client, Response>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&[&self.before, self.head().as_bytes(), &self.behind].concat()).await?;
        let (response, behind) = Response::read(&mut stream).await?;
        if response.status != 101 {
            return Ok(Err(response));
        }
        check(&response, self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(EXTENSIONS)));
        Ok(Ok(Client::new(stream, response, behind).await))
    }

    fn head(&self) -> String {
        let mut head = format!("GET {} HTTP/1.1\r\n", self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

const EXTENSIONS: &str = "sec-websocket-extensions";

/// What a browser checks before it believes a 101.
fn check(response: &Response, offered: bool) {
    let is = |name, value: &str| {
        assert!(response.header(name).is_some_and(|found| found.eq_ignore_ascii_case(value)), "{response:?}");
    };
    is("upgrade", "websocket");
    is("connection", "upgrade");
    is("sec-websocket-accept", &derive_accept_key(KEY.as_bytes()));
    assert!(offered || response.header(EXTENSIONS).is_none(), "nothing was offered: {response:?}");
}
