//! Switchboard
pub mod app;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod event;
pub mod handshake;
pub mod hub;
pub mod id;
pub mod limits;
pub mod message;
pub mod metrics;
pub mod routes;
pub mod server;
pub mod state;
