//! Switchboard
pub mod clock;
pub mod engine;
pub mod event;
pub mod handshake;
pub mod hub;
pub mod id;
pub mod limits;
pub mod message;
pub mod metrics;
pub mod state;
