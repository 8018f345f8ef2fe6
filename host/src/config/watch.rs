//! How the server learns that a plugin file changed.
//!
//! The meaning of `watch` and `poll-ms`; read by `config/resolve`, carried out by `engine/watcher`. Where in the file
//! something is wrong is not known here.
//! Invariant: an interval is one that can be kept, so that no file is looked at in a busy loop.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The interval where none is given, in milliseconds.
const POLL_MS: u64 = 1000;
/// What is taken for one.
const INTERVALS: RangeInclusive<u64> = 10..=3_600_000;

/// `watch` in `[server]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchConfig {
    /// By the system's events, and by a look each second.
    #[default]
    Events,
    /// By looks only, so far apart: for file systems that have no events.
    Poll(Duration),
    /// Not at all; plugins are reloaded by command.
    Off,
}

/// What is wrong with one of the keys, and what would be right.
#[derive(Debug)]
pub enum WatchError {
    /// With `watch`.
    Way(String),
    /// With `poll-ms`.
    Interval(String),
}

impl WatchConfig {
    /// Reads `watch` and `poll-ms`, as far as they are given.
    pub fn read(watch: Option<&str>, poll_ms: Option<u64>) -> Result<Self, WatchError> {
        let way = match watch.unwrap_or("events") {
            "events" => Self::Events,
            "poll" => Self::Poll(Duration::from_millis(poll_ms.unwrap_or(POLL_MS))),
            "off" => Self::Off,
            other => {
                let wrong = format!("`{other}` is no way to watch; write `events`, `poll` or `off`");
                return Err(WatchError::Way(wrong));
            }
        };
        match (way, poll_ms) {
            (Self::Poll(_), Some(ms)) if !INTERVALS.contains(&ms) => {
                let (least, most) = (INTERVALS.start(), INTERVALS.end());
                Err(WatchError::Interval(format!("must be {least} to {most}")))
            }
            (Self::Events | Self::Off, Some(_)) => {
                Err(WatchError::Interval("has no meaning without `watch = \"poll\"`".to_owned()))
            }
            _ => Ok(way),
        }
    }

    /// How often to look, where only looks count.
    pub fn interval(self) -> Option<Duration> {
        match self {
            Self::Poll(interval) => Some(interval),
            Self::Events | Self::Off => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn read(server: &str) -> Result<WatchConfig, String> {
        let config = Config::parse(&format!("[server]\n{server}"), Path::new("s.toml"));
        config.map(|config| config.watch).map_err(|error| error.to_string())
    }

    #[test]
    fn events_are_the_default_and_polling_has_an_interval() {
        assert_eq!(read(""), Ok(WatchConfig::Events));
        assert_eq!(read("watch = 'events'"), Ok(WatchConfig::Events));
        assert_eq!(read("watch = 'off'"), Ok(WatchConfig::Off));
        assert_eq!(read("watch = 'poll'"), Ok(WatchConfig::Poll(Duration::from_secs(1))));
        for ms in [10, 3_600_000] {
            let polled = read(&format!("watch = 'poll'\npoll-ms = {ms}"));
            assert_eq!(polled, Ok(WatchConfig::Poll(Duration::from_millis(ms))));
        }
    }

    #[test]
    fn what_is_refused_is_said_with_line_and_key() {
        let refused = |server: &str| read(server).expect_err(server);
        let advice = "s.toml:2:watch: `often` is no way to watch; write `events`, `poll` or `off`";
        assert_eq!(refused("watch = 'often'"), advice);
        for ms in [0, 9, 3_600_001] {
            let wrong = refused(&format!("watch = 'poll'\npoll-ms = {ms}"));
            assert_eq!(wrong, "s.toml:3:poll-ms: must be 10 to 3600000");
        }
        for watch in ["", "watch = 'events'", "watch = 'off'"] {
            let wrong = refused(&format!("{watch}\npoll-ms = 100"));
            assert_eq!(wrong, "s.toml:3:poll-ms: has no meaning without `watch = \"poll\"`");
        }
    }
}
