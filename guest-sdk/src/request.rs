//! The HTTP request that asked for a connection, read the way a plugin wants it.
//!
//! Nothing is parsed before it is asked for, except that headers arrive with their names in lower case. Repeated headers and
//! query keys are kept in their order; the raw query string is there as well. A request never changes.

use std::{borrow::Cow, cell::OnceCell, error::Error, fmt, str::FromStr};

use percent_encoding::percent_decode_str;

use crate::host::types;

/// The request that opened a connection (WIT: `types.request`).
#[derive(Debug, Clone)]
pub struct Request {
    raw: types::Request,
    query: OnceCell<Vec<(String, String)>>,
}

/// A capture of the route's pattern is not there, or is not of the type that the plugin wants. With `?` it refuses the
/// request with 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadParam {
    name: String,
    value: Option<String>,
}

impl Request {
    /// The path as routed: normalized, still percent-encoded.
    pub fn path(&self) -> &str {
        &self.raw.path
    }

    /// A capture of the route's pattern, decoded: `request.param::<u64>("id")` for the route `/ws/{id}`.
    pub fn param<T: FromStr>(&self, name: &str) -> Result<T, BadParam> {
        let found = self.params().find(|(key, _)| *key == name).map(|(_, value)| value);
        let value = found.and_then(|value| value.parse().ok());
        value.ok_or_else(|| BadParam { name: name.to_owned(), value: found.map(str::to_owned) })
    }

    /// All captures, decoded, in the pattern's order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(&self.raw.params)
    }

    /// The query as it came, without the `?`; empty where there is none.
    pub fn query_string(&self) -> &str {
        &self.raw.query
    }

    /// The first value of a query key, decoded. `?user` gives an empty value, and no `user` at all gives none.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query_all(name).next()
    }

    /// All values of a query key, decoded, in the order of the query.
    pub fn query_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.queries().filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All keys and values of the query, decoded, in its order. What is not UTF-8 is replaced with U+FFFD.
    pub fn queries(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(self.query.get_or_init(|| decode_query(&self.raw.query)))
    }

    /// The first value of a header; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_all(name).next()
    }

    /// All values of a header in the order of arrival; the name in any case.
    pub fn header_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in the order of arrival, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.raw.headers.iter().map(|header| (header.name.as_str(), header.value.as_str()))
    }

    /// The first cookie of this name; the case counts (RFC 6265, section 5.4).
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All cookies, as they came but for quotes around a value.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.header_all("cookie").flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim(), unquote(value.trim())))
        })
    }

    /// What the client offered in `Sec-WebSocket-Protocol`, in its order.
    pub fn subprotocols(&self) -> &[String] {
        &self.raw.subprotocols
    }

    /// Whether the client offered this subprotocol; the case counts.
    pub fn offers(&self, subprotocol: &str) -> bool {
        self.raw.subprotocols.iter().any(|offered| offered == subprotocol)
    }

    /// `ip:port` of the client; behind a trusted proxy, the address that the proxy reports.
    pub fn peer(&self) -> &str {
        &self.raw.peer
    }

    /// What else the host tells, by name: `host`, `scheme`, `route`, `tenant`, and what later hosts add.
    pub fn detail(&self, name: &str) -> Option<&str> {
        pairs(&self.raw.details).find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl From<types::Request> for Request {
    fn from(raw: types::Request) -> Self {
        Self { raw, query: OnceCell::new() }
    }
}

impl fmt::Display for BadParam {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(out, "the path parameter \"{}\" cannot be \"{value}\"", self.name),
            None => write!(out, "the route has no path parameter \"{}\"", self.name),
        }
    }
}

impl Error for BadParam {}

fn pairs(list: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    list.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// As HTML forms write it: `+` is a space, and a key without `=` has an empty value.
fn decode_query(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use crate::testing::FakeRequest;

    #[test]
    fn repeated_query_keys_are_kept_in_order_beside_the_raw_string() {
        let request = FakeRequest::new("/ws?tag=a%20b&tag=c+d&flag&x=caf%C3%A9").build();
        assert_eq!(request.query_all("tag").collect::<Vec<_>>(), ["a b", "c d"]);
        assert_eq!((request.query("flag"), request.query("none")), (Some(""), None));
        assert_eq!(request.query("x"), Some("café"));
        assert_eq!(request.query_string(), "tag=a%20b&tag=c+d&flag&x=caf%C3%A9");
    }

    #[test]
    fn headers_are_found_in_any_case_and_cookies_in_their_own() {
        let request = FakeRequest::new("/ws").header("X-One", "1").header("Cookie", "a=1; B=\"two\"; c").build();
        assert_eq!(request.header("x-oNE"), Some("1"));
        assert_eq!((request.cookie("a"), request.cookie("B"), request.cookie("b")), (Some("1"), Some("two"), None));
    }

    #[test]
    fn a_param_has_the_type_that_was_asked_for() {
        let request = FakeRequest::new("/ws/42").param("id", "42").param("name", "x").build();
        assert_eq!(request.param::<u64>("id"), Ok(42));
        let error = request.param::<u64>("name").unwrap_err();
        assert_eq!(error.to_string(), "the path parameter \"name\" cannot be \"x\"");
    }
}
