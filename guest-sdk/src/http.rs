//! Requests to other hosts over HTTP, of which the operator lists those that a plugin may ask (`http` in its configuration).
//!
//! With the feature `http`. The event waits for the answer, within the limits of the host, and other connections go on meanwhile;
//! so does its own connection, but for its next message. A redirect is an answer like any other. An event that has asked another
//! host is never run a second time. Natively [`FakeHost::http`](crate::testing::FakeHost::http) answers.

use std::fmt;

#[cfg(target_arch = "wasm32")]
mod wasi;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::imports::http as wasi;

/// What another host is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// From the scheme, `http` or `https`, to the query.
    pub url: String,
    /// Names and values; the host adds `Host` and the length of the body.
    pub headers: Vec<(String, String)>,
    /// What is sent with it.
    pub body: Vec<u8>,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case, and values, in the order of the answer.
    pub headers: Vec<(String, Vec<u8>)>,
    /// All of it.
    pub body: Vec<u8>,
}

/// Why there is no answer: an error code of `wasi:http/types`, such as `HttpRequestDenied` for a host that is not listed,
/// `HttpResponseTimeout` or `ConnectionLimitReached`; or what went wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub(crate) String);

/// Asks for what is there.
///
/// ```
/// use switchboard_sdk::{Close, Connection, Handler, Message, http, testing::FakeHost};
///
/// #[derive(Default)]
/// struct Prices;
///
/// impl Handler for Prices {
///     type State = ();
///     fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
///         let answer = http::get(&format!("https://api.example.com/prices/{}", message.text()?));
///         match answer {
///             Ok(answer) if answer.status == 200 => Ok(connection.send_text(answer.text()?)?),
///             Ok(answer) => Ok(connection.send_text(format!("no price: {}", answer.status))?),
///             Err(error) => Ok(connection.send_text(format!("no price: {error}"))?),
///         }
///     }
/// }
///
/// let host = FakeHost::new().http("https://api.example.com/prices/tea", 200, "3.20");
/// let ann = host.connection("/ws");
/// ann.connect::<Prices>().unwrap();
/// ann.message::<Prices>("tea");
/// ann.message::<Prices>("milk");
/// assert_eq!(ann.take_received(), ["3.20", "no price: HttpRequestDenied"]);
/// ```
pub fn get(url: &str) -> Result<Response, Error> {
    Request::new("GET", url).send()
}

/// Sends something.
pub fn post(url: &str, body: impl Into<Vec<u8>>) -> Result<Response, Error> {
    Request::new("POST", url).body(body).send()
}

impl Request {
    /// One without headers and without a body.
    pub fn new(method: &str, url: &str) -> Self {
        Self { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has this sent with it.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it, and waits for all of the answer (WIT: `wasi:http/outgoing-handler.handle`).
    pub fn send(self) -> Result<Response, Error> {
        wasi::send(self)
    }
}

impl Response {
    /// The body as a text; fails for one that is none.
    pub fn text(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.body)
    }

    /// The first header of this name, in lower case, if it is there and a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
