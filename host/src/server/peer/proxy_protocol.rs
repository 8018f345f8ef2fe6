//! The PROXY protocol, versions 1 and 2: a header before everything else that says whom a proxy speaks for.
//!
//! Reading and parsing; whether a header has to come and from whom is decided in `server/peer`. Additional information
//! in version 2 is passed over.
//! Invariant: not one byte behind the header is read, and no more than the longest header that there may be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How many bytes tell whether there is a header.
pub const SIGNATURE: usize = V2.len();

const V1: &[u8] = b"PROXY ";
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest line of version 1: `PROXY UNKNOWN` and its end. Every header is at least so long.
const SHORTEST: usize = 15;
/// The longest line of version 1, its end included.
const MAX_V1: usize = 107;
/// What stands before the addresses in version 2.
const FIXED_V2: usize = 16;
/// The longest header of version 2: what the smallest IPv4 host takes in one segment.
const MAX_V2: usize = 536;

/// Why a socket is closed before any HTTP was read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// It is no header, or a wrong one.
    #[error("a header of the PROXY protocol was expected from this proxy, and {0}")]
    Malformed(&'static str),
    /// It did not come whole within the time for a head.
    #[error("no whole header of the PROXY protocol came from this address in time")]
    Late,
    /// Somebody speaks for others who may not.
    #[error("a header of the PROXY protocol came from an address that is not among `trusted-proxies`")]
    Untrusted,
    /// The socket was closed without a byte, as health checks do.
    #[error("it was gone")]
    Gone,
}

/// Whether a connection begins with a header.
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(V1) || bytes.starts_with(V2)
}

/// Reads a header; none where it keeps the address of the socket: LOCAL, UNKNOWN, and what has no IP address.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, BadHeader> {
    let mut header = Vec::with_capacity(MAX_V1);
    more(stream, &mut header, SHORTEST).await?;
    if header.starts_with(V1) {
        return read_v1(stream, header).await;
    }
    if header.starts_with(V2) {
        return read_v2(stream, header).await;
    }
    Err(BadHeader::Malformed("something else came"))
}

/// Reads exactly so many bytes.
async fn more(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>, count: usize) -> Result<(), BadHeader> {
    let read = stream.take(count as u64).read_to_end(header).await;
    match read {
        Ok(read) if read == count => Ok(()),
        _ if header.is_empty() => Err(BadHeader::Gone),
        _ => Err(BadHeader::Malformed("it ended within the header")),
    }
}

/// Reads the rest of a line: two bytes at once, as long as its end cannot be nearer.
async fn read_v1(stream: &mut (impl AsyncRead + Unpin), mut line: Vec<u8>) -> Result<Option<SocketAddr>, BadHeader> {
    while !line.ends_with(b"\r\n") {
        let missing = if line.ends_with(b"\r") { 1 } else { 2 };
        if line.len() + missing > MAX_V1 {
            return Err(BadHeader::Malformed("its line is too long"));
        }
        more(stream, &mut line, missing).await?;
    }
    let line = std::str::from_utf8(&line[V1.len()..line.len() - 2]).ok();
    line.and_then(parse_v1).ok_or(BadHeader::Malformed("its line is malformed"))
}

/// `TCP4 SOURCE DESTINATION PORT PORT`, or `UNKNOWN` and whatever follows it.
fn parse_v1(line: &str) -> Option<Option<SocketAddr>> {
    let words: Vec<_> = line.split(' ').collect();
    let (family, source, port) = match words[..] {
        ["UNKNOWN", ..] => return Some(None),
        [family, source, destination, port, other] => {
            address(family, destination)?;
            parse_port(other)?;
            (family, source, port)
        }
        _ => return None,
    };
    Some(Some(SocketAddr::new(address(family, source)?, parse_port(port)?)))
}

fn address(family: &str, text: &str) -> Option<IpAddr> {
    match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    }
}

/// Digits without a sign.
fn parse_port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin), mut header: Vec<u8>) -> Result<Option<SocketAddr>, BadHeader> {
    more(stream, &mut header, FIXED_V2 - SHORTEST).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if FIXED_V2 + length > MAX_V2 {
        return Err(BadHeader::Malformed("it is too long"));
    }
    more(stream, &mut header, length).await?;
    parse_v2(&header)
}

/// A whole header: version and command, family and transport, length, then the addresses.
fn parse_v2(header: &[u8]) -> Result<Option<SocketAddr>, BadHeader> {
    let addresses = &header[FIXED_V2..];
    match header[12] {
        // The proxy speaks for itself; the rest has no meaning.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(BadHeader::Malformed("its version or command is unknown")),
    }
    let found = match header[13] {
        0x11 | 0x12 => addresses.first_chunk::<12>().map(v4),
        0x21 | 0x22 => addresses.first_chunk::<36>().map(v6),
        // Nothing is said of the family or of the transport, or it is a local socket.
        0x00..=0x02 | 0x10 | 0x20 | 0x30..=0x32 => return Ok(None),
        _ => return Err(BadHeader::Malformed("its family or transport is unknown")),
    };
    found.map(Some).ok_or(BadHeader::Malformed("its addresses are cut short"))
}

/// Source and destination of 4 bytes each, then their ports.
fn v4(addresses: &[u8; 12]) -> SocketAddr {
    let [a, b, c, d, _, _, _, _, port @ .., _, _] = *addresses;
    SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes(port))
}

