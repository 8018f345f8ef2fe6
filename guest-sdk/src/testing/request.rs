//! The request of a fake connection, built the way a test wants to read it.
//!
//! It does what the host would: header names in lower case, the query apart from the path, offered subprotocols as a list.

use crate::{Request, host::types};

/// A request to open a fake connection with: `FakeRequest::new("/ws?user=ann").header("origin", "https://x")`. A `&str` is
/// one as well, where it needs nothing but a path and a query.
#[derive(Debug, Clone)]
pub struct FakeRequest {
    raw: types::Request,
}

impl FakeRequest {
    /// A request for this path, with a query behind a `?` if there is one.
    pub fn new(target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let raw = types::Request {
            path: path.to_owned(),
            query: query.to_owned(),
            params: Vec::new(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            peer: "127.0.0.1:50000".to_owned(),
            details: vec![("host".to_owned(), "localhost".to_owned()), ("scheme".to_owned(), "ws".to_owned())],
        };
        Self { raw }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.raw.headers.push(types::Header { name: name.to_ascii_lowercase(), value: value.to_owned() });
        self
    }

    /// Adds a capture of the route's pattern, decoded.
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.raw.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an offered subprotocol.
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.raw.subprotocols.push(name.to_owned());
        self
    }

    /// Sets where the client comes from, as `ip:port`.
    pub fn peer(mut self, peer: &str) -> Self {
        self.raw.peer = peer.to_owned();
        self
    }

    /// Sets what the host tells besides, such as `route`.
    pub fn detail(mut self, name: &str, value: &str) -> Self {
        self.raw.details.retain(|(key, _)| key != name);
        self.raw.details.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request as a plugin sees it, for tests that need no connection.
    pub fn build(self) -> Request {
        self.raw.into()
    }

    pub(crate) fn into_raw(self) -> types::Request {
        self.raw
    }
}

impl From<&str> for FakeRequest {
    fn from(target: &str) -> Self {
        Self::new(target)
    }
}
