//! The first bytes of a connection: a header of the PROXY protocol, and heads of requests through hyper's parser.
//!
//! The input is a count of cuts (a byte, of which the lowest three bits count), so many cuts, and what the client sends. What
//! the host makes of it is the same however the bytes come, and what passes is what it says it is.

#![no_main]

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;

use http::header::{CONTENT_LENGTH, FORWARDED, HOST, HeaderMap, ORIGIN, SEC_WEBSOCKET_KEY, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, request};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use switchboard::config::{ForwardedHeader, ProxiesConfig, parse_network};
use switchboard::path::normalize;
use switchboard::server::fuzzing::{self as host, Body, Refusal};
use switchboard_fuzz::{Client, run};

/// Below what a head may have, so that how much of it came in one piece decides nothing.
const MOST: usize = 4096;
/// The longest header of the PROXY protocol, of version 2.
const LONGEST_PROXY_HEADER: usize = 536;
const PROXY: &str = "10.0.0.1:9";
const LISTED: &str = "https://app.example";

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = split(data).filter(|(_, bytes)| bytes.len() <= MOST) else { return };
    let whole = proxy_header(bytes, &[]);
    assert_eq!(proxy_header(bytes, cuts), whole, "a header of the PROXY protocol differs by its pieces");
    let bytes = &bytes[bytes.len() - whole.1..];
    let (answers, heard) = requests(bytes, &[]);
    let (cut_answers, cut_heard) = requests(bytes, cuts);
    assert_eq!(answers, cut_answers, "heads differ by their pieces");
    // What is no request hyper answers with 400 or not at all, by how it comes.
    if let (Some(heard), Some(cut_heard)) = (heard, cut_heard) {
        assert_eq!(without_date(&heard), without_date(&cut_heard), "answers differ by the pieces of the request");
    }
});

fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(count & 7))
}

/// Whom the header names, and how many bytes are left for HTTP.
fn proxy_header(bytes: &[u8], cuts: &[u8]) -> (Option<SocketAddr>, usize) {
    let mut client = Client::new(bytes, cuts);
    let read = run(host::read_proxy_header(&mut client));
    let used = bytes.len() - client.unread().len();
    assert!(used <= LONGEST_PROXY_HEADER, "{used} bytes of a header");
    if !host::begins(bytes) {
        assert!(read.is_err(), "what does not begin is no header");
        return (None, bytes.len());
    }
    match read {
        Ok(named) => {
            if let Some(address) = named.filter(|_| bytes.starts_with(b"PROXY")) {
                named_by_its_line(&bytes[..used], address);
            }
            (named, client.unread().len())
        }
        Err(_) => (None, 0),
    }
}

