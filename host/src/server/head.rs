//! The head of an upgrade request: each check of the opening handshake (RFC 6455, section 4.2.1), with its refusal.
//!
//! hyper has parsed the head; here is decided whether it asks for a WebSocket correctly and may. Nothing here knows
//! routes or guests.
//! Invariant: what passes has exactly one Host and one key, no body, and offers only tokens.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri, Version, request};
use hyper::ext::Protocol;

use super::refusal::Refusal;

/// What is asked for, in `Upgrade` (RFC 6455) and in `:protocol` (RFC 8441).
const WEBSOCKET: &str = "websocket";
/// Schemes of targets that name a host (RFC 9112, section 3.2.2).
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// What a correct upgrade request says.
#[derive(Debug)]
pub struct Upgrade {
    /// The host that the client means, with its port.
    pub host: String,
    /// The key, for the accept header; none over HTTP/2, which needs no proof that the request was read.
    pub key: Option<String>,
    /// What is offered, in the client's order.
    pub subprotocols: Vec<String>,
}

/// Whether a request asks for a WebSocket at all, correctly or not.
pub fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    match request.version() {
        Version::HTTP_2 => request.extensions().get::<Protocol>().is_some_and(|asked| asked.as_str() == WEBSOCKET),
        _ => has_token(request.headers(), &UPGRADE, WEBSOCKET),
    }
}

/// Has a request over HTTP/2 say its host where all others do (RFC 9113, section 8.3.1); one that says two is refused later.
pub fn name_host<B>(request: &mut Request<B>) {
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host.filter(|host| request.headers().get(HOST) != Some(host)) {
        request.headers_mut().append(HOST, host);
    }
}

/// Checks an upgrade request.
pub fn check(head: &request::Parts) -> Result<Upgrade, Refusal> {
    let headers = &head.headers;
    let host = host(&head.uri, head.version, headers)?;
    let is_shared = head.version == Version::HTTP_2;
    let upgrades = match is_shared {
        true => head.method == Method::CONNECT,
        false => {
            let tokens = [(&UPGRADE, WEBSOCKET), (&CONNECTION, "upgrade")];
            tokens.iter().all(|(name, token)| has_token(headers, name, token)) && head.method == Method::GET
        }
    };
    if !upgrades || head.version < Version::HTTP_11 {
        return Err(Refusal::NotAnUpgrade);
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal::WrongVersion);
    }
    if headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
        return Err(Refusal::HasBody);
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).map(str::to_owned);
    if key.is_none() && !is_shared {
        return Err(Refusal::BadKey);
    }
    Ok(Upgrade { host: host.to_owned(), key: key.filter(|_| !is_shared), subprotocols: subprotocols(headers)? })
}

/// The host that a request of any kind means: that of its target, where it names one, and else the only Host. Whoever stands
/// between must find the same one, so nothing is guessed (RFC 9112, sections 3.2 and 3.2.2). Before HTTP/1.1 there may be none.
pub fn host<'a>(uri: &'a Uri, version: Version, headers: &'a HeaderMap) -> Result<&'a str, Refusal> {
    let told = only(headers, &HOST).filter(|host| is_host(host));
    if told.is_none() && (version == Version::HTTP_11 || headers.contains_key(HOST)) {
        return Err(Refusal::BadHost);
    }
    match (uri.scheme_str(), uri.authority()) {
        (None, None) => told.or((version < Version::HTTP_11).then_some("")).ok_or(Refusal::BadHost),
        (Some(scheme), _) if !SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => Err(Refusal::BadPath),
        (_, authority) => {
            let named = authority.map(Authority::as_str).filter(|host| is_host(host));
            named.ok_or(Refusal::BadHost)
        }
    }
}

/// A name or an address with or without a port, and nothing that readers of it could take apart in two ways.
fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!$%&'()*+-.:;=[]_~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Whether a browser's page of this Origin may connect: its host is the server's, or the route lists it. A client that
/// is no browser sends none (RFC 6455, section 10.2).
pub fn check_origin(headers: &HeaderMap, host: &str, allowed: &[String]) -> Result<(), Refusal> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return Ok(()),
        (Some(origin), None) => origin.to_str().map_err(|_| Refusal::ForeignOrigin)?.to_ascii_lowercase(),
        _ => return Err(Refusal::ForeignOrigin),
    };
    let listed = allowed.iter().any(|allowed| allowed == "*" || *allowed == origin);
    let same_host = is_same_host(&origin, &host.to_ascii_lowercase());
    (listed || same_host).then_some(()).ok_or(Refusal::ForeignOrigin)
}

/// Compares hosts with ports, where each side may leave out the scheme's own port.
fn is_same_host(origin: &str, host: &str) -> bool {
    let (rest, port) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(rest), _) => (rest, ":80"),
        (_, Some(rest)) => (rest, ":443"),
        _ => return false,
    };
    !rest.is_empty() && rest.strip_suffix(port).unwrap_or(rest) == host.strip_suffix(port).unwrap_or(host)
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// 16 bytes in base64: 22 digits and two signs of equality.
fn is_key(key: &str) -> bool {
    let digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    key.len() == 24 && key.ends_with("==") && key.bytes().take(22).all(digit)
}

