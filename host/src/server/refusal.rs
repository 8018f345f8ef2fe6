//! Refusals: every HTTP answer that is not a WebSocket or a file, in one table.
//!
//! A body names what the client did wrong in a few words and nothing of the inside.
//! Invariant: each refusal has one status and one text, the status of a full route being the configuration's.

use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use crate::metrics::Failure;

/// To a client that was not understood at all, where hyper says nothing.
pub const UNREADABLE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// To one whose request did not come in time.
pub const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why a request gets no WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The path is malformed.
    BadPath,
    /// No route and no file has this path.
    NotFound,
    /// A WebSocket route was asked for something else.
    NotAnUpgrade,
    /// Another version of the protocol (RFC 6455, section 4.4).
    WrongVersion,
    /// More headers than a request may have, over HTTP/2; over HTTP/1.1 it is hyper that says so.
    TooManyHeaders,
    /// Host is missing, repeated or not a host.
    BadHost,
    /// The key is missing, repeated or no base64 of 16 bytes.
    BadKey,
    /// A subprotocol is no token.
    BadSubprotocol,
    /// An upgrade request carries a body.
    HasBody,
    /// A file was asked for with another method than GET or HEAD.
    WrongMethod,
    /// The Origin is not allowed.
    ForeignOrigin,
    /// The route has as many connections as it may; the status is configured.
    Full(StatusCode),
    /// The operator has suspended the tenant.
    Suspended,
    /// A plugin gets no events after too many faults.
    Stopped,
    /// A guest faulted.
    Fault,
    /// The server takes no more connections.
    Draining,
}

impl Refusal {
    /// For a handshake that finds no room: by another server, or later, it may be taken; of this address not before one of its
    /// connections ends.
    pub fn of_full(full: Failure) -> Self {
        Self::Full(match full {
            Failure::AddressFull => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        })
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotAnUpgrade | Self::WrongVersion => StatusCode::UPGRADE_REQUIRED,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::Full(status) => status,
            Self::Fault => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Draining | Self::Suspended | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadPath | Self::BadHost | Self::BadKey | Self::BadSubprotocol | Self::HasBody => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::BadPath => "the path is malformed\n",
            Self::NotFound => "not found\n",
            Self::NotAnUpgrade => "this path is a WebSocket; send an upgrade request\n",
            Self::WrongVersion => "Sec-WebSocket-Version must be 13\n",
            Self::TooManyHeaders => "the request has too many headers\n",
            Self::BadHost => "exactly one Host is needed\n",
            Self::BadKey => "exactly one Sec-WebSocket-Key of 16 bytes in base64 is needed\n",
            Self::BadSubprotocol => "Sec-WebSocket-Protocol must be a list of tokens\n",
            Self::HasBody => "an upgrade request has no body\n",
            Self::WrongMethod => "only GET and HEAD are allowed\n",
            Self::ForeignOrigin => "this Origin is not allowed\n",
            Self::Full(_) => "there is no room for one more connection\n",
            Self::Suspended | Self::Stopped => "not available at present\n",
            Self::Fault => "internal error\n",
            Self::Draining => "the server is stopping\n",
        }
    }

    fn headers(self) -> &'static [(HeaderName, &'static str)] {
        const UPGRADES: &[(HeaderName, &str)] = &[(UPGRADE, "websocket"), (CONNECTION, "upgrade")];
        const VERSION: &[(HeaderName, &str)] =
            &[(SEC_WEBSOCKET_VERSION, "13"), (UPGRADE, "websocket"), (CONNECTION, "upgrade")];
        const LATER: &[(HeaderName, &str)] = &[(RETRY_AFTER, "5")];
        const ALLOW: &[(HeaderName, &str)] = &[(http::header::ALLOW, "GET, HEAD")];
        match self {
            Self::NotAnUpgrade => UPGRADES,
            Self::WrongVersion => VERSION,
            Self::Draining
            | Self::Suspended
            | Self::Stopped
            | Self::Full(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => LATER,
            Self::WrongMethod => ALLOW,
            _ => &[],
        }
    }

    /// The answer that the client gets.
    pub fn response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.text()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        for (name, value) in self.headers() {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
        response
    }
}
