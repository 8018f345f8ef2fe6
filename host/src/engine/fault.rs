//! Faults: calls of a guest that ended badly.
//!
//! A fault says whose it is and why, and carries what helps the author of the plugin: what the guest printed and where
//! it was. It is logged once, in one record, by whoever ends the connection; clients see none of it.
//! Invariant: a fault of a guest is never taken for one of the host, or the other way round.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use wasmtime::{Trap, WasmBacktrace};

use crate::id::ConnectionId;
use crate::metrics::{Failure, Metrics};
use crate::state::Unfit;

/// The most bytes of what a guest has its say in, be it names in its own code: a fault is one record that somebody reads.
const MAX_TOLD: usize = 4096;
/// The same of where it was.
const MAX_BACKTRACE: usize = 16 * 1024;

/// Why the call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The guest trapped: a panic, or what WebAssembly forbids.
    Trap,
    /// Out of CPU or of wall time.
    Deadline,
    /// Out of memory.
    Memory,
    /// The guest answered something that cannot be done, such as a header with a line break.
    Answer,
    /// A value of the connection's state does not fit the generation that reads it.
    State,
    /// No fault of the guest: there was no room for one more instance.
    Load,
}

impl Cause {
    /// The word for gates (WIT `fault-events.on-fault`); none for what no guest is to blame for.
    pub fn told(self) -> Option<&'static str> {
        match self {
            Self::Trap | Self::Answer => Some("trap"),
            Self::Deadline => Some("deadline"),
            Self::Memory => Some("memory"),
            Self::State | Self::Load => None,
        }
    }

    /// What it is counted as.
    fn failure(self) -> Failure {
        match self {
            Self::Trap | Self::Answer => Failure::Trap,
            Self::Deadline => Failure::Deadline,
            Self::Memory => Failure::Memory,
            Self::State => Failure::State,
            Self::Load => Failure::NoInstance,
        }
    }

    /// The word in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Answer => "answer",
            Self::State => "state",
            Self::Load => "load",
        }
    }
}

/// One call that ended badly.
#[derive(Debug)]
pub struct Fault {
    /// Which plugin.
    pub plugin: Arc<str>,
    /// Which generation of it.
    pub generation: u64,
    /// Which event.
    pub event: &'static str,
    /// Why.
    pub cause: Cause,
    /// One line: the trap's name, or what the host says.
    pub message: String,
    /// What the guest printed in this event: the text of its panic.
    pub printed: String,
    /// Where in the guest, frame by frame.
    pub backtrace: String,
    /// Which value, for the cause `State`.
    pub unfit: Option<Unfit>,
}

impl Fault {
    /// The trap's name and the guest's frames out of wasmtime's error.
    pub fn describe(error: &wasmtime::Error) -> (String, String) {
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(|frames| Bounded::show(frames, MAX_BACKTRACE));
        let message = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => brief(&error.root_cause()),
        };
        (message, backtrace.unwrap_or_default())
    }

    /// Counts the fault and writes its one record.
    pub fn report(&self, connection: ConnectionId, metrics: &Metrics) {
        self.count(metrics);
        tracing::error!(
            plugin = %self.plugin,
            generation = self.generation,
            connection = %connection,
            event = self.event,
            whose = self.cause.failure().whose(),
            cause = self.cause.word(),
            printed = %self.printed.trim_end(),
            backtrace = %self.backtrace.trim_end(),
            "guest fault: {}", self.message
        );
    }

    /// Counts a value that did not fit and was removed, so that the event can be run again without it.
    pub fn report_reset(&self, connection: ConnectionId, metrics: &Metrics) {
        self.count(metrics);
        let (plugin, generation) = (&*self.plugin, self.generation);
        tracing::debug!(plugin, generation, connection = %connection, "the state starts empty: {}", self.message);
    }

    /// Writes that the guest is not told of the end of a connection, since the state does not fit. It is not counted: where
    /// that closed the connection, it was counted then.
    pub fn report_untold(&self, connection: ConnectionId) {
        let (plugin, generation) = (&*self.plugin, self.generation);
        tracing::warn!(plugin, generation, connection = %connection, "not told of the end: {}", self.message);
    }

    fn count(&self, metrics: &Metrics) {
        metrics.count(self.cause.failure());
        if self.cause.told().is_some() {
            metrics.faults.inc();
        }
    }
}

/// What a guest may have had its say in, as long as a sentence may be.
pub fn brief(told: &dyn fmt::Display) -> String {
    Bounded::show(told, MAX_TOLD)
}

/// Text up to a length; what is beyond it is never made.
struct Bounded {
    text: String,
    most: usize,
}

impl Bounded {
    fn show(told: &(impl fmt::Display + ?Sized), most: usize) -> String {
        let mut shown = Self { text: String::new(), most };
        if write!(shown, "{told}").is_err() {
            shown.text.push_str(" ...");
        }
        shown.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = more.floor_char_boundary(self.most - self.text.len());
        self.text.push_str(&more[..room]);
        if room < more.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} of plugin {}: {}", self.cause.word(), self.event, self.plugin, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_has_its_say_in_is_cut() {
        assert_eq!(brief(&"short"), "short");
        let told = brief(&"\u{e9}".repeat(MAX_TOLD));
        assert_eq!(told.len(), MAX_TOLD + " ...".len());
    }
}
