//! Messages and close frames: what connections carry.
//!
//! These are the host's own words; the wire's are in `server/`, the guests' in `engine/`. Payloads are shared
//! bytes, so that a message goes to a thousand members without a copy.
//! Invariant: the payload of a text message is valid UTF-8.

use std::borrow::Cow;

use bytes::Bytes;

/// The two kinds of message (RFC 6455, section 5.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// One whole message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    kind: Kind,
    payload: Bytes,
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Kind::Text, payload: Bytes::from(text.into()) }
    }

    /// A text message from bytes that were checked to be UTF-8 when they came in.
    pub fn utf8(payload: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&payload).is_ok(), "text is checked where it comes in");
        Self { kind: Kind::Text, payload }
    }

    /// A binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Binary, payload: payload.into() }
    }

    /// Text or binary.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The payload's length in bytes.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether the payload is empty, which is a message like any other.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The payload as text; none for a binary message. Checks the UTF-8 once more, about 10 ns for 64 bytes, since this
    /// crate has no unsafe code to skip it with.
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => std::str::from_utf8(&self.payload).ok(),
            Kind::Binary => None,
        }
    }

    /// The payload, taken out.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }
}

/// A ping or pong (RFC 6455, sections 5.5.2 and 5.5.3); its payload has at most 125 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// To be answered.
    Ping(Bytes),
    /// An answer, or a sign of life.
    Pong(Bytes),
}

impl Control {
    /// The payload.
    pub fn payload(&self) -> &Bytes {
        match self {
            Self::Ping(payload) | Self::Pong(payload) => payload,
        }
    }
}

/// How a connection ends (RFC 6455, section 5.5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloseFrame {
    /// The status code; 1005 and 1006 are told to guests and never sent.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: Cow<'static, str>,
}

/// The most bytes of a close reason: a control frame's 125 less two for the code (RFC 6455, section 5.5).
pub const MAX_REASON: usize = 123;

impl CloseFrame {
    /// A frame with this code and reason.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// The close codes that this server gives by itself, each with its one reason. The published table is in the README.
pub mod close {
    use super::CloseFrame;
    use std::borrow::Cow;

    const fn frame(code: u16, reason: &'static str) -> CloseFrame {
        CloseFrame { code, reason: Cow::Borrowed(reason) }
    }

    /// The client's close frame had no code.
    pub const NO_CODE: CloseFrame = frame(1005, "");
    /// The connection was lost without a close frame.
    pub const LOST: CloseFrame = frame(1006, "");
    /// The handshake was refused with an HTTP response.
    pub const REFUSED: CloseFrame = frame(1006, "refused");
    /// The client broke the protocol.
    pub const PROTOCOL: CloseFrame = frame(1002, "protocol error");
    /// Text that is not UTF-8.
    pub const NOT_UTF8: CloseFrame = frame(1007, "invalid UTF-8");
    /// A message over the route's limit.
    pub const TOO_BIG: CloseFrame = frame(1009, "message too big");
    /// A guest or the host faulted; no detail reaches the client.
    pub const INTERNAL: CloseFrame = frame(1011, "internal error");
    /// What the connection's state holds does not fit the new code; another connection starts with an empty one.
    pub const STATE: CloseFrame = frame(1012, "state does not fit");
    /// The server stops.
    pub const RESTART: CloseFrame = frame(1012, "server is restarting");
    /// The client reads too slowly for what others send to it.
    pub const SLOW: CloseFrame = frame(1013, "slow consumer");
    /// More messages or bytes a second than a connection may send.
    pub const RATE: CloseFrame = frame(1008, "rate");
    /// More pings and pongs a second than a connection may send.
    pub const CONTROLS: CloseFrame = frame(1008, "too many control frames");
    /// A message in more fragments than it may have.
    pub const FRAGMENTS: CloseFrame = frame(1008, "too many fragments");
    /// A message that took longer from its first byte to its last than it may.
    pub const SLOW_MESSAGE: CloseFrame = frame(1008, "message took too long");
    /// No message in either direction for longer than the route allows.
    pub const IDLE: CloseFrame = frame(1001, "idle");
    /// Another configuration has the route no more.
    pub const ROUTE_REMOVED: CloseFrame = frame(1001, "route removed");
    /// A plugin of the route gets no events for a while.
    pub const STOPPED: CloseFrame = frame(1013, "not available");
    /// The operator has suspended the tenant.
    pub const SUSPENDED: CloseFrame = frame(1013, "suspended");
    /// Nothing came back for a ping.
    pub const NO_PONG: CloseFrame = frame(1001, "no pong");

    /// Whether a guest may send this code (RFC 6455, section 7.4; 1012 to 1014 are registered since).
    pub fn may_send(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_text() {
        assert_eq!(Message::utf8(Bytes::from_static(b"hi")).as_text(), Some("hi"));
        assert_eq!(Message::binary("hi").as_text(), None);
    }

    #[test]
    fn reserved_codes_may_not_be_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            assert!(!close::may_send(code), "{code}");
        }
        for code in [1000, 1003, 1007, 1011, 1014, 3000, 4999] {
            assert!(close::may_send(code), "{code}");
        }
    }
}
