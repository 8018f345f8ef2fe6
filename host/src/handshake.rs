//! The request that asked for a connection, kept for the connection's whole life.
//!
//! All text of the request lies in one allocation, because a server with a hundred thousand idle connections keeps
//! as many of these. Built by `server/upgrade`, read by guests through `engine/imports`.
//! Invariant: `ends` rises, and each end lies on a character boundary of `text`.

use std::sync::Arc;

use crate::id::TenantId;

/// What the routing table says of a route, shared by all its connections.
#[derive(Debug, Default)]
pub struct RouteNames {
    /// Whose route it is.
    pub tenant: TenantId,
    /// The route's `name`, or its pattern where it has none.
    pub route: String,
    /// Names of the routers it lies in, outermost first.
    pub routers: Vec<String>,
}

/// The parts of a request, as collected before they are packed.
#[derive(Default)]
pub struct Parts<'a> {
    /// Normalized, still percent-encoded.
    pub path: &'a str,
    /// Without the leading '?'.
    pub query: &'a str,
    /// "ip:port" of the client.
    pub peer: &'a str,
    /// The Host header.
    pub host: &'a str,
    /// Decoded captures of the route's pattern, in its order.
    pub params: Vec<(String, String)>,
    /// In the order of arrival, names in lower case.
    pub headers: Vec<(&'a str, String)>,
    /// What the client offered, in its order.
    pub subprotocols: Vec<String>,
}

/// A packed request.
#[derive(Debug, Default)]
pub struct Handshake {
    text: Box<str>,
    /// Where each piece of `text` ends: path, query, peer, host, then params, headers, subprotocols.
    ends: Box<[u32]>,
    params: u16,
    headers: u16,
    names: Arc<RouteNames>,
}

/// How many pieces come before the params.
const FIXED: usize = 4;

impl Handshake {
    /// Packs the parts. The request's head is bounded, so their counts fit.
    pub fn pack(parts: &Parts<'_>, names: Arc<RouteNames>) -> Self {
        let mut packing = Packing::default();
        for piece in [parts.path, parts.query, parts.peer, parts.host] {
            packing.push(piece);
        }
        for (name, value) in &parts.params {
            packing.push(name);
            packing.push(value);
        }
        for (name, value) in &parts.headers {
            packing.push(name);
            packing.push(value);
        }
        for protocol in &parts.subprotocols {
            packing.push(protocol);
        }
        Self {
            text: packing.text.into_boxed_str(),
            ends: packing.ends.into_boxed_slice(),
            params: parts.params.len() as u16,
            headers: parts.headers.len() as u16,
            names,
        }
    }

    /// The path as routed.
    pub fn path(&self) -> &str {
        self.piece(0)
    }

    /// The query without its '?'.
    pub fn query(&self) -> &str {
        self.piece(1)
    }

    /// "ip:port" of the client.
    pub fn peer(&self) -> &str {
        self.piece(2)
    }

    /// The Host header.
    pub fn host(&self) -> &str {
        self.piece(3)
    }

    /// The names of the route and its routers.
    pub fn names(&self) -> &RouteNames {
        &self.names
    }

    /// Decoded captures.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs(FIXED, self.params)
    }

    /// Headers, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs(FIXED + 2 * self.params as usize, self.headers)
    }

    /// What the client offered in Sec-WebSocket-Protocol.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let first = FIXED + 2 * (self.params as usize + self.headers as usize);
        (first..self.ends.len()).map(|index| self.piece(index))
    }

    fn pairs(&self, first: usize, count: u16) -> impl Iterator<Item = (&str, &str)> {
        (0..count as usize).map(move |pair| (self.piece(first + 2 * pair), self.piece(first + 2 * pair + 1)))
    }

    fn piece(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.ends.get(index).map_or("", |end| &self.text[start..*end as usize])
    }
}

#[derive(Default)]
struct Packing {
    text: String,
    ends: Vec<u32>,
}

impl Packing {
    fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
        self.ends.push(self.text.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_in_order() {
        let parts = Parts {
            path: "/ws/42",
            query: "a=1&a=2",
            peer: "127.0.0.1:9",
            host: "example",
            params: vec![("room".into(), "42".into())],
            headers: vec![("cookie", "x=1".into()), ("cookie", "y=2".into())],
            subprotocols: vec!["chat".into(), "b".into()],
        };
        let packed = Handshake::pack(&parts, Arc::default());
        assert_eq!((packed.path(), packed.query()), ("/ws/42", "a=1&a=2"));
        assert_eq!((packed.peer(), packed.host()), ("127.0.0.1:9", "example"));
        assert_eq!(packed.params().collect::<Vec<_>>(), [("room", "42")]);
        assert_eq!(packed.headers().collect::<Vec<_>>(), [("cookie", "x=1"), ("cookie", "y=2")]);
        assert_eq!(packed.subprotocols().collect::<Vec<_>>(), ["chat", "b"]);
    }

    #[test]
    fn an_empty_one_has_empty_pieces() {
        let packed = Handshake::default();
        assert_eq!((packed.path(), packed.params().count()), ("", 0));
    }
}
