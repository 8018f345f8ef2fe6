//! Lines for the operator's log, beside whatever the plugin prints to stdout and stderr.
//!
//! A line is written at once, also when the event faults later. Lines over 4 KiB are cut, and lines over the plugin's quota
//! are dropped and counted. None of these fails.

use std::fmt;

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed that should not.
    Error,
    /// Something that an operator may want to look at.
    Warn,
    /// The course of things.
    Info,
    /// Detail for the author of the plugin.
    Debug,
    /// All of it.
    Trace,
}

impl Level {
    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Writes a line with named fields (WIT: `log.write`).
pub fn write(level: Level, line: impl fmt::Display, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    host::log::write(level.name(), &line.to_string(), &fields);
}

/// Whether lines of this level are kept, so that a plugin need not build them (WIT: `log.enabled`).
pub fn enabled(level: Level) -> bool {
    host::log::enabled(level.name())
}

/// Writes a line of level error.
pub fn error(line: impl fmt::Display) {
    write(Level::Error, line, &[]);
}

/// Writes a line of level warn.
pub fn warn(line: impl fmt::Display) {
    write(Level::Warn, line, &[]);
}

/// Writes a line of level info.
pub fn info(line: impl fmt::Display) {
    write(Level::Info, line, &[]);
}

/// Writes a line of level debug.
pub fn debug(line: impl fmt::Display) {
    write(Level::Debug, line, &[]);
}