/// A line of version 1 that was written with what was read would be read as the same.
fn named_by_its_line(line: &[u8], address: SocketAddr) {
    assert!(line.ends_with(b"\r\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1);
    let (family, ip, port) = (if address.is_ipv4() { "TCP4" } else { "TCP6" }, address.ip(), address.port());
    let written = format!("PROXY {family} {ip} {ip} {port} {port}\r\n");
    assert_eq!(run(host::read_proxy_header(&mut written.as_bytes())), Ok(Some(address)), "{written:?}");
}

/// What the host decided of each request, and all that it answered, where each was one. Behind a body that nobody reads hyper goes
/// on or not, by how much of it has come; so what follows one is left out.
fn requests(bytes: &[u8], cuts: &[u8]) -> (Vec<String>, Option<Vec<u8>>) {
    let (decided, had_body) = (RefCell::new(Vec::new()), Cell::new(false));
    let mut client = Client::new(bytes, cuts);
    let service = service_fn(|request: Request<Incoming>| {
        let has_body = !request.body().is_end_stream();
        let (answer, text) = decide(request);
        if !had_body.replace(had_body.get() || has_body) {
            decided.borrow_mut().push(text);
        }
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(8192).max_headers(100);
    let served = run(http.serve_connection(TokioIo::new(&mut client), service));
    (decided.into_inner(), (served.is_ok() && !had_body.get()).then_some(client.heard))
}

/// As `server/http` and `server/upgrade` go about it, without routes and guests.
fn decide(request: Request<Incoming>) -> (Response<Body>, String) {
    let asks = host::asks_for_websocket(&request);
    let (head, _) = request.into_parts();
    let headers = &head.headers;
    let path = normalize(head.uri.path());
    let checked = host::check(&head);
    if let Ok(upgrade) = &checked {
        is_an_upgrade(&head, upgrade);
    }
    let server = host::host(&head.uri, head.version, headers).unwrap_or_default();
    let origins = (own_origin(headers, server), host::check_origin(headers, server, &[LISTED.into()]).is_ok());
    let peer = peers(headers);
    let agreed = [9, 12, 15].map(|most| agreed(headers, most));
    let text = format!("{path:?} {asks} {checked:?} {origins:?} {peer:?} {agreed:?}");
    let answer = match (path, checked) {
        (None, _) => Refusal::BadPath.response(),
        (_, Err(refusal)) => refusal.response(),
        (_, Ok(_)) => Refusal::NotFound.response(),
    };
    (answer, text)
}

fn is_an_upgrade(head: &request::Parts, upgrade: &host::Upgrade) {
    let count = |name| head.headers.get_all(name).iter().count();
    assert_eq!(head.method, http::Method::GET);
    assert_eq!((count(HOST), count(SEC_WEBSOCKET_KEY), count(TRANSFER_ENCODING)), (1, 1, 0));
    assert!(head.headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0"), "it has a body");
    assert!(upgrade.key.as_ref().is_some_and(|key| key.len() == 24 && key.is_ascii()));
    assert!(upgrade.subprotocols.iter().all(|offer| host::is_token(offer) && HeaderValue::from_str(offer).is_ok()));
}

/// Whether a page of this origin may connect where no origin is listed: then its host is the server's.
fn own_origin(headers: &HeaderMap, server: &str) -> bool {
    let passes = host::check_origin(headers, server, &[]).is_ok();
    let listed = host::check_origin(headers, server, &[LISTED.into()]).is_ok();
    let any = host::check_origin(headers, server, &["*".into()]).is_ok();
    assert!(listed >= passes && any >= listed, "who lists more lets in more");
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        assert_eq!(passes, headers.get(ORIGIN).is_none(), "of two origins none counts");
        return passes;
    };
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let server = server.to_ascii_lowercase();
    let name = |text: &str| text.trim_end_matches(":80").trim_end_matches(":443").to_owned();
    if passes {
        let scheme = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
        assert_eq!(scheme.map(name), Some(name(&server)), "{origin:?} on {server:?}");
    } else {
        assert!(!listed || origin == LISTED, "{origin:?}");
    }
    passes
}

/// Who sent it, by each header. What a trusted proxy appends counts, whatever a client sent before.
fn peers(headers: &HeaderMap) -> [SocketAddr; 2] {
    let address = "192.0.2.1:0";
    let of_list = [("192.0.2.1", address), ("\"192.0.2.1\"", address)];
    let of_pairs = [
        ("for=192.0.2.1", address),
        ("for=\"192.0.2.1\"", address),
        ("by=10.0.0.1;for=\"192.0.2.1:80\";host=\"a, b\"", "192.0.2.1:80"),
    ];
    [
        peer(headers, (ForwardedHeader::XForwardedFor, "x-forwarded-for"), &of_list),
        peer(headers, (ForwardedHeader::Forwarded, FORWARDED.as_str()), &of_pairs),
    ]
}

fn peer(headers: &HeaderMap, (forwarded, name): (ForwardedHeader, &str), words: &[(&str, &str)]) -> SocketAddr {
    let (proxy, stranger): (SocketAddr, SocketAddr) = (parse(PROXY), parse("192.0.2.9:5"));
    let trusted = ["10.0.0.0/8"].map(|text| parse_network(text).expect("a network")).into();
    let proxies = ProxiesConfig { trusted, forwarded, protocol: false };
    assert_eq!(host::of_request(&proxies, stranger, headers), stranger, "a stranger was believed");
    for (word, said) in words {
        let mut lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes().to_vec()).collect();
        lines.push(word.as_bytes().to_vec());
        assert_eq!(host::of_request(&proxies, proxy, &with(name, &lines)), parse(said), "a proxy was not heard");
        // One that appends to the last line: then its word counts, or the proxy itself is taken for the client.
        let own = lines.pop().expect("it was pushed");
        let Some(last) = lines.last_mut() else { continue };
        last.extend([b", ", &own[..]].concat());
        let peer = host::of_request(&proxies, proxy, &with(name, &lines));
        assert!(
            peer == parse(said) || peer == proxy,
            "{peer} was believed: {:?}",
            String::from_utf8_lossy(&lines.concat())
        );
    }
    let peer = host::of_request(&proxies, proxy, headers);
    assert_eq!(peer.ip().to_canonical(), peer.ip(), "IPv4 as IPv6");
    peer
}

fn with(name: &str, lines: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let value = HeaderValue::from_bytes(line).expect("what was a value, and a comma");
        headers.append(name.parse::<http::HeaderName>().expect("a name"), value);
    }
    headers
}

fn parse(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// The answer to the offers: one that the client would take, and that a server would give to itself.
fn agreed(headers: &HeaderMap, most: u8) -> Option<String> {
    let agreed = host::agree(headers, most)?;
    assert!((9..=most).contains(&agreed.window_bits), "{agreed:?} of at most {most}");
    let answer = agreed.answer();
    let mut offer = HeaderMap::new();
    offer.append(http::header::SEC_WEBSOCKET_EXTENSIONS, answer.parse().expect("a value"));
    let again = host::agree(&offer, most).expect("an answer is a good offer");
    assert_eq!((again.window_bits, again.answer()), (agreed.window_bits, answer.clone()));
    Some(answer)
}

/// All lines but those with the time.
fn without_date(heard: &[u8]) -> Vec<&[u8]> {
    heard.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"date:")).collect()
}
