//! A whole Switchboard server inside a test, and clients that talk to it as real ones would.
//!
//! For authors of plugins and for the tests of Switchboard itself: start a [`TestServer`] from the text of a
//! `switchboard.toml` and compiled [`Components`], connect [`Client`]s, say something, expect something. Servers listen on
//! ports of their own and share nothing, so tests run in parallel. Every wait ends after [`DEADLINE`] with a panic that
//! says what was waited for; no test has to sleep.
//!
//! ```no_run
//! # use switchboard_harness::{Components, TestServer};
//! # async fn test() {
//! let components = Components::in_folder("target/guests/wasm32-wasip2/guest");
//! let server = TestServer::start(
//!     &components,
//!     r#"
//!     [plugins.echo]
//!     path = "echo.wasm"
//!     [[route]]
//!     path = "/ws"
//!     handler = "echo"
//!     "#,
//! );
//! let mut ann = server.connect("/ws").await;
//! ann.send("hi").await;
//! ann.expect_text("hi").await;
//! # }
//! ```

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
