//! Where a client's token is looked for.
//!
//! Configuration: `source`, some of `header`, `query` and `subprotocol` with commas between them, looked at in that order; the
//! default is `header, query`. A token in a query may end up in the logs of proxies: let it live for a minute only.
//!
//! `subprotocol` is `new WebSocket(url, ["bearer", token])`. A browser gives up where none of its offers is chosen, and a gate
//! cannot choose one: the route's handler must take `bearer` (`Accept::new().subprotocol("bearer")`; the first-party handlers
//! do not), and of a refusal such a page learns no more than 1006. Prefer the query for pages.

use switchboard_sdk::{Request, config};

enum Source {
    Header,
    Query,
    Subprotocol,
}

/// The places, in the order in which they are looked at.
pub struct Sources(Vec<Source>);

impl Sources {
    /// Reads the configuration; panics where it names another place.
    pub fn configured() -> Self {
        let names = config::list("source").unwrap_or_else(|| vec!["header".to_owned(), "query".to_owned()]);
        assert!(!names.is_empty(), "the configuration of \"source\" is empty; leave it out for \"header, query\"");
        Self(names.iter().map(|name| Source::named(name)).collect())
    }

    /// The first token that is not empty.
    pub fn token<'a>(&self, request: &'a Request) -> Option<&'a str> {
        self.0.iter().filter_map(|source| source.token(request)).find(|token| !token.is_empty())
    }
}

impl Source {
    fn named(name: &str) -> Self {
        match name {
            "header" => Self::Header,
            "query" => Self::Query,
            "subprotocol" => Self::Subprotocol,
            _ => {
                panic!("the configuration of \"source\" has \"header\", \"query\" and \"subprotocol\", not \"{name}\"")
            }
        }
    }

    fn token<'a>(&self, request: &'a Request) -> Option<&'a str> {
        match self {
            Self::Header => bearer(request.header("authorization")?),
            Self::Query => request.query("token"),
            Self::Subprotocol => after_bearer(request.subprotocols()),
        }
    }
}

/// The scheme's name is written in any case (RFC 9110, section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The offer that follows `bearer`.
fn after_bearer(offers: &[String]) -> Option<&str> {
    let at = offers.iter().position(|offer| offer == "bearer")?;
    offers.get(at + 1).map(String::as_str)
}
