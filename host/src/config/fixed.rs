//! What only a start of the server reads: the address, the threads, the places on disk, and what sizes memory.
//!
//! Noted as the file has it, whatever the command line puts in its place, so that two versions of a file can be compared.
//! Another configuration of a running server leaves these as they are, and its log names what would need a restart.

use std::path::Path;

use super::WatchConfig;
use super::listen::{ListenConfig, TlsConfig};
use crate::limits::Limits;

/// Keys of `[server]` and `[server.limits]` with their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed(Vec<(&'static str, String)>);

impl Fixed {
    /// The addresses with the files of TLS, the threads, the state folder and the control socket, how files
    /// are watched, where the store lies, and the fixed limits.
    pub fn new(
        (listen, tls): (&[ListenConfig], Option<&TlsConfig>),
        workers: Option<usize>,
        [state, control]: [&Path; 2],
        (watch, on_disk): (WatchConfig, bool),
        limits: &Limits,
    ) -> Self {
        let server = [
            ("listen", listen.iter().map(ListenConfig::to_string).collect::<Vec<_>>().join(", ")),
            ("tls", format!("{tls:?}")),
            ("workers", format!("{workers:?}")),
            ("state", state.display().to_string()),
            ("control", control.display().to_string()),
            ("watch", format!("{watch:?}")),
            ("store", on_disk.to_string()),
        ];
        let limits = limits.fixed().into_iter().map(|(key, value)| (key, value.to_string()));
        Self(server.into_iter().chain(limits).collect())
    }

    /// The keys whose values differ.
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        let pairs = self.0.iter().zip(&other.0);
        pairs.filter(|(own, other)| own != other).map(|((key, _), _)| *key).collect()
    }
}
