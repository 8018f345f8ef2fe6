//! The fake host itself: a fresh world, its configuration, and what no single connection owns.
//!
//! Here is also how an event is run: begun, called, and committed or discarded.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::{
    FakeConnection, FakeRequest,
    world::{Stored, Value, World},
};
use crate::{Message, Service, events::whole_millis};

/// A host without a network. Making one clears the world of this thread.
///
/// ```
/// use switchboard_sdk::{Close, Connection, Handler, Message, testing::FakeHost};
///
/// #[derive(Default)]
/// struct Echo;
///
/// impl Handler for Echo {
///     type State = ();
///     fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
///         Ok(connection.send(message)?)
///     }
/// }
///
/// let host = FakeHost::new();
/// let ann = host.connection("/ws");
/// ann.connect::<Echo>().unwrap();
/// ann.message::<Echo>("hi");
/// assert_eq!(ann.take_received(), ["hi"]);
/// ```
#[derive(Debug)]
pub struct FakeHost(());

impl FakeHost {
    /// A host with no connections and no configuration.
    #[allow(clippy::new_without_default)] // It clears the world of the thread, which nobody expects of a default.
    pub fn new() -> Self {
        World::with(|world| *world = World::default());
        Self(())
    }

    /// Sets a value of the plugin's configuration.
    pub fn config(self, key: &str, value: &str) -> Self {
        World::with(|world| world.config.insert(key.to_owned(), value.to_owned()));
        self
    }

    /// Has the rooms of this name, or prefix with `*` at its end, keep this many messages, as `[[room]]` does.
    pub fn keep(self, pattern: &str, count: usize) -> Self {
        World::with(|world| world.kept.configure(pattern, count));
        self
    }

    /// Has another host answer requests to this URL, whatever their method. Others are refused, as for a host that is not listed.
    #[cfg(feature = "http")]
    pub fn http(self, url: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        World::with(|world| world.answers.insert(url.to_owned(), (status, body.into())));
        self
    }

    /// What other hosts were asked since the last call, in order, events that faulted included.
    #[cfg(feature = "http")]
    pub fn take_requests(&self) -> Vec<crate::http::Request> {
        World::with(|world| std::mem::take(&mut world.requests))
    }

    /// A connection that no plugin has seen yet, opened with a path and query or a [`FakeRequest`].
    pub fn connection(&self, request: impl Into<FakeRequest>) -> FakeConnection {
        FakeConnection::with_id(World::with(|world| world.open(request.into().into_raw())))
    }

    /// What was published since the last call, in order: the room's name and the message.
    pub fn take_published(&self) -> Vec<(String, Message)> {
        World::with(|world| std::mem::take(&mut world.published))
    }

    /// The lines of the log since the last call, in order: `level: line field=value`.
    pub fn take_log(&self) -> Vec<String> {
        let lines = World::with(|world| std::mem::take(&mut world.log));
        lines.into_iter().map(|(level, line)| format!("{level}: {line}")).collect()
    }

    /// A value of the store; a counter as decimal digits.
    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        super::imports::store::get(key).ok().flatten()
    }

    /// Puts a value into the store, which stays.
    pub fn store(&self, key: &str, value: &[u8]) {
        let stored = Stored { value: Value::Bytes(value.to_vec()), ends: None };
        World::with(|world| world.store.insert(key.to_owned(), stored));
    }

    /// Starts a service.
    pub fn start<S: Service>(&self) -> Result<(), String> {
        run(None, || S::default().start())
    }

    /// Calls a service's tick, and returns the pause that it asks for.
    pub fn tick<S: Service>(&self) -> Duration {
        run(None, || S::default().tick())
    }

    /// Runs a service for this long, as a host that has started it would: a tick at once, and another after each pause that
    /// a tick asked for. Moves the time on, and returns how many ticks there were.
    pub fn run<S: Service>(&self, time: Duration) -> usize {
        let until = World::with(|world| world.now + time);
        let mut ticks = 0;
        while World::with(|world| world.now < until) {
            let pause = whole_millis(self.tick::<S>());
            World::with(|world| world.now += Duration::from_millis(pause.into()));
            ticks += 1;
        }
        World::with(|world| world.now = until);
        ticks
    }

    /// Moves the time on, which ends values of the store. Timers belong to plugins: see
    /// [`FakeConnection::advance`](super::FakeConnection::advance).
    pub fn advance(&self, by: Duration) {
        World::with(|world| world.now += by);
    }

    /// Stops a service.
    pub fn stop<S: Service>(&self) {
        run(None, || S::default().stop());
    }
}

/// Runs what must fault, and returns the text of its panic.
///
/// Panics itself where nothing faults. An event that faults in a test without this fails the test with the plugin's own text.
pub fn expect_fault(event: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(event)).expect_err("the event was to fault, and returned");
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Runs one event: what it asked for takes effect when it returns, and is gone when it panics.
pub(super) fn run<R>(connection: Option<u64>, event: impl FnOnce() -> R) -> R {
    World::with(|world| world.begin(connection, false));
    let answer = attempt(event);
    World::with(World::commit);
    answer
}

/// Calls an event that has begun; discards it where it panics.
pub(super) fn attempt<R>(event: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(event)).unwrap_or_else(|panic| {
        World::with(World::discard);
        resume_unwind(panic)
    })
}
