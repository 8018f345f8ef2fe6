//! Write Switchboard plugins in Rust: a type, a trait, and one `export!` line.
//!
//! A plugin is a WebAssembly component that the host calls with events: a handler for a route, a gate on the life of
//! connections, a filter on their messages, a service that runs by itself. This crate is the guest's side of the contract in
//! `wit/`. For any other target than wasm32 the host functions are those of a fake host, so that a plugin is unit-tested as
//! plain Rust. Nothing here keeps state between events: what must last lives in the host.

#![doc = include_str!("../README.md")]
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
#[cfg(feature = "http")]
pub mod http;
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
pub use filter::{Filter, Inbound, Origin, Outbound, Verdict};
pub use gate::Gate;
pub use handler::Handler;
pub use message::{Message, Unexpected};
pub use request::{BadParam, Request};
pub use room::Room;
pub use service::Service;
pub use state::{STATE_KEY, State};

/// The Rust blocks of the page for who comes from elsewhere, compiled and run as tests of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../docs/coming-from-nexios.md")]
struct ComingFromNexios;
