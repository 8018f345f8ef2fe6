//! Whose connection it is: the address of the socket, or the one that trusted proxies report for it.
//!
//! Asked by `server/http` once for each socket and once for each request. The PROXY protocol speaks for the whole socket,
//! a header for one request; each is believed only from an address that the configuration trusts.
//! Invariant: no byte that an untrusted address sends changes the address that guests are told.

mod forwarded;
mod proxy_protocol;

use std::net::SocketAddr;

use http::HeaderMap;
use tokio::time::timeout;

use self::proxy_protocol::BadHeader;
use super::stream::Stream;
use super::worker::Worker;
use crate::config::ProxiesConfig;
use crate::id::ConnectionId;
use crate::metrics::Failure;

/// Who is at the other end of a socket. Reads the header of the PROXY protocol where there has to be one, and nothing
/// behind it; none where the socket is to be closed.
pub async fn of_socket(worker: &Worker, stream: &mut Stream) -> Option<SocketAddr> {
    let socket = canonical(stream.peer()?);
    let layout = worker.plan();
    let proxies = &layout.plan.proxies;
    if !proxies.protocol {
        return Some(socket);
    }
    let mut stopping = worker.shared().stopping.subscribe();
    let header = timeout(worker.limits().head(), reported(proxies, socket, stream));
    let header = tokio::select! {
        header = header => header.unwrap_or(Err(BadHeader::Late)),
        _ = stopping.wait_for(|stopping| *stopping) => return None,
    };
    header.map_err(|reason| refuse(worker, (socket, proxies.trust(socket.ip())), &reason)).ok()
}

/// Who sent a request that came from this address.
pub fn of_request(proxies: &ProxiesConfig, from: SocketAddr, headers: &HeaderMap) -> SocketAddr {
    if !proxies.trust(from.ip()) {
        return from;
    }
    let mut client = from;
    for reported in forwarded::addresses(proxies.forwarded, headers).into_iter().rev() {
        // What is not understood ends the list: nobody vouches for what stands before it.
        let Some(reported) = reported else { break };
        client = canonical(reported);
        if !proxies.trust(client.ip()) {
            break;
        }
    }
    client
}

async fn reported(proxies: &ProxiesConfig, socket: SocketAddr, stream: &mut Stream) -> Result<SocketAddr, BadHeader> {
    if proxies.trust(socket.ip()) {
        return Ok(proxy_protocol::read(stream).await?.map_or(socket, canonical));
    }
    // A header comes in one piece unless somebody takes pains; then HTTP refuses it as a malformed request.
    let mut first = [0; proxy_protocol::SIGNATURE];
    let length = stream.peek(&mut first).await.map_err(|_| BadHeader::Gone)?;
    if proxy_protocol::begins(&first[..length]) { Err(BadHeader::Untrusted) } else { Ok(socket) }
}

/// Said once aloud, so that a client cannot flood the log; counted each time.
fn refuse(worker: &Worker, (socket, is_trusted): (SocketAddr, bool), reason: &BadHeader) {
    match reason {
        BadHeader::Gone => return,
        // It owed no header, so it is late with its request.
        BadHeader::Late if !is_trusted => {
            worker.metrics().fail(Failure::BadHead, ConnectionId::NONE);
            return;
        }
        _ => {}
    }
    let whose = Failure::BadProxyHeader.whose();
    if worker.metrics().count(Failure::BadProxyHeader) == 0 {
        tracing::warn!(peer = %socket, whose, "a connection was closed: {reason}; further ones are counted, and logged as debug");
    } else {
        tracing::debug!(peer = %socket, whose, "a connection was closed: {reason}");
    }
}

