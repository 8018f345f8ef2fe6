//! `[[room]]`: what the rooms of a name keep.
//!
//! A name is written whole, or as a prefix with `*` at its end. The patterns come from `config/raw`, and `hub/history`
//! asks them when a room begins.
//! Invariant: no name is matched by two patterns of one file, and the host's own rooms (`@...`) by none.

use std::time::Duration;

use toml::Spanned;

use super::raw;
use crate::id::TenantId;
use crate::transaction::check_room;

/// What a `[[room]]` without `keep-bytes` keeps.
const KEEP_BYTES: usize = 1024 * 1024;
/// What a `[[room]]` without `keep-ms` has: an hour.
const KEEP_MS: u64 = 3_600_000;

/// `[[room]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomConfig {
    /// Whose rooms.
    pub tenant: TenantId,
    /// Which rooms.
    pub pattern: RoomPattern,
    /// How much each of them keeps.
    pub keep: Keep,
}

/// How much one room keeps; whichever bound is reached first drops its oldest message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Messages; at least one.
    pub messages: usize,
    /// What they take in memory: payloads, and a fixed cost for each.
    pub bytes: usize,
    /// How long each message is kept.
    pub time: Duration,
}

/// Names of rooms: one, or all that begin alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomPattern {
    /// This name.
    Name(String),
    /// Names that begin with this.
    Prefix(String),
}

impl RoomPattern {
    /// Reads `lobby` or `chat/*`; refused with the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (prefix, open) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if prefix.contains('*') {
            return Err(format!("`{text}` has a `*` that is not at its end; write a prefix like `chat/*`"));
        }
        if text.starts_with('@') {
            return Err("rooms that begin with '@' belong to the host, which keeps nothing in them".into());
        }
        check_room(text).map_err(|failure| failure.message)?;
        Ok(if open { Self::Prefix(prefix.into()) } else { Self::Name(prefix.into()) })
    }

    /// Whether it means the room of this name. The host's own rooms are meant by none.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Prefix(prefix) => name.starts_with(prefix) && !name.starts_with('@'),
        }
    }

    /// Whether some name is meant by both.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(one), Self::Prefix(other)) => one.starts_with(other) || other.starts_with(one),
            (Self::Name(name), pattern) | (pattern, Self::Name(name)) => pattern.matches(name),
        }
    }
}

/// Something wrong with a `[[room]]`: the place, the key and the sentence.
pub type Wrong<'a> = (std::ops::Range<usize>, &'a str, String);

/// What the tables of one file mean, and all that is wrong with them. `line` says on which line a place is.
pub fn resolve(
    (tenant, raw): (TenantId, &[raw::Room]),
    line: impl Fn(&std::ops::Range<usize>) -> usize,
) -> (Vec<RoomConfig>, Vec<Wrong<'_>>) {
    let (mut rooms, mut wrong): (Vec<(RoomConfig, usize)>, _) = (Vec::new(), Vec::new());
    for room in raw {
        wrong.extend(zeros(room));
        let pattern = match RoomPattern::parse(room.name.as_ref()) {
            Ok(pattern) => pattern,
            Err(reason) => {
                wrong.push((room.name.span(), "name", reason));
                continue;
            }
        };
        if let Some((_, first)) = rooms.iter().find(|(known, _)| known.pattern.meets(&pattern)) {
            let message = format!("the room on line {first} can have the same name; a room is kept in one way only");
            wrong.push((room.name.span(), "name", message));
        }
        rooms.push((RoomConfig { tenant, pattern, keep: keep(room) }, line(&room.name.span())));
    }
    (rooms.into_iter().map(|(room, _)| room).collect(), wrong)
}

fn keep(room: &raw::Room) -> Keep {
    let bytes = room.keep_bytes.as_ref().map_or(KEEP_BYTES, |bytes| *bytes.as_ref());
    let ms = room.keep_ms.as_ref().map_or(KEEP_MS, |ms| *ms.as_ref());
    Keep { messages: *room.keep.as_ref(), bytes, time: Duration::from_millis(ms) }
}

fn zeros(room: &raw::Room) -> impl Iterator<Item = Wrong<'static>> {
    let zero = |value: &Spanned<usize>| (*value.as_ref() == 0).then(|| value.span());
    let ms = room.keep_ms.as_ref().and_then(|ms| (*ms.as_ref() == 0).then(|| ms.span()));
    let values = [("keep", zero(&room.keep)), ("keep-bytes", room.keep_bytes.as_ref().and_then(zero)), ("keep-ms", ms)];
    let message = "must be at least 1; a room without a [[room]] keeps nothing";
    values.into_iter().filter_map(move |(key, span)| Some((span?, key, message.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> RoomPattern {
        RoomPattern::parse(text).expect("it is one")
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        assert!(pattern("lobby").matches("lobby") && !pattern("lobby").matches("lobby2"));
        assert!(pattern("chat/*").matches("chat/lobby") && !pattern("chat/*").matches("chats"));
        assert!(pattern("*").matches("anything") && !pattern("*").matches("@all"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "@all", "@route/*", "a*b", "**", "a\nb", &"x".repeat(129)] {
            assert!(RoomPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_meet_where_a_name_can_be_both() {
        for (one, other) in [("a", "a"), ("a*", "ab"), ("a*", "ab*"), ("*", "x"), ("chat/*", "chat/a*")] {
            assert!(pattern(one).meets(&pattern(other)) && pattern(other).meets(&pattern(one)), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a*", "b"), ("a*", "b*"), ("chat/*", "chat")] {
            assert!(!pattern(one).meets(&pattern(other)), "{one} {other}");
        }
    }
}