/// Source and destination of 16 bytes each, then their ports.
fn v6(addresses: &[u8; 36]) -> SocketAddr {
    let mut source = [0; 16];
    source.copy_from_slice(&addresses[..16]);
    SocketAddr::new(Ipv6Addr::from(source).into(), u16::from_be_bytes([addresses[32], addresses[33]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header with a request behind it, of which nothing may be missing.
    async fn read_from(header: &[u8]) -> Result<Option<String>, BadHeader> {
        let bytes = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
        let mut stream = &bytes[..];
        let read = read(&mut stream).await?;
        assert_eq!(stream, b"GET / HTTP/1.1\r\n\r\n", "{:?}", String::from_utf8_lossy(header));
        Ok(read.map(|address| address.to_string()))
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = (addresses.len() as u16).to_be_bytes();
        [&V2[..], &[command, family], &length, addresses].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x1F, 0x90, 0, 80];

    #[tokio::test]
    async fn a_line_of_version_1_names_the_client() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\n", Some("192.0.2.1:8080")),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", Some("1.1.1.1:1")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
            ("PROXY TCP6 2001:db8::1 ::1 0 80\r\n", Some("[2001:db8::1]:0")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            assert_eq!(read_from(line.as_bytes()).await, Ok(expected.map(str::to_owned)), "{line}");
        }
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
        let expected = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".to_owned();
        assert_eq!(read_from(longest.as_bytes()).await, Ok(Some(expected)));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 16));
        assert_eq!((longest.len(), read_from(longest.as_bytes()).await), (MAX_V1, Ok(None)));
    }

    #[tokio::test]
    async fn a_malformed_line_of_version_1_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\n\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080 80 1\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 8080 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080 65536\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +808 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1  80\r\n",
            "PROXY TCP4 192.0.2.1 elsewhere 8080 80\r\n",
            "PROXY TCP4 ::1 ::1 8080 80\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 8080 80\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 8080 80\r\n",
            "PROXY unknown 192.0.2.1\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\r\n",
        ] {
            assert_eq!(read_from(line.as_bytes()).await, Err(BadHeader::Malformed("its line is malformed")), "{line}");
        }
        let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 15));
        assert_eq!(read_from(longer.as_bytes()).await, Err(BadHeader::Malformed("its line is too long")));
        assert!(read_from(&[b'\r'; 200]).await.is_err());
        assert!(read_from(&[V1, &[b'\r'; 200]].concat()).await.is_err());
    }

    #[tokio::test]
    async fn a_header_of_version_2_names_the_client() {
        let six =
            [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[1; 16], &[0x1F, 0x90, 0, 80]].concat();
        let more = [&FOUR[..], &[4, 0, 3, b'a', b'b', b'c']].concat();
        let longest = [&FOUR[..], &[0; MAX_V2 - FIXED_V2 - 12]].concat();
        for (header, expected) in [
            (v2(0x21, 0x11, &FOUR), Some("192.0.2.1:8080")),
            (v2(0x21, 0x12, &FOUR), Some("192.0.2.1:8080")),
            (v2(0x21, 0x11, &more), Some("192.0.2.1:8080")),
            (v2(0x21, 0x11, &longest), Some("192.0.2.1:8080")),
            (v2(0x21, 0x21, &six), Some("[2001:db8::7]:8080")),
            (v2(0x20, 0x11, &FOUR), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0xFF, b"whatever"), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x00, &[0; 40]), None),
            (v2(0x21, 0x10, &FOUR), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            assert_eq!(read_from(&header).await, Ok(expected.map(str::to_owned)), "{header:x?}");
        }
    }

    #[tokio::test]
    async fn a_malformed_header_of_version_2_is_refused() {
        for header in [
            v2(0x11, 0x11, &FOUR),
            v2(0x22, 0x11, &FOUR),
            v2(0x21, 0x13, &FOUR),
            v2(0x21, 0x41, &FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &[0; MAX_V2 - FIXED_V2 + 1]),
            v2(0x20, 0x00, &[0; 65535]),
        ] {
            let read = read_from(&header).await;
            assert!(matches!(read, Err(BadHeader::Malformed(_))), "{read:?} {:x?}", &header[..FIXED_V2]);
        }
    }

    #[tokio::test]
    async fn what_ends_early_is_refused_and_what_never_began_is_gone() {
        let whole = [b"PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\n".to_vec(), v2(0x21, 0x11, &FOUR)];
        for whole in whole {
            for length in 1..whole.len() {
                let read = read(&mut &whole[..length]).await;
                assert_eq!(read, Err(BadHeader::Malformed("it ended within the header")), "{length}");
            }
        }
        assert_eq!(read(&mut &b""[..]).await, Err(BadHeader::Gone));
        let read = read(&mut &b"GET /ws HTTP/1.1\r\n\r\n"[..]).await;
        assert_eq!(read, Err(BadHeader::Malformed("something else came")));
    }

    #[test]
    fn both_versions_are_known_by_their_first_bytes() {
        assert!(begins(b"PROXY TCP4 1") && begins(&v2(0x21, 0x11, &FOUR)));
        assert!(!begins(b"PROXY") && !begins(b"GET / HTTP/1") && !begins(&V2[..11]) && !begins(b""));
    }
}