/// An IPv4 address that is written as IPv6 is one of IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ForwardedHeader, parse_network};

    fn proxies(forwarded: ForwardedHeader) -> ProxiesConfig {
        let trusted = ["10.0.0.0/8", "::1", "2001:db8::/32"].map(|text| parse_network(text).expect("a network"));
        ProxiesConfig { trusted: trusted.into(), forwarded, protocol: false }
    }

    /// Who sent a request with these lines of a header.
    fn client(from: &str, header: ForwardedHeader, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = if header == ForwardedHeader::Forwarded { "forwarded" } else { "x-forwarded-for" };
            headers.append(name, line.parse().expect("a value"));
        }
        of_request(&proxies(header), from.parse().expect("an address"), &headers).to_string()
    }

    const PROXY: &str = "10.0.0.1:9";

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1:0"),
            (&["203.0.113.9, 192.0.2.1"], "192.0.2.1:0"),
            (&["203.0.113.9, 192.0.2.1, 10.0.0.2,10.0.0.3"], "192.0.2.1:0"),
            (&["192.0.2.1", "10.0.0.2"], "192.0.2.1:0"),
            (&["203.0.113.9", "192.0.2.1"], "192.0.2.1:0"),
            (&["::ffff:192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1:0"),
            (&["2001:db9::7, 2001:db8::1"], "[2001:db9::7]:0"),
            (&["10.0.0.7, 10.0.0.2"], "10.0.0.7:0"),
            (&[], PROXY),
        ] {
            assert_eq!(client(PROXY, ForwardedHeader::XForwardedFor, lines), expected, "{lines:?}");
        }
        assert_eq!(client("[::1]:9", ForwardedHeader::XForwardedFor, &["192.0.2.1:80"]), "192.0.2.1:80");
    }

    #[test]
    fn what_is_malformed_ends_the_list_with_the_last_good_one() {
        for (line, expected) in [
            ("192.0.2.1, garbage", PROXY),
            ("192.0.2.1, garbage, 10.0.0.2", "10.0.0.2:0"),
            ("192.0.2.1, , 10.0.0.2", "10.0.0.2:0"),
            ("192.0.2.1,", PROXY),
            ("unknown", PROXY),
            ("", PROXY),
            ("garbage, 192.0.2.1", "192.0.2.1:0"),
        ] {
            assert_eq!(client(PROXY, ForwardedHeader::XForwardedFor, &[line]), expected, "{line}");
        }
    }

    #[test]
    fn from_an_untrusted_address_a_header_changes_nothing() {
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            assert_eq!(client("192.0.2.9:5", header, &["for=203.0.113.1"]), "192.0.2.9:5");
            assert_eq!(client("192.0.2.9:5", header, &["203.0.113.1"]), "192.0.2.9:5");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", "for=192.0.2.1".parse().expect("a value"));
        headers.insert("x-forwarded-for", "192.0.2.2".parse().expect("a value"));
        for (header, expected) in [
            (ForwardedHeader::Forwarded, "192.0.2.1:0"),
            (ForwardedHeader::XForwardedFor, "192.0.2.2:0"),
            (ForwardedHeader::None, PROXY),
        ] {
            let from = PROXY.parse().expect("an address");
            assert_eq!(of_request(&proxies(header), from, &headers).to_string(), expected);
        }
    }

    #[test]
    fn a_client_cannot_hide_the_proxies_behind_it_in_a_quote() {
        // What stands before the first comma that a proxy wrote is the client's.
        for line in [
            "for=203.0.113.1, a=\", for=192.0.2.1",
            "for=203.0.113.1;a=\", for=192.0.2.1, for=\"10.0.0.2\"",
            "for=203.0.113.1;a=\", for=192.0.2.1, for=\"10.0.0.2\";by=\"10.0.0.3\"",
            "for=203.0.113.1;a=\"\\, for=192.0.2.1",
        ] {
            assert_eq!(client(PROXY, ForwardedHeader::Forwarded, &[line]), PROXY, "{line}");
        }
        let in_a_line_of_its_own = ["for=203.0.113.1;a=\"", "for=192.0.2.1"];
        assert_eq!(client(PROXY, ForwardedHeader::Forwarded, &in_a_line_of_its_own), "192.0.2.1:0");
    }
}
