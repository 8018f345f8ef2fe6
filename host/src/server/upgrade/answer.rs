//! Answers to a handshake: the 101, and what guests say in its place or add to it.
//!
//! What a guest says is checked here and nowhere else; `server/upgrade` decides which answer it is, `server/refusal` has those of
//! the host.
//! Invariant: nothing of a guest breaks out of its header, speaks for the host, or is larger than clients take.

use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::event::Header;
use crate::server::body::Body;
use crate::server::deflate::Agreed;

/// The largest body of a guest's response.
const MAX_BODY: usize = 64 * 1024;
/// What the guests of one handshake may add to its response: headers, and bytes of them. More would pass what clients take,
/// and soon what the map of headers can hold.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Headers that belong to the handshake or to HTTP's framing; a guest may not set them.
const RESERVED: [&str; 11] = [
    "connection",
    "upgrade",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-version",
    "sec-websocket-key",
    "content-length",
    "transfer-encoding",
    "trailer",
    "te",
];

/// The 101 (RFC 6455, section 4.2.2), or where there is no key the 200 of HTTP/2 (RFC 8441, section 5).
pub(super) fn switching(
    key: Option<&str>,
    subprotocol: Option<&str>,
    agreed: Option<Agreed>,
) -> Result<Response<Body>, String> {
    let mut response = Response::new(Body::default());
    if let Some(key) = key {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept.map_err(|_| "the accept key is no header".to_owned())?);
    }
    let headers = response.headers_mut();
    if let Some(subprotocol) = subprotocol {
        let value = HeaderValue::from_str(subprotocol).map_err(|_| "the subprotocol is no header".to_owned())?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    if let Some(agreed) = agreed {
        let value = HeaderValue::from_str(&agreed.answer()).map_err(|_| "the extension is no header".to_owned())?;
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, value);
    }
    Ok(response)
}

/// A guest's response in place of a WebSocket.
pub(super) fn respond(status: u16, added: &[Header], body: &Bytes) -> Result<Response<Body>, String> {
    let good = (200..600).contains(&status);
    let status = StatusCode::from_u16(status).ok().filter(|_| good);
    let status = status.ok_or_else(|| "the status of a response must be 200 to 599".to_owned())?;
    if body.len() > MAX_BODY {
        return Err(format!("the body of a response has at most {MAX_BODY} bytes, not {}", body.len()));
    }
    let mut response = Response::new(Body::from(body.clone()));
    *response.status_mut() = status;
    add(response.headers_mut(), added)?;
    Ok(response)
}

/// Adds a guest's headers, none of which may break out of its line or speak for the host.
pub(super) fn add(headers: &mut HeaderMap, added: &[Header]) -> Result<(), String> {
    let mut bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    for (name, value) in added {
        bytes += name.len() + value.len();
        if headers.len() >= MAX_HEADERS || bytes > MAX_HEADER_BYTES {
            return Err(format!("a response has at most {MAX_HEADERS} headers with {MAX_HEADER_BYTES} bytes together"));
        }
        let bad = |what: &str| format!("the header {name:?} {what}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("has a name that is not allowed"))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(bad("belongs to the host"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| bad("has a value with a control character"))?;
        headers.append(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Vec<Header> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_accept_key_is_that_of_the_specification() {
        let response = switching(Some("dGhlIHNhbXBsZSBub25jZQ=="), Some("chat"), None).expect("it can be built");
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_guests_header_cannot_break_out_or_speak_for_the_host() {
        for (name, value) in
            [("x-a", "1\r\nx-b: 2"), ("x a", "1"), ("Upgrade", "h2c"), ("content-length", "5"), ("", "1")]
        {
            assert!(respond(200, &header(name, value), &Bytes::new()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_guests_response_is_bounded() {
        assert!(respond(101, &[], &Bytes::new()).is_err());
        assert!(respond(600, &[], &Bytes::new()).is_err());
        assert!(respond(200, &[], &Bytes::from(vec![0; MAX_BODY])).is_ok());
        assert!(respond(200, &[], &Bytes::from(vec![0; MAX_BODY + 1])).is_err());
    }
}
