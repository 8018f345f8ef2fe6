//! What a token must claim, after its signature was found good (RFC 7519, section 4.1).
//!
//! Configuration: `issuer` and `audience`, each a text that the token must have as `iss`, and as or among `aud`; a token
//! for an audience is refused where none is configured, as the RFC asks. `user-claim` is the claim that names the user,
//! `sub` by default. `leeway-seconds` (0 to 300, 60 by default) is how far the clocks of two machines may lie apart.
//!
//! `exp` must be there. `nbf` and `iat`, where they are, must not lie in the future. All three are seconds in the years 1970
//! to 9999; anything else is no time and is refused.

use serde_json::{Map, Value};
use switchboard_sdk::config;

use crate::token::Rejection;

const DEFAULT_LEEWAY: u64 = 60;
const LONGEST_LEEWAY: u64 = 300;
/// The end of the year 9999, in seconds since the Unix epoch.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// What is asked of every token.
pub struct Policy {
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub user_claim: String,
    /// In seconds.
    pub leeway: u64,
}

/// What a good token says.
#[derive(Debug)]
pub struct Claims {
    /// Never empty.
    pub user: String,
    pub all: Map<String, Value>,
}

impl Policy {
    /// Reads the configuration; panics where it is none.
    pub fn configured() -> Self {
        let leeway = config::parse("leeway-seconds").unwrap_or(DEFAULT_LEEWAY);
        assert!(
            leeway <= LONGEST_LEEWAY,
            "the configuration of \"leeway-seconds\" is 0 to {LONGEST_LEEWAY}, not {leeway}"
        );
        let text = |key: &str| config::get(key).inspect(|text| assert!(!text.is_empty(), "\"{key}\" is empty"));
        let user_claim = text("user-claim").unwrap_or_else(|| "sub".to_owned());
        Self { issuer: text("issuer"), audience: text("audience"), user_claim, leeway }
    }

    /// Whether they are good at this time, in seconds since the Unix epoch.
    pub fn check(&self, claims: Map<String, Value>, now: u64) -> Result<Claims, Rejection> {
        self.check_times(&claims, now as f64)?;
        self.check_issuer(&claims)?;
        self.check_audience(&claims)?;
        match claims.get(&self.user_claim) {
            Some(Value::String(user)) if !user.is_empty() => Ok(Claims { user: user.clone(), all: claims }),
            _ => Err(Rejection::NoClaim(self.user_claim.clone())),
        }
    }

    fn check_times(&self, claims: &Map<String, Value>, now: f64) -> Result<(), Rejection> {
        let leeway = self.leeway as f64;
        let expiry = time(claims, "exp")?.ok_or_else(|| Rejection::NoClaim("exp".to_owned()))?;
        if now >= expiry + leeway {
            return Err(Rejection::Expired);
        }
        for claim in ["nbf", "iat"] {
            if time(claims, claim)?.is_some_and(|from| from > now + leeway) {
                return Err(Rejection::NotYetValid);
            }
        }
        Ok(())
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), Rejection> {
        match &self.issuer {
            Some(issuer) if claims.get("iss") != Some(&Value::String(issuer.clone())) => Err(Rejection::Foreign("iss")),
            _ => Ok(()),
        }
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Rejection> {
        let is_ours = match (&self.audience, claims.get("aud")) {
            (None, named) => named.is_none(),
            (Some(own), Some(Value::String(named))) => own == named,
            (Some(own), Some(Value::Array(named))) => named.iter().any(|name| name.as_str() == Some(own)),
            (Some(_), _) => false,
        };
        if is_ours { Ok(()) } else { Err(Rejection::Foreign("aud")) }
    }
}

/// A claim that is a time, or none.
fn time(claims: &Map<String, Value>, claim: &str) -> Result<Option<f64>, Rejection> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
    seconds.map(Some).ok_or_else(|| Rejection::NoClaim(claim.to_owned()))
}
