//! Small values that all plugins of a tenant share: counters, flags, caches.
//!
//! Writes take effect when the event returns, and an event reads what it wrote itself. Only [`increment`] acts at once,
//! because it must answer; it is taken back where the event faults. A bad key fails with `invalid`.

use std::time::Duration;

use crate::{Failure, events::whole_millis, host};

/// Reads a value; none where there is none or its time is over (WIT: `store.get`).
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Failure> {
    Ok(host::store::get(key)?)
}

/// Writes a value, which ends after `ttl` (whole milliseconds) where that is given (WIT: `store.set`). Fails with
/// `too-large` for a value over the limit, and `quota` over the keys or bytes of the tenant.
pub fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Failure> {
    Ok(host::store::set(key, value, ttl.map(whole_millis))?)
}

/// Removes a value; without one, nothing happens (WIT: `store.remove`).
pub fn remove(key: &str) -> Result<(), Failure> {
    Ok(host::store::remove(key)?)
}

/// Adds to a counter and returns its new value (WIT: `store.increment`). It starts at 0 and, where `ttl` is given, ends that
/// long after its start. Stays within plus or minus 2^53; beyond it fails with `invalid`, as for a value that is no counter.
pub fn increment(key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, Failure> {
    Ok(host::store::increment(key, by, ttl.map(whole_millis))?)
}