fn subprotocols(headers: &HeaderMap) -> Result<Vec<String>, Refusal> {
    let mut offered = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let value = value.to_str().map_err(|_| Refusal::BadSubprotocol)?;
        for token in value.split(',').map(str::trim) {
            if !is_token(token) {
                return Err(Refusal::BadSubprotocol);
            }
            offered.push(token.to_owned());
        }
    }
    Ok(offered)
}

/// RFC 9110, section 5.6.2.
pub fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const GOOD: [(&str, &str); 5] = [
        ("host", "example"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn head(method: &str, headers: &[(&str, &str)]) -> request::Parts {
        let request = Request::builder().method(method).uri("/ws");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request").into_parts().0
    }

    fn with(extra: (&str, &str)) -> request::Parts {
        head("GET", &[&GOOD[..], &[extra]].concat())
    }

    fn without(name: &str) -> request::Parts {
        head("GET", &GOOD.into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>())
    }

    #[test]
    fn a_correct_request_passes() {
        let upgrade = check(&with(("sec-websocket-protocol", "chat, b"))).expect("it is correct");
        assert_eq!(upgrade.subprotocols, ["chat", "b"]);
    }

    #[test]
    fn every_mistake_has_its_refusal() {
        for (head, refusal) in [
            (without("host"), Refusal::BadHost),
            (with(("host", "other")), Refusal::BadHost),
            (without("upgrade"), Refusal::NotAnUpgrade),
            (without("connection"), Refusal::NotAnUpgrade),
            (head("POST", &GOOD), Refusal::NotAnUpgrade),
            (without("sec-websocket-version"), Refusal::WrongVersion),
            (with(("sec-websocket-version", "8")), Refusal::WrongVersion),
            (without("sec-websocket-key"), Refusal::BadKey),
            (with(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")), Refusal::BadKey),
            (with(("content-length", "3")), Refusal::HasBody),
            (with(("transfer-encoding", "chunked")), Refusal::HasBody),
            (with(("sec-websocket-protocol", "a b")), Refusal::BadSubprotocol),
            (with(("sec-websocket-protocol", "")), Refusal::BadSubprotocol),
        ] {
            assert_eq!(check(&head).expect_err("it is wrong"), refusal);
        }
        assert!(!is_key("dGhlIHNhbXBsZSBub25j") && !is_key("====dGhlIHNhbXBsZSBub25j"));
    }

    #[test]
    fn each_request_means_one_host() {
        for (target, told, version, means) in [
            ("/ws", &["a:80"][..], Version::HTTP_11, Some("a:80")),
            ("/ws", &["[::1]:80"], Version::HTTP_11, Some("[::1]:80")),
            ("http://b:81/ws", &["a"], Version::HTTP_11, Some("b:81")),
            ("WSS://b/ws", &["a"], Version::HTTP_11, Some("b")),
            ("/ws", &[], Version::HTTP_10, Some("")),
            ("/ws", &[], Version::HTTP_11, None),
            ("http://b/ws", &[], Version::HTTP_11, None),
            ("/ws", &["a", "a"], Version::HTTP_10, None),
            ("/ws", &[""], Version::HTTP_11, None),
            ("/ws", &["a, b"], Version::HTTP_11, None),
            ("/ws", &["a@b"], Version::HTTP_11, None),
            ("/ws", &["a/b"], Version::HTTP_11, None),
            ("http://a@b/ws", &["b"], Version::HTTP_11, None),
            ("ftp://b/ws", &["b"], Version::HTTP_11, None),
        ] {
            let told: Vec<_> = told.iter().map(|host| ("host", *host)).collect();
            let found = head("GET", &told);
            let uri = target.parse().expect("a target");
            assert_eq!(host(&uri, version, &found.headers).ok(), means, "{target} {told:?}");
        }
    }

    #[test]
    fn only_the_own_host_and_listed_origins_may_connect() {
        let allowed = ["https://app.example".to_owned()];
        for (origin, host, passes) in [
            ("http://example:8080", "example:8080", true),
            ("http://example", "example:80", true),
            ("https://example:443", "example", true),
            ("HTTP://Example", "example", true),
            ("https://app.example", "example", true),
            ("https://app.example.evil", "example", false),
            ("https://evil", "example", false),
            ("http://example:81", "example", false),
            ("null", "null", false),
            ("http://", "", false),
        ] {
            let head = head("GET", &[("origin", origin)]);
            assert_eq!(check_origin(&head.headers, host, &allowed).is_ok(), passes, "{origin} on {host}");
        }
        let none = head("GET", &[]);
        assert!(check_origin(&none.headers, "example", &[]).is_ok(), "no browser, no Origin");
        let any = head("GET", &[("origin", "https://evil")]);
        assert!(check_origin(&any.headers, "example", &["*".to_owned()]).is_ok());
    }
}
