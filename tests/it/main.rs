//! The tests of the whole server: one function for each scenario, named by its id.
//!
//! Each starts a server with the configuration and the plugins that it shows, connects real clients, says something and
//! expects something. Nothing here looks inside of the server, except for its counters and its log.

mod attacks;
mod auth;
mod bad_builds;
mod broadcast;
mod capacity;
#[path = "../outside/choices.rs"]
mod choices;
mod compression;
mod conformance;
mod connection;
mod door;
mod elsewhere;
mod errors;
mod faults;
mod files;
mod fixtures;
mod given_back;
mod grants;
mod handshake;
mod heartbeat;
mod history;
mod hostile;
mod hostile_bytes;
mod hostile_calls;
mod hostile_components;
mod hostile_floods;
mod http;
mod http2;
mod http_limits;
mod keepalive;
mod limits;
mod listening;
mod middleware;
mod neighbour;
mod notices;
mod panics;
mod protocol;
mod proxies;
mod queue;
mod rates;
mod reconfigure;
mod reconfigure_plugins;
mod reload;
mod rollout;
mod rooms;
mod secure;
mod services;
mod signatures;
mod state_versions;
mod stocks;
mod store;
mod streams;
mod stress;
mod stress_reload;
mod stress_tenants;
mod tenant_limits;
mod tenants;
mod testing;
