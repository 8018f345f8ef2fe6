//! One whole WebSocket message, and what is wrong with one that is not what a plugin expects.
//!
//! The type is the contract's own, so that a message passes through a plugin without being copied or converted.
//! The errors say what was expected; with `?` they become the close that the client sees (see [`Close`](crate::Close)).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Failure;
pub use crate::host::types::Message;

/// A message is not what the plugin expects.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unexpected {
    /// Text was expected, and the message is binary. Closes with 1003.
    NotText,
    /// Binary was expected, and the message is text. Closes with 1003.
    NotBinary,
    /// JSON was expected, and the text is none, or of another shape. Closes with 1007.
    BadJson(serde_json::Error),
}

impl Unexpected {
    /// The code that a connection is closed with where this goes through `?`.
    pub fn code(&self) -> u16 {
        match self {
            Self::NotText | Self::NotBinary => 1003,
            Self::BadJson(_) => 1007,
        }
    }
}

impl Message {
    /// The text message that holds this value as compact JSON. Fails with `invalid` for a value that JSON cannot hold.
    pub fn from_json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Failure> {
        match serde_json::to_string(value) {
            Ok(text) => Ok(Self::Text(text)),
            Err(error) => Err(Failure::invalid(format!("the value cannot be JSON: {error}"))),
        }
    }

    /// The text of a text message.
    pub fn text(&self) -> Result<&str, Unexpected> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(_) => Err(Unexpected::NotText),
        }
    }

    /// The bytes of a binary message.
    pub fn bytes(&self) -> Result<&[u8], Unexpected> {
        match self {
            Self::Binary(bytes) => Ok(bytes),
            Self::Text(_) => Err(Unexpected::NotBinary),
        }
    }

    /// The JSON in a text message, which may borrow from it.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Unexpected> {
        serde_json::from_str(self.text()?).map_err(Unexpected::BadJson)
    }

    /// Whether it is a text message.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Whether it is a binary message.
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// Its length in bytes, whichever kind it is.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes; empty messages are delivered like any other.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

/// Equal to a text message with this text; for tests, mostly.
impl PartialEq<&str> for Message {
    fn eq(&self, other: &&str) -> bool {
        matches!(self, Self::Text(text) if text == other)
    }
}

/// Equal to a binary message with these bytes; for tests, mostly.
impl PartialEq<&[u8]> for Message {
    fn eq(&self, other: &&[u8]) -> bool {
        matches!(self, Self::Binary(bytes) if bytes == other)
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => out.write_str("expected a text message, got a binary one"),
            Self::NotBinary => out.write_str("expected a binary message, got a text one"),
            Self::BadJson(error) => write!(out, "expected JSON: {error}"),
        }
    }
}

impl std::error::Error for Unexpected {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Close;

    #[test]
    fn the_wrong_kind_becomes_a_close_that_says_what_was_expected() {
        let close = Message::from(vec![1]).text().map_err(Close::from).unwrap_err();
        assert_eq!(close, Close::new(1003, "expected a text message, got a binary one"));
    }

    #[test]
    fn bad_json_becomes_1007() {
        let close = Message::from("{bad").json::<u32>().map_err(Close::from).unwrap_err();
        assert_eq!((close.code(), &close.reason()[..13]), (1007, "expected JSON"));
    }
}
