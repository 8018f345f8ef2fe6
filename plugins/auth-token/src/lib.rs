//! A gate that lets in who has a known token, and tells the plugins further in who that is.
//!
//! The token comes in the query (`?token=...`, since a browser cannot set headers for a WebSocket) or as
//! `Authorization: Bearer ...`. Without one the client is opened and closed with 1008 "Authentication required", with an
//! unknown one with 1008 "Unauthorized". A good one sets the named state `user` (JSON text) and passes.
//!
//! Configuration: `tokens`, as `token1=ann, token2=bob`; without it nobody gets in, and the log says why. `refuse = "http"`
//! answers 401 in place of the WebSocket, which a browser's page cannot tell from other failures.

use std::hint::black_box;

use switchboard_sdk::{Close, Connection, Gate, Pass, Refusal, Request, config, export, log};

struct AuthToken {
    /// Tokens with the users that they stand for.
    tokens: Vec<(String, String)>,
    refusal: Refusing,
}

/// How a client is refused.
enum Refusing {
    Close,
    Http,
}

impl Default for AuthToken {
    /// Reads the configuration, once for each instance. One that does not say what it must panics, and no version of this
    /// plugin lets anyone in by mistake.
    fn default() -> Self {
        let entries = config::list("tokens").unwrap_or_else(|| {
            log::error("no \"tokens\" are configured, so nobody gets in");
            Vec::new()
        });
        let refusal = match config::get("refuse").as_deref() {
            None | Some("close") => Refusing::Close,
            Some("http") => Refusing::Http,
            Some(other) => panic!("the configuration of \"refuse\" is \"close\" or \"http\", not \"{other}\""),
        };
        Self { tokens: entries.iter().map(|entry| token_and_user(entry)).collect(), refusal }
    }
}

impl Gate for AuthToken {
    fn connect(&self, connection: &Connection, request: &Request) -> Result<Pass, Refusal> {
        let token = offered(request).ok_or_else(|| self.refuse("Authentication required"))?;
        let user = self.user(token).ok_or_else(|| self.refuse("Unauthorized"))?;
        connection.set_state("user", user)?;
        Ok(Pass::new())
    }
}

impl AuthToken {
    /// Looks at every token, whichever fits, so that the time it takes tells nothing.
    fn user(&self, offered: &str) -> Option<&str> {
        let mut found = None;
        for (token, user) in &self.tokens {
            if same(token.as_bytes(), offered.as_bytes()) {
                found = Some(user.as_str());
            }
        }
        found
    }

    fn refuse(&self, reason: &str) -> Refusal {
        match self.refusal {
            Refusing::Close => Close::policy(reason).into(),
            Refusing::Http => Refusal::respond(401, reason).header("www-authenticate", "Bearer"),
        }
    }
}

/// The token of the query, or of the header; an empty one is none.
fn offered(request: &Request) -> Option<&str> {
    let query = request.query("token").filter(|token| !token.is_empty());
    query.or_else(|| bearer(request.header("authorization")?)).filter(|token| !token.is_empty())
}

/// The scheme's name is written in any case (RFC 9110, section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn token_and_user(entry: &str) -> (String, String) {
    // The last '=', since base64 tokens may end with some.
    let pair = entry.rsplit_once('=').map(|(token, user)| (token.trim(), user.trim()));
    match pair {
        Some((token, user)) if !token.is_empty() && !user.is_empty() => (token.to_owned(), user.to_owned()),
        _ => panic!("the configuration of \"tokens\" is like \"token1=ann, token2=bob\""),
    }
}

/// Compares in a time that depends on the lengths alone. `black_box` keeps the compiler from leaving early.
fn same(left: &[u8], right: &[u8]) -> bool {
    let pairs = left.iter().zip(right);
    let differing = pairs.fold(0, |bits, (l, r)| black_box(bits | (l ^ r)));
    left.len() == right.len() && differing == 0
}

export!(AuthToken: gate);

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_sdk::testing::{FakeHost, FakeRequest, expect_fault};

    fn host() -> FakeHost {
        FakeHost::new().config("tokens", "abc==ann, def=bob")
    }

    #[test]
    fn a_good_token_passes_and_names_its_user() {
        let host = host();
        let by_query = host.connection("/ws?token=abc%3D");
        assert!(by_query.connect_gate::<AuthToken>().is_ok());
        assert_eq!(by_query.state::<String>("user").as_deref(), Some("ann"));
        let by_header = host.connection(FakeRequest::new("/ws").header("Authorization", "bearer def"));
        assert!(by_header.connect_gate::<AuthToken>().is_ok());
        assert_eq!(by_header.state::<String>("user").as_deref(), Some("bob"));
    }

    #[test]
    fn no_token_needs_authentication() {
        for target in ["/ws", "/ws?token=", "/ws?user=ann"] {
            let refusal = host().connection(target).connect_gate::<AuthToken>().unwrap_err();
            assert_eq!(refusal, Close::policy("Authentication required").into());
        }
    }

    #[test]
    fn a_wrong_token_is_unauthorized() {
        for token in ["wrong", "ab", "abc", "abc==", "def%00"] {
            let client = host().connection(format!("/ws?token={token}").as_str());
            let refusal = client.connect_gate::<AuthToken>().unwrap_err();
            assert_eq!(refusal, Close::policy("Unauthorized").into());
            assert_eq!(client.state::<String>("user"), None);
        }
    }

    #[test]
    fn refusals_are_http_where_so_configured() {
        let host = host().config("refuse", "http");
        for target in ["/ws", "/ws?token=wrong"] {
            let refusal = host.connection(target).connect_gate::<AuthToken>().unwrap_err();
            assert_eq!(refusal.status(), Some(401));
        }
    }

    #[test]
    fn without_tokens_nobody_gets_in() {
        let host = FakeHost::new();
        assert!(host.connection("/ws?token=abc").connect_gate::<AuthToken>().is_err());
        assert_eq!(host.take_log(), ["error: no \"tokens\" are configured, so nobody gets in"]);
    }

    #[test]
    fn a_configuration_that_is_none_faults() {
        let client = FakeHost::new().config("tokens", "abc").connection("/ws?token=abc");
        let text = expect_fault(|| drop(client.connect_gate::<AuthToken>()));
        assert!(text.contains("token1=ann"), "{text}");
    }
}
