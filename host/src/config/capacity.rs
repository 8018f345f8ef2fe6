//! How many connections a route may have, and what the next one is told.
//!
//! The meaning of `max-connections` and `when-full`; read by `config/resolve`, enforced by `server/upgrade`. Where in the
//! file something is wrong is not known here.
//! Invariant: what is read here can be sent as it is: a status that refuses, or a close frame that is allowed.

use http::StatusCode;

use crate::message::{CloseFrame, MAX_REASON, close};

/// What a good value looks like.
const FORMS: &str = "write a status like 503, or a close frame like \"1008 Server at capacity\"";

/// A route's `max-connections` with its `when-full`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityConfig {
    /// Connections at once, over all workers; at least 1.
    pub connections: usize,
    /// What one more is told.
    pub when_full: WhenFull,
}

/// How a connection over the capacity of its route is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenFull {
    /// An HTTP response with this status, which is one of the 400s or 500s.
    Respond(StatusCode),
    /// The WebSocket is opened and closed at once, so that a browser can read code and reason.
    Close(CloseFrame),
}

impl Default for WhenFull {
    fn default() -> Self {
        Self::Respond(StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl WhenFull {
    /// Reads a value of `when-full`; an error says what is wrong with it and what would be right.
    pub fn read(value: &toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::Integer(status) => respond(*status).map(Self::Respond),
            toml::Value::String(frame) => close_with(frame).map(Self::Close),
            _ => Err(FORMS.to_owned()),
        }
    }
}

fn respond(status: i64) -> Result<StatusCode, String> {
    let refuses = |status: &u16| (400..600).contains(status);
    let status = u16::try_from(status).ok().filter(refuses).and_then(|status| StatusCode::from_u16(status).ok());
    status.ok_or_else(|| format!("a status that refuses is 400 to 599; {FORMS}"))
}

fn close_with(frame: &str) -> Result<CloseFrame, String> {
    let (code, reason) = frame.split_once(' ').unwrap_or((frame, ""));
    let code: u16 = code.parse().map_err(|_| format!("`{code}` is not a close code; {FORMS}"))?;
    if !close::may_send(code) {
        return Err(format!("the code {code} may not be sent; allowed are 1000-1003, 1007-1014 and 3000-4999"));
    }
    let reason = reason.trim();
    if reason.len() > MAX_REASON {
        return Err(format!("the reason has {} bytes; a close frame has room for {MAX_REASON}", reason.len()));
    }
    Ok(CloseFrame::new(code, reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: impl Into<toml::Value>) -> Result<WhenFull, String> {
        WhenFull::read(&value.into())
    }

    #[test]
    fn a_number_is_a_status_and_a_text_is_a_close_frame() {
        assert_eq!(read(429), Ok(WhenFull::Respond(StatusCode::TOO_MANY_REQUESTS)));
        let frame = CloseFrame::new(1008, "Server at capacity");
        assert_eq!(read("1008 Server at capacity"), Ok(WhenFull::Close(frame)));
        assert_eq!(read("4000"), Ok(WhenFull::Close(CloseFrame::new(4000, ""))));
        assert!(read(format!("1008 {}", "r".repeat(MAX_REASON))).is_ok());
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_reason() {
        for status in [0, 101, 200, 399, 600, -1, i64::MAX] {
            assert!(read(status).is_err_and(|reason| reason.contains("400 to 599")), "{status}");
        }
        for (frame, reason) in [
            ("1005 no", "may not be sent"),
            ("1006", "may not be sent"),
            ("2999 x", "may not be sent"),
            ("full", "not a close code"),
            ("", "not a close code"),
            ("70000 x", "not a close code"),
        ] {
            assert!(read(frame).is_err_and(|wrong| wrong.contains(reason)), "{frame}");
        }
        let long = read(format!("1008 {}", "r".repeat(MAX_REASON + 1)));
        assert!(long.is_err_and(|reason| reason.contains("124 bytes")));
        assert!(read(true).is_err());
    }
}
