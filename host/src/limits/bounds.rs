//! What limits themselves may be: the least and the most of each that has bounds of its own.
//!
//! Asked by `config/resolve` of the limits of the server and of each tenant; what each limit means is said in `limits`.
//! Invariant: what passes here can be enforced as it is, and no queue is without a bound.

use super::{KIB, Limits, MIB};

/// More would be a queue without a bound.
pub(super) const MAX_STORE_WRITES: usize = 1_000_000;

/// hyper reads heads of this size whatever else it is told.
pub(super) const MIN_HEAD: usize = 8 * KIB;

/// What one request may take of memory.
pub(super) const MAX_HEAD: usize = MIB;

/// hyper keeps room for as many.
pub(super) const MAX_HEADERS: usize = 10_000;

/// With less, the compiling process cannot even start its threads and compile an empty plugin.
pub(super) const MIN_COMPILE_MEMORY: usize = 32 * MIB;

impl Limits {
    /// What is wrong with the values as a whole, if anything: the key and the reason.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        let zero = [
            ("message-bytes", self.message_bytes),
            ("mailbox-bytes", self.mailbox_bytes),
            ("mailbox-messages", self.mailbox_messages),
            ("effects", self.effects),
            ("instances", self.instances),
            ("tenant-connections", self.tenant_connections),
            ("tenant-instances", self.tenant_instances),
            ("guest-memory-bytes", self.guest_memory_bytes),
            ("event-cpu-ms", self.event_cpu_ms as usize),
            ("event-wall-ms", self.event_wall_ms as usize),
            ("http-ms", self.http_ms as usize),
            ("head-ms", self.head_ms as usize),
            ("headers", self.headers),
            ("connections", self.connections),
            ("message-ms", self.message_ms as usize),
            ("fragments", self.fragments),
            ("write-ms", self.write_ms as usize),
            ("control-frames", self.control_frames as usize),
            ("handshake-ms", self.handshake_ms as usize),
            ("pong-ms", self.pong_ms as usize),
            ("breaker-ms", self.breaker_ms as usize),
            ("breaker-pause-ms", self.breaker_pause_ms as usize),
            ("compile-cpu-ms", self.compile_cpu_ms as usize),
            ("compile-wall-ms", self.compile_wall_ms as usize),
        ];
        if let Some((key, _)) = zero.into_iter().find(|(_, value)| *value == 0) {
            return Some((key, "must be at least 1"));
        }
        match self {
            _ if self.inbox_mails < 4 => Some(("inbox-mails", "must be at least 4, a quarter for each tenant")),
            _ if !(1..=MAX_STORE_WRITES).contains(&self.store_writes) => Some(("store-writes", "must be 1 to 1000000")),
            _ if self.compile_memory_bytes < MIN_COMPILE_MEMORY => {
                Some(("compile-memory-bytes", "must be at least 33554432 (32 MiB), since no plugin compiles with less"))
            }
            _ if !(MIN_HEAD..=MAX_HEAD).contains(&self.head_bytes) => Some(("head-bytes", "must be 8 KiB to 1 MiB")),
            _ if self.headers > MAX_HEADERS => Some(("headers", "must be at most 10000")),
            _ if self.message_bytes > 256 * MIB => Some(("message-bytes", "must be at most 256 MiB")),
            _ => None,
        }
    }
}
