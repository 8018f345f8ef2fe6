//! Why the host did not do what it was asked.
//!
//! The contract gives the kind as text, so that later hosts can add to it; here it is an enum that can grow the same way.
//! With `?` a failure becomes a close with 1011 or a refusal with 500; what it says goes to the log and not to the client.

use std::fmt;

use crate::host::types;

/// A host function did not do what it was asked (WIT: `types.failure`). Nothing of the call happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    message: String,
}

/// What sort of [`Failure`] it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// An argument is wrong.
    Invalid,
    /// Something is over a size limit.
    TooLarge,
    /// Something is over a limit of count or rate.
    Quota,
    /// The plugin has no grant for it, or it is not allowed in this event.
    Denied,
    /// This host cannot do it.
    Unsupported,
    /// A kind that this SDK does not know yet, by its name in the contract.
    Other(String),
}

/// The kinds by their names in the contract; the one table of them.
const KINDS: [(&str, FailureKind); 5] = [
    ("invalid", FailureKind::Invalid),
    ("too-large", FailureKind::TooLarge),
    ("quota", FailureKind::Quota),
    ("denied", FailureKind::Denied),
    ("unsupported", FailureKind::Unsupported),
];

impl Failure {
    /// A failure of the plugin's own side, such as a value that has no JSON.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Invalid, message: message.into() }
    }

    /// What sort of failure it is, to branch on.
    pub fn kind(&self) -> &FailureKind {
        &self.kind
    }

    /// One sentence for the author of the plugin: what was wrong, and the bound.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        let known = KINDS.into_iter().find(|(name, _)| *name == failure.kind);
        let kind = known.map_or(FailureKind::Other(failure.kind), |(_, kind)| kind);
        Self { kind, message: failure.message }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = KINDS.iter().find(|(_, kind)| kind == self);
        match (known, self) {
            (Some((name, _)), _) => out.write_str(name),
            (None, Self::Other(name)) => out.write_str(name),
            (None, _) => out.write_str("failure"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failure {}
