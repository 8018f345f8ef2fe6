//! The server: sockets in, WebSockets served.
//!
//! From top to bottom: the acceptor hands sockets of listeners to workers, `peer` says whose they are, `tls` deciphers, `http` reads
//! the head, `upgrade` opens the connection, `connection` serves it, `socket` is its wire.
//! Invariant: nothing in here knows WebAssembly; guests are reached through chains.

pub mod acceptor;
mod alarms;
mod body;
mod connection;
mod deadlines;
mod deflate;
pub mod door;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod http;
mod lent;
pub mod listener;
mod peer;
pub mod plan;
mod refusal;
mod socket;
mod stream;
pub mod succession;
pub mod tls;
mod upgrade;
mod worker;

use std::sync::Arc;

use tokio::sync::watch;

use self::door::Door;
use self::plan::Plan;
use self::succession::Succession;
use self::tls::Tls;
use crate::engine::registry::Registry;

/// What all workers share, for reading.
pub struct Shared {
    /// The plugins.
    pub registry: Arc<Registry>,
    /// What is to be done; another configuration puts another plan in its place, in one step.
    pub plans: watch::Sender<Arc<Plan>>,
    /// What the server proves itself with, where that is asked for.
    pub tls: Option<Tls>,
    /// How many connections there are.
    pub door: Arc<Door>,
    /// Set while services run: once they were told to start, connections are accepted; once they have stopped, clients are told.
    pub serving: watch::Sender<bool>,
    /// The way to a process that takes over.
    pub succession: Succession,
    /// Set once, when the server is to stop.
    pub stopping: watch::Sender<bool>,
}
