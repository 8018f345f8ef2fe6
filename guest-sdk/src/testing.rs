//! A fake host, for unit tests of plugins as plain Rust: no server, no wasm, no network.
//!
//! A test makes connections, calls one event of one plugin at a time, and looks at what came of it. Each event runs on a
//! fresh value of the plugin, as `switchboard dev` runs it on a fresh instance, so that state hidden in a plugin shows. An
//! event is a transaction here too: what a panicking event asked for is gone. The world belongs to the test's thread, so
//! tests run in parallel. The fake host keeps the contract's limits, rooms keep messages where the test says so
//! ([`FakeHost::keep`]), and time moves only where a test moves it. Natively only: there is no such module on wasm32.

mod connection;
mod host;
pub(crate) mod imports;
mod kept;
mod request;
mod world;

pub use connection::FakeConnection;
pub use host::{FakeHost, expect_fault};
pub use request::FakeRequest;
