//! What a plugin answers to a handshake: take it, let it pass inwards, or refuse it.
//!
//! A refusal is either an HTTP response in place of the WebSocket, or a WebSocket that is closed at once, which is the only
//! kind whose code and reason a browser can read. Any error becomes one with `?`: a missing path parameter 400, everything
//! else 500 without detail. The host checks headers and codes and fails the handshake where one is not allowed.

use std::{error::Error, fmt};

use crate::{BadParam, Close, host, host::types};

/// How a handler takes a connection (WIT: `types.accept`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Accept {
    subprotocol: Option<String>,
    headers: Vec<types::Header>,
}

/// How a gate lets a connection pass inwards (WIT: `types.admission`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pass {
    headers: Vec<types::Header>,
}

/// How a handler or a gate refuses a connection (WIT: `types.answer`, `types.admission`).
#[derive(Debug)]
pub struct Refusal {
    kind: Kind,
    /// For the log; the client never sees it.
    cause: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Respond(types::Response),
    Close(Close),
}

impl Accept {
    /// Takes the connection as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses one of the offered subprotocols. One that was not offered fails the handshake with 500.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header to the 101 response. One that the handshake itself owns, or a CR, LF or NUL in the value, fails it with
    /// 500.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(types::Header { name: name.into(), value: value.into() });
        self
    }

    pub(crate) fn into_wit(self) -> types::Accept {
        types::Accept { subprotocol: self.subprotocol, headers: self.headers }
    }
}

impl Pass {
    /// Lets the connection pass as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header to the 101 response, under the rules of [`Accept::header`].
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(types::Header { name: name.into(), value: value.into() });
        self
    }

    pub(crate) fn into_wit(self) -> Vec<types::Header> {
        self.headers
    }
}

impl Refusal {
    /// Answers with an HTTP response; no WebSocket is opened. The status is 200 to 599, the body at most 64 KiB.
    pub fn respond(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let response = types::Response { status, headers: Vec::new(), body: body.into() };
        Self { kind: Kind::Respond(response), cause: None }
    }

    /// Opens the WebSocket and closes it at once.
    pub fn close(close: Close) -> Self {
        Self { kind: Kind::Close(close), cause: None }
    }

    /// Adds a header to the HTTP response; the host owns those that frame it. A close has no headers and stays as it is.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Kind::Respond(response) = &mut self.kind {
            response.headers.push(types::Header { name: name.into(), value: value.into() });
        }
        self
    }

    /// The status of the HTTP response, if it is one.
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            Kind::Respond(response) => Some(response.status),
            Kind::Close(_) => None,
        }
    }

    /// The close, if it is one.
    pub fn closes_with(&self) -> Option<&Close> {
        match &self.kind {
            Kind::Respond(_) => None,
            Kind::Close(close) => Some(close),
        }
    }

    /// Tells the operator of the cause, if there is one: a refusal that a plugin made itself is nothing to report, and what
    /// clients ask for that is not there must not fill the log.
    pub(crate) fn log(&self) {
        if let Some(cause) = &self.cause {
            let level = if cause.is::<BadParam>() { "debug" } else { "warn" };
            host::log::write(level, &format!("connect ended with {self}: {cause}"), &[]);
        }
    }

    pub(crate) fn into_answer(self) -> types::Answer {
        match self.kind {
            Kind::Respond(response) => types::Answer::Respond(response),
            Kind::Close(close) => types::Answer::Close(close.into_frame()),
        }
    }

    pub(crate) fn into_admission(self) -> types::Admission {
        match self.kind {
            Kind::Respond(response) => types::Admission::Respond(response),
            Kind::Close(close) => types::Admission::Close(close.into_frame()),
        }
    }
}

impl From<Close> for Refusal {
    fn from(close: Close) -> Self {
        Self::close(close)
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Refusal {
    fn from(error: E) -> Self {
        let cause: Box<dyn Error + Send + Sync> = Box::new(error);
        let refusal = match cause.is::<BadParam>() {
            true => Self::respond(400, cause.to_string()),
            false => Self::respond(500, "internal error"),
        };
        Self { cause: Some(cause), ..refusal }
    }
}

/// Equal where the client sees the same: the cause does not count.
impl PartialEq for Refusal {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Respond(response) => write!(out, "HTTP {}", response.status),
            Kind::Close(close) => write!(out, "close {close}"),
        }
    }
}
