//! A gate and filter that limits how many connections one address opens, and how many messages one connection sends, in a
//! time. What is over a limit is closed with 1008 "Rate limit exceeded".
//!
//! Configuration: `connections` (20) in `window-seconds` (60), and `messages` (100) in `per-seconds` (10). Each count is 1 to
//! 1,000,000 or `off`, each time 1 to 86,400 seconds. `scope` keeps the counts of this use of the plugin apart from others.
//!
//! An address is the peer's without its port; of IPv6 its first 64 bits, which is what one customer gets. Connections are
//! counted in the store, in one count over all workers, until two windows later; messages in the state of their connection.
//! A refused connection is not counted, whoever refused it. Where the store fails, nobody gets in: 500, and the log says why.
//! How exact a limit is, `window.rs` tells.

mod address;
mod clock;
mod window;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_sdk::{
    Close, Connection, Failure, Gate, Inbound, Message, Pass, Refusal, Request, Verdict, config, export, store,
};

use crate::window::{Moment, Rate};

const COUNTS: std::ops::RangeInclusive<u64> = 1..=1_000_000;
const SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;
/// Leaves room in a key of the store for the longest address and a number.
const SCOPE_BYTES: usize = 32;

struct RateLimit {
    /// None where connections are not limited.
    connections: Option<Rate>,
    /// None where messages are not limited.
    messages: Option<Rate>,
    /// What the keys of this use begin with.
    prefix: String,
}

/// What a connection sent so far, as far as it still matters.
#[derive(Default, Serialize, Deserialize)]
struct Sent {
    /// The window of the latest message.
    window: u64,
    /// In that window.
    current: u64,
    /// In the window before it.
    previous: u64,
}

impl Default for RateLimit {
    /// Reads the configuration, once for each instance; panics where it is none.
    fn default() -> Self {
        let scope = config::get("scope").unwrap_or_default();
        assert!(scope.len() <= SCOPE_BYTES, "the configuration of \"scope\" has at most {SCOPE_BYTES} bytes");
        Self {
            connections: rate(("connections", 20), ("window-seconds", 60)),
            messages: rate(("messages", 100), ("per-seconds", 10)),
            prefix: format!("rate-limit/{scope}"),
        }
    }
}

impl Gate for RateLimit {
    fn connect(&self, _: &Connection, request: &Request) -> Result<Pass, Refusal> {
        match &self.connections {
            Some(rate) if !self.admits(rate, request)? => Err(exceeded().into()),
            _ => Ok(Pass::new()),
        }
    }
}

impl Inbound for RateLimit {
    fn message(&self, connection: &Connection, _: &Message) -> Result<Verdict, Close> {
        match &self.messages {
            Some(rate) if !self.takes(rate, connection)? => Ok(exceeded().into()),
            _ => Ok(Verdict::Pass),
        }
    }
}

impl RateLimit {
    /// Counts a connection. The increment answers with a count that no other event gets, so that of all that come at once,
    /// on whatever workers, no more are admitted than the limit; it is taken back where the connection is refused.
    fn admits(&self, rate: &Rate, request: &Request) -> Result<bool, Failure> {
        let now = rate.at(clock::now());
        let address = address::of(request.peer());
        let key = |window: u64| format!("{}/{address}/{window}", self.prefix);
        let current = store::increment(&key(now.window), 1, Some(2 * rate.length()))?;
        let previous = match now.window.checked_sub(1) {
            Some(before) => store::get(&key(before))?,
            None => None,
        };
        Ok(rate.allows(now, number(previous), u64::try_from(current).unwrap_or_default()))
    }

    /// Counts a message.
    fn takes(&self, rate: &Rate, connection: &Connection) -> Result<bool, Failure> {
        let now = rate.at(clock::now());
        let mut sent = connection.state::<Sent>(&self.prefix)?.unwrap_or_default().moved_to(now);
        sent.current += 1;
        connection.set_state(&self.prefix, &sent)?;
        Ok(rate.allows(now, sent.previous, sent.current))
    }
}

impl Sent {
    /// The same counts, looked at from a later moment. A wall clock that was set back stays in its window.
    fn moved_to(self, now: Moment) -> Self {
        match now.window.saturating_sub(self.window) {
            0 => self,
            1 => Self { window: now.window, current: 0, previous: self.current },
            _ => Self { window: now.window, current: 0, previous: 0 },
        }
    }
}

/// A counter as the store shows it, in decimal digits; one that is not there is 0.
fn number(value: Option<Vec<u8>>) -> u64 {
    value.and_then(|digits| String::from_utf8(digits).ok()?.parse().ok()).unwrap_or_default()
}

fn exceeded() -> Close {
    Close::policy("Rate limit exceeded")
}

/// A rate from two keys of the configuration, each with its default.
fn rate((count, many): (&str, u64), (time, long): (&str, u64)) -> Option<Rate> {
    if config::get(count).as_deref() == Some("off") {
        return None;
    }
    let (many, long) = (config::parse(count).unwrap_or(many), config::parse(time).unwrap_or(long));
    assert!(COUNTS.contains(&many), "the configuration of \"{count}\" is 1 to 1000000, or \"off\"; not {many}");
    assert!(SECONDS.contains(&long), "the configuration of \"{time}\" is 1 to 86400 seconds, not {long}");
    Some(Rate::new(many, Duration::from_secs(long)))
}

export!(RateLimit: gate, inbound);

#[cfg(test)]
mod tests;
