//! A gate that lets in who has a signed JSON Web Token (RFC 7519), and tells the plugins further in who that is.
//!
//! The token comes as `Authorization: Bearer ...`, in the query (`?token=...`, since a browser cannot set headers for a
//! WebSocket), or, where so configured, as an offered subprotocol. Without one the client is opened and closed with 1008
//! "Authentication required", with one that is not good in every respect with 1008 "Invalid token"; the log says why at
//! level debug. A good one sets the named state `user` (JSON text) and passes.
//!
//! Configuration: `secret` (HS256) or `public-key` (PEM; RS256 or ES256), see `keys.rs`; `issuer`, `audience`, `user-claim`
//! and `leeway-seconds`, see `claims.rs`; `source`, see `source.rs`; `refuse = "http"` for 401 in place of the WebSocket;
//! `claims = true` for all claims as the named state `claims`. One that cannot be used panics at the first event.
//! Invariant: a key checks the one algorithm that it is made for, whatever a token says of itself.

mod claims;
mod keys;
mod source;
mod token;

use std::time::SystemTime;

use switchboard_sdk::{Close, Connection, Gate, Pass, Refusal, Request, config, export, log};

use crate::claims::{Claims, Policy};
use crate::keys::KeySet;
use crate::source::Sources;
use crate::token::{Rejection, Token};

struct AuthJwt {
    keys: KeySet,
    policy: Policy,
    sources: Sources,
    refusing: Refusing,
    /// Whether the plugins further in are told all claims.
    tells_claims: bool,
}

/// How a client is refused.
enum Refusing {
    Close,
    Http,
}

impl Default for AuthJwt {
    /// Reads the configuration, once for each instance. What cannot be used panics with a sentence for the operator: the
    /// handshakes are then answered with 500, and nobody gets in by mistake.
    fn default() -> Self {
        let refusing = match config::get("refuse").as_deref() {
            None | Some("close") => Refusing::Close,
            Some("http") => Refusing::Http,
            Some(other) => panic!("the configuration of \"refuse\" is \"close\" or \"http\", not \"{other}\""),
        };
        Self {
            keys: KeySet::configured(),
            policy: Policy::configured(),
            sources: Sources::configured(),
            refusing,
            tells_claims: config::parse("claims").unwrap_or_default(),
        }
    }
}

impl Gate for AuthJwt {
    fn connect(&self, connection: &Connection, request: &Request) -> Result<Pass, Refusal> {
        let token = self.sources.token(request).ok_or_else(|| self.refuse(Challenge::Missing))?;
        let claims = self.accept(token, now()).map_err(|rejection| {
            log::debug(format_args!("a token is refused: {rejection}"));
            self.refuse(Challenge::Invalid)
        })?;
        connection.set_state("user", &claims.user)?;
        if self.tells_claims {
            connection.set_state("claims", &claims.all)?;
        }
        Ok(Pass::new())
    }
}

/// What a refused client is told.
#[derive(Clone, Copy)]
enum Challenge {
    Missing,
    Invalid,
}

impl AuthJwt {
    /// The claims of a token that is good at this time, in seconds since the Unix epoch.
    fn accept(&self, token: &str, now: u64) -> Result<Claims, Rejection> {
        let token = Token::parse(token)?;
        self.keys.verify(&token)?;
        self.policy.check(token.claims()?, now)
    }

    /// The header is that of RFC 6750, section 3: an error only where there was a token.
    fn refuse(&self, challenge: Challenge) -> Refusal {
        let (reason, header) = match challenge {
            Challenge::Missing => ("Authentication required", "Bearer"),
            Challenge::Invalid => ("Invalid token", "Bearer error=\"invalid_token\""),
        };
        match self.refusing {
            Refusing::Close => Close::policy(reason).into(),
            Refusing::Http => Refusal::respond(401, reason).header("www-authenticate", header),
        }
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

export!(AuthJwt: gate);

#[cfg(test)]
mod tests;
