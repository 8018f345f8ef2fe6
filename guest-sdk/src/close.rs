//! How a connection ends: a code, a reason, and for the log what caused it.
//!
//! Handlers return it as their error. Any `std::error::Error` turns into one with `?`: a message of the wrong kind into 1003,
//! bad JSON into 1007, everything else into 1011 "internal error". The cause stays on this side: it is for
//! [`Handler::on_error`](crate::Handler::on_error) and the log, and the client never sees it. `Close` is no `Error` itself,
//! since that is what leaves room for the conversion from all errors.

use std::{error::Error, fmt};

use crate::{Connection, Unexpected, host, host::types};

/// The most bytes that a reason may have (RFC 6455, section 5.5).
const REASON_LIMIT: usize = 123;

/// How a connection ends (WIT: `types.close-frame`; RFC 6455, section 7.4).
///
/// A plugin may send the codes 1000-1003, 1007-1014 and 3000-4999. It may be told 1005 (the client's close had no code) and
/// 1006 (the connection was lost) as well.
#[derive(Debug)]
pub struct Close {
    code: u16,
    reason: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Close {
    /// A close with this code. A reason of more than 123 bytes is cut at the end of a character.
    ///
    /// The code is not checked here: the host answers one that may not be sent with a failure, and the connection stays.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(REASON_LIMIT));
        Self { code, reason, cause: None }
    }

    /// 1000: all is done.
    pub fn normal(reason: impl Into<String>) -> Self {
        Self::new(1000, reason)
    }

    /// 1001: this side goes away.
    pub fn going_away(reason: impl Into<String>) -> Self {
        Self::new(1001, reason)
    }

    /// 1003: a message of a kind that this plugin does not take.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::new(1003, reason)
    }

    /// 1007: a message whose content is not what it should be.
    pub fn invalid_data(reason: impl Into<String>) -> Self {
        Self::new(1007, reason)
    }

    /// 1008: the client may not do this.
    pub fn policy(reason: impl Into<String>) -> Self {
        Self::new(1008, reason)
    }

    /// 1009: a message that is too big.
    pub fn too_big(reason: impl Into<String>) -> Self {
        Self::new(1009, reason)
    }

    /// 1011: this side failed. Tell the client no detail; see [`Close::because`].
    pub fn internal(reason: impl Into<String>) -> Self {
        Self::new(1011, reason)
    }

    /// 1013: try again later.
    pub fn try_again(reason: impl Into<String>) -> Self {
        Self::new(1013, reason)
    }

    /// Adds what caused it, for the log and for [`Handler::on_error`](crate::Handler::on_error); the client never sees it.
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// At most 123 bytes, possibly empty.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The error that it was made from, if any; `downcast_ref` tells which.
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }

    /// Does what an event that returned it wants: closes the connection, and logs the cause.
    pub(crate) fn carry_out(self, connection: &Connection) {
        self.log("message");
        if let Err(failure) = connection.close(self) {
            host::log::write("error", &format!("closed with 1011 instead: {failure}"), &[]);
            // Cannot fail: 1011 may always be sent.
            let _ = connection.close(Close::internal("internal error"));
        }
    }

    /// Tells the operator of the cause, if there is one: a close that a plugin made itself is nothing to report, and what
    /// clients send wrong must not fill the log.
    pub(crate) fn log(&self, event: &str) {
        if let Some(cause) = &self.cause {
            let level = if cause.is::<Unexpected>() { "debug" } else { "warn" };
            host::log::write(level, &format!("{event} ended with {self}: {cause}"), &[]);
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn to_frame(&self) -> types::CloseFrame {
        types::CloseFrame { code: self.code, reason: self.reason.clone() }
    }

    pub(crate) fn into_frame(self) -> types::CloseFrame {
        types::CloseFrame { code: self.code, reason: self.reason }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Close {
    fn from(error: E) -> Self {
        let cause: Box<dyn Error + Send + Sync> = Box::new(error);
        let close = match cause.downcast_ref::<Unexpected>() {
            Some(unexpected) => Self::new(unexpected.code(), unexpected.to_string()),
            None => Self::internal("internal error"),
        };
        close.because(cause)
    }
}

impl From<types::CloseFrame> for Close {
    fn from(frame: types::CloseFrame) -> Self {
        Self { code: frame.code, reason: frame.reason, cause: None }
    }
}

/// Equal where the client sees the same: the cause does not count.
impl PartialEq for Close {
    fn eq(&self, other: &Self) -> bool {
        (self.code, &self.reason) == (other.code, &other.reason)
    }
}

impl fmt::Display for Close {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.code)?;
        if self.reason.is_empty() { Ok(()) } else { write!(out, " \"{}\"", self.reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_at_the_end_of_a_character() {
        let close = Close::policy("é".repeat(100));
        assert_eq!(close.reason(), "é".repeat(61));
    }

    #[test]
    fn any_error_becomes_an_internal_error_that_keeps_its_cause() {
        let close = Close::from(std::fmt::Error);
        assert_eq!(close, Close::internal("internal error"));
        assert!(close.cause().is_some_and(|cause| cause.is::<std::fmt::Error>()));
    }
}
