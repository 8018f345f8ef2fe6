//! Whether and how a route compresses messages.
//!
//! The meaning of `compression`; read by `config/resolve`, agreed on with each client by `server/deflate`. Where in the file
//! something is wrong is not known here.
//! Invariant: what is read here is what the codec can do.

use serde::Deserialize;

/// What a good value looks like.
const FORMS: &str = "write true, or a table like { threshold = 512, level = 1, window-bits = 15 }";

/// A route's `compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CompressionConfig {
    /// Messages to clients of at least so many bytes are compressed.
    pub threshold: usize,
    /// From 1, fast, to 9, small.
    pub level: u8,
    /// The window of what is written is two to the power of this, 9 to 15.
    pub window_bits: u8,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self { threshold: 512, level: 1, window_bits: 15 }
    }
}

impl CompressionConfig {
    /// Reads a value of `compression`, none for no compression; an error says what is wrong with it and what would be right.
    pub fn read(value: &toml::Value) -> Result<Option<Self>, String> {
        match value {
            toml::Value::Boolean(wanted) => Ok(wanted.then(Self::default)),
            toml::Value::Table(_) => {
                let table: Result<Self, _> = value.clone().try_into();
                table.map_err(|error| format!("{}; {FORMS}", error.message())).and_then(Self::checked).map(Some)
            }
            _ => Err(FORMS.to_owned()),
        }
    }

    fn checked(self) -> Result<Self, String> {
        match self {
            _ if !(1..=9).contains(&self.level) => Err("`level` is 1, fast, to 9, small".to_owned()),
            _ if !(9..=15).contains(&self.window_bits) => Err("`window-bits` is 9 to 15".to_owned()),
            _ => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<CompressionConfig>, String> {
        let value: toml::Table = format!("it = {text}").parse().expect("it is TOML");
        CompressionConfig::read(&value["it"])
    }

    #[test]
    fn a_route_says_whether_and_how() {
        assert_eq!(read("false"), Ok(None));
        assert_eq!(read("true"), Ok(Some(CompressionConfig::default())));
        let some = CompressionConfig { level: 9, ..CompressionConfig::default() };
        assert_eq!(read("{ level = 9 }"), Ok(Some(some)));
    }

    #[test]
    fn what_the_codec_cannot_do_is_refused_with_what_it_can() {
        for (text, told) in [
            ("'yes'", "write true"),
            ("{ levle = 1 }", "write true"),
            ("{ level = 0 }", "1, fast, to 9"),
            ("{ level = 10 }", "1, fast, to 9"),
            ("{ window-bits = 8 }", "9 to 15"),
            ("{ window-bits = 16 }", "9 to 15"),
            ("{ threshold = -1 }", "write true"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
