//! A whole Switchboard server inside a test, and clients that talk to it as real ones would.
//!
//! For authors of plugins and for the tests of Switchboard itself: start a [`TestServer`] from the text of a
//! `switchboard.toml` and compiled [`Components`], connect [`Client`]s, say something, expect something. Servers listen on
//! ports of their own and share nothing, so tests run in parallel. Every wait ends after [`DEADLINE`] with a panic that
//! says what was waited for; no test has to sleep.

#![doc = include_str!("README.md")]

mod client;
mod components;
mod deadline;
mod frame;
mod log;
mod request;
mod response;
mod server;

pub use client::{Client, Received};
pub use components::Components;
pub use deadline::{DEADLINE, within};
pub use frame::{masked, unmasked};
pub use log::{Log, Record};
pub use request::Request;
pub use response::Response;
pub use server::{Setup, TestServer};

pub use switchboard::clock::Clock;
pub use switchboard::engine::Reuse;
pub use switchboard::engine::compile::LoadError;
pub use switchboard::engine::registry::Reload;
pub use tracing::Level;
