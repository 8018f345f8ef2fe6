//! The names of things: connections, workers, tenants.
//!
//! An id says who owns what it names, so that a message finds its worker without a shared map. Ids are made
//! here and only read elsewhere.
//! Invariant: a connection id is below 2^53, because guests in JavaScript hold it as a double.

use std::cell::Cell;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// Bits of an id that count the connections of one worker: 34 billion before they would repeat.
const SERIAL_BITS: u32 = 35;
/// Bits that name the worker. The 10 bits above them name the server; they are 0 until there are several.
const WORKER_BITS: u32 = 8;

/// The most workers that one server can have: what `WORKER_BITS` can name.
pub const MAX_WORKERS: usize = 1 << WORKER_BITS;

/// Which worker of this server: an index into the list of workers.
pub type WorkerIndex = usize;

/// Names one connection while it lives (WIT `types.connection-id`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Names no connection, ever: the event of a service has none.
    pub const NONE: Self = Self(0);

    /// An id as a guest gave it; it need not name anything.
    pub fn from_guest(raw: u64) -> Self {
        Self(raw)
    }

    /// The number that guests see.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The worker that owns the connection; may be out of range for an id that a guest made up.
    pub fn worker(self) -> WorkerIndex {
        (self.0 >> SERIAL_BITS) as usize & (MAX_WORKERS - 1)
    }

    /// Whether the id names this server at all.
    pub fn is_local(self) -> bool {
        self.0 >> (SERIAL_BITS + WORKER_BITS) == 0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Counts out the ids of one worker's connections.
pub struct ConnectionIds {
    prefix: u64,
    next: Cell<u64>,
}

impl ConnectionIds {
    /// The ids of this worker, beginning with serial 1 so that 0 is never an id.
    pub fn new(worker: WorkerIndex) -> Self {
        let prefix = (worker as u64) << SERIAL_BITS;
        Self { prefix, next: Cell::new(1) }
    }

    /// The next unused id.
    pub fn next(&self) -> ConnectionId {
        let serial = self.next.get();
        self.next.set(serial + 1);
        ConnectionId(self.prefix | (serial & ((1 << SERIAL_BITS) - 1)))
    }
}

/// Who owns plugins, routes, rooms and values. What the main configuration has belongs to the unnamed one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct TenantId(u32);

/// The names of all tenants that there ever were, each at the place that its id says. Names are few and short, and stay.
static TENANTS: RwLock<Vec<&'static str>> = RwLock::new(Vec::new());

impl TenantId {
    /// The one tenant of a server that configures none.
    pub const UNNAMED: Self = Self(0);

    /// The tenant of this name: the same one for as long as the process runs, also where it was away meanwhile.
    pub fn named(name: &str) -> Self {
        if name.is_empty() {
            return Self::UNNAMED;
        }
        let mut names = TENANTS.write().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| *known == name);
        let index = known.unwrap_or_else(|| {
            names.push(String::from(name).leak());
            names.len() - 1
        });
        Self(u32::try_from(index + 1).expect("nobody has four billion tenants"))
    }

    /// Its name in logs and in a request's details; empty for the unnamed one.
    pub fn name(self) -> &'static str {
        let names = TENANTS.read().unwrap_or_else(PoisonError::into_inner);
        (self.0 as usize).checked_sub(1).map_or("", |index| names[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_worker_and_fits_a_double() {
        let ids = ConnectionIds::new(MAX_WORKERS - 1);
        let (first, second) = (ids.next(), ids.next());
        assert_ne!(first, second);
        assert_eq!(second.worker(), MAX_WORKERS - 1);
        assert!(second.is_local());
        assert!(second.get() < 1 << 53);
    }

    #[test]
    fn a_tenant_is_the_same_by_its_name() {
        let (one, other) = (TenantId::named("one"), TenantId::named("other"));
        assert_ne!(one, other);
        assert_eq!((TenantId::named("one"), one.name(), other.name()), (one, "one", "other"));
        assert_eq!((TenantId::named(""), TenantId::UNNAMED.name()), (TenantId::UNNAMED, ""));
    }

    #[test]
    fn an_id_of_another_server_is_not_local() {
        assert!(!ConnectionId::from_guest(1 << 52).is_local());
    }
}
