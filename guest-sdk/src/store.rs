//! Small values that all plugins of a tenant share: counters, flags, caches.
//!
//! Writes take effect when the event returns, and an event reads what it wrote itself. Only [`increment`] acts at once,
//! because it must answer; it is taken back where the event faults or its handshake is refused. A counter that the event
//! wrote itself is its own until it returns. Values are shared by all workers and outlive connections; whether they outlive
//! the server is the operator's choice (`store` in `switchboard.toml`). A bad key fails with `invalid`.

use std::time::Duration;

use crate::{Failure, events::whole_millis, host};

/// Reads a value; none where there is none or its time is over (WIT: `store.get`). A counter is read as decimal digits.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Failure> {
    Ok(host::store::get(key)?)
}

/// Writes a value, which ends after `ttl` (whole milliseconds, at most 49 days) where that is given (WIT: `store.set`).
/// Fails with `too-large` for a value over the limit (64 KiB by default), and `quota` over the keys or bytes of the tenant
/// or over what one event may write.
pub fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Failure> {
    Ok(host::store::set(key, value, ttl.map(whole_millis))?)
}

/// Removes a value or a counter; without one, nothing happens (WIT: `store.remove`). Fails with `quota` over what one event
/// may write.
pub fn remove(key: &str) -> Result<(), Failure> {
    Ok(host::store::remove(key)?)
}

/// Adds to a counter and returns its new value (WIT: `store.increment`). It starts at 0 and, where `ttl` is given, ends that
/// long after its start; a later `ttl` changes nothing. Stays within plus or minus 2^53; beyond it fails with `invalid`, as
/// for a value that is no counter, and with `quota` where a new counter is one key or some bytes too much.
///
/// ```
/// use std::time::Duration;
/// use switchboard_sdk::{Close, Connection, Handler, Message, store, testing::FakeHost};
///
/// #[derive(Default)]
/// struct OncePerMinute;
///
/// impl Handler for OncePerMinute {
///     type State = ();
///     fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
///         if store::increment("said", 1, Some(Duration::from_secs(60)))? > 1 {
///             return Ok(());
///         }
///         Ok(connection.send(message)?)
///     }
/// }
///
/// let host = FakeHost::new();
/// let ann = host.connection("/ws");
/// ann.connect::<OncePerMinute>().unwrap();
/// ann.message::<OncePerMinute>("one");
/// ann.message::<OncePerMinute>("two");
/// host.advance(Duration::from_secs(60));
/// ann.message::<OncePerMinute>("three");
/// assert_eq!(ann.take_received(), ["one", "three"]);
/// ```
pub fn increment(key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, Failure> {
    Ok(host::store::increment(key, by, ttl.map(whole_millis))?)
}
