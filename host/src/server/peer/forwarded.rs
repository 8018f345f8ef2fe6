//! The addresses in `X-Forwarded-For` and `Forwarded` (RFC 7239), as far as they are addresses.
//!
//! Parsing only: whom to believe is decided in `server/peer`. Several lines of a header are one list.
//! Invariant: each element that somebody appended is an element here, in its place, whatever stands before it in other
//! elements; what is not understood is none and never left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;

use crate::config::ForwardedHeader;
use crate::server::head::is_token;

/// A list as it was read, none for each element that gives no address.
pub type Addresses = Vec<Option<SocketAddr>>;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The list of a request, the nearest proxy's word last.
pub fn addresses(header: ForwardedHeader, headers: &HeaderMap) -> Addresses {
    let (lines, read): (_, fn(&str) -> Addresses) = match header {
        ForwardedHeader::XForwardedFor => (headers.get_all(X_FORWARDED_FOR), x_forwarded_for),
        ForwardedHeader::Forwarded => (headers.get_all(FORWARDED), forwarded),
        ForwardedHeader::None => return Vec::new(),
    };
    lines.iter().flat_map(|line| line.to_str().map_or_else(|_| vec![None], read)).collect()
}

fn x_forwarded_for(line: &str) -> Addresses {
    line.split(',').map(|element| node(unquote_whole(element.trim()))).collect()
}

/// Some proxies quote addresses here too.
fn unquote_whole(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn forwarded(line: &str) -> Addresses {
    split(line, ',').into_iter().map(forwarded_for).collect()
}

/// The `for` of one element. Every pair has to be well formed, its name included, so that a quote which a client left open, and
/// what a proxy wrote behind it, cannot pass for a pair.
fn forwarded_for(element: &str) -> Option<SocketAddr> {
    let mut found = None;
    for pair in split(element, ';') {
        let (name, value) = pair.trim().split_once('=')?;
        let value = value_of(value).filter(|_| is_token(name))?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    node(&found?)
}

/// Splits where the separator is not quoted (RFC 9110, section 5.6.4). A quote that is left open takes the rest.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A value without its quotes; none where it is neither quoted as a whole nor free of quotes and spaces. Colons and
/// brackets, which would have to be quoted, are taken without as well.
fn value_of(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let allowed = |c: char| c.is_ascii_graphic() && !"\"\\=".contains(c);
        return (!text.is_empty() && text.chars().all(allowed)).then(|| text.to_owned());
    };
    let (mut value, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
    characters.next().is_none().then_some(value)
}

/// An address with or without a port (RFC 7239, section 6); the port is 0 where it is not told. `unknown` and hidden
/// names such as `_proxy` are none.
fn node(text: &str) -> Option<SocketAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        return with_port(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), behind);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, 0));
    }
    let (address, behind) = text.split_at(text.find(':')?);
    with_port(IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), behind)
}

fn with_port(address: IpAddr, behind: &str) -> Option<SocketAddr> {
    let port = match behind.strip_prefix(':') {
        None if behind.is_empty() => 0,
        None => return None,
        Some(hidden) if hidden.starts_with('_') => hidden[1..].chars().all(is_of_hidden_name).then_some(0)?,
        Some(port) => Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?,
    };
    Some(SocketAddr::new(address, port))
}

fn is_of_hidden_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: Addresses) -> Vec<String> {
        addresses.into_iter().map(|address| address.map_or("-".to_owned(), |address| address.to_string())).collect()
    }

    #[test]
    fn addresses_come_with_and_without_ports_and_brackets() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("192.0.2.1:_hidden", "192.0.2.1:0"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
            ("[2001:db8::1]:_a.b-c", "[2001:db8::1]:0"),
        ] {
            assert_eq!(shown(vec![node(text)]), [expected], "{text}");
        }
        for text in [
            "",
            "unknown",
            "_hidden",
            "_SEVKISEK",
            "localhost",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:+80",
            "192.0.2.1:80:80",
            "192.0.2.1:_a b",
            "192.0.2.1 ",
            "[192.0.2.1]",
            "[2001:db8::1",
            "[2001:db8::1]80",
            "[]",
            "[2001:db8::1%eth0]",
            "2001:db8::1:99999",
            "192.0.2.01",
        ] {
            assert_eq!(node(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_of_x_forwarded_for_keeps_its_order_and_its_gaps() {
        let list = x_forwarded_for("192.0.2.1,  [2001:db8::1]:80 ,\"192.0.2.2\", , x");
        assert_eq!(shown(list), ["192.0.2.1:0", "[2001:db8::1]:80", "192.0.2.2:0", "-", "-"]);
    }

    #[test]
    fn the_examples_of_rfc_7239_are_understood() {
        for (line, expected) in [
            ("for=\"_gazonk\"", &["-"][..]),
            ("For=\"[2001:db8:cafe::17]:4711\"", &["[2001:db8:cafe::17]:4711"]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60:0"]),
            ("for=192.0.2.43, for=198.51.100.17", &["192.0.2.43:0", "198.51.100.17:0"]),
            ("for=_hidden, for=_SEVKISEK", &["-", "-"]),
            ("for=unknown", &["-"]),
            ("for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown", &["192.0.2.43:0", "[2001:db8:cafe::17]:0", "-"]),
            ("proto=https; for=\"192.0.2.1:80\" ;by=_me", &["192.0.2.1:80"]),
        ] {
            assert_eq!(shown(forwarded(line)), expected, "{line}");
        }
    }

    #[test]
    fn commas_semicolons_and_quotes_may_be_quoted() {
        let line = r#"for=192.0.2.1;a="x,y;z\",for=203.0.113.1", for="192.0\.2.2""#;
        assert_eq!(shown(forwarded(line)), ["192.0.2.1:0", "192.0.2.2:0"]);
    }

    #[test]
    fn a_malformed_pair_spoils_its_element_and_only_this() {
        for element in [
            "",
            "for",
            "for=",
            "for=192.0.2.1;",
            "for=192.0.2.1;x",
            "for=192.0.2.1;=x",
            "for=192.0.2.1;a b=x",
            "for=192.0.2.1;a\"\"=x",
            "for=192.0.2.1;for=192.0.2.2",
            "for = 192.0.2.1",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\"x",
            "for=192.0.2.1\"",
            "proto=http",
            "for=\"192.0.2.1\\",
        ] {
            assert_eq!(forwarded_for(element), None, "{element}");
            let list = shown(forwarded(&format!("for=192.0.2.9,{element}")));
            assert_eq!(list, ["192.0.2.9:0", "-"], "{element}");
        }
    }

    #[test]
    fn a_line_that_is_no_text_is_one_element_that_is_not_understood() {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "192.0.2.1".parse().expect("a value"));
        headers.append(X_FORWARDED_FOR, http::HeaderValue::from_bytes(b"\xff, 192.0.2.2").expect("a value"));
        assert_eq!(shown(addresses(ForwardedHeader::XForwardedFor, &headers)), ["192.0.2.1:0", "-"]);
    }
}
