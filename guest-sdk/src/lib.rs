//! Write Switchboard plugins in Rust: a type, a trait, and one `export!` line.
//!
//! A plugin is a WebAssembly component that the host calls with events: a handler for a route, a gate on the life of
//! connections, a filter on their messages, a service that runs by itself. This crate is the guest's side of the contract in
//! `wit/`. For any other target than wasm32 the host functions are those of a fake host, so that a plugin is unit-tested as
//! plain Rust. Nothing here keeps state between events: what must last lives in the host.
//!
//! # A complete plugin and its test
//!
//! ```
//! use switchboard_sdk::{Close, Connection, Handler, Message, export};
//!
//! #[derive(Default)]
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type State = ();
//!     fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
//!         Ok(connection.send(message)?)
//!     }
//! }
//! export!(Echo);
//!
//! // #[test]
//! fn what_is_said_comes_back() {
//!     let host = switchboard_sdk::testing::FakeHost::new();
//!     let ann = host.connection("/ws");
//!     ann.connect::<Echo>().unwrap();
//!     ann.message::<Echo>("hi");
//!     assert_eq!(ann.take_received(), ["hi"]);
//! }
//! # what_is_said_comes_back();
//! ```
//!
//! Its `Cargo.toml` says `crate-type = ["cdylib", "rlib"]`, and `cargo build --target wasm32-wasip2` makes the component.
//!
//! # What to know
//!
//! - **An event is a transaction.** Sends, joins, closes and state take effect when the method returns; where it panics, none
//!   of it happened. The text of the panic is in the operator's log.
//! - **State lives in the host**: a handler's typed [`State`], read before an event and written after it where it changed, and
//!   named values that the plugins of a connection share, through [`Connection::state`].
//! - **Errors close**: a handler's `?` turns a message of the wrong kind into 1003, bad JSON into 1007, anything else into
//!   1011; [`Handler::on_error`] may map them.
//! - **Configuration** comes through [`config`], and a plugin's `Default` is where to read it.
#![deny(missing_docs)]

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod export;

mod answer;
mod close;
pub mod config;
mod connection;
pub mod control;
mod events;
mod failure;
mod filter;
pub mod flow;
mod gate;
mod handler;
mod host;
pub mod log;
mod message;
mod request;
pub mod room;
mod service;
mod state;
pub mod store;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod timer;

pub use answer::{Accept, Pass, Refusal};
pub use close::Close;
pub use connection::{Connection, ConnectionId};
pub use events::{ControlEvents, FaultEvents, FlowEvents, Joined, Migration, RoomEvents, TimerEvents};
pub use failure::{Failure, FailureKind};
pub use filter::{Inbound, Origin, Outbound, Verdict};
pub use gate::Gate;
pub use handler::Handler;
pub use message::{Message, Unexpected};
pub use request::{BadParam, Request};
pub use room::Room;
pub use service::Service;
pub use state::{STATE_KEY, State};
