//! The server as others meet it: the binary `switchboard`, started by its command line and talked to over its port.
//!
//! Nothing here uses the host as a library. Clients are those that people use (Python, Node, a browser), and what a
//! person would read is what is compared: exit codes, messages, the log. Tests wait for conditions, never for a time.
//! What is needed besides Rust comes from the script `install` in this folder.

mod browser;
#[allow(dead_code, reason = "the tests of the whole server use more of it")]
mod choices;
mod client;
mod clients;
mod commands;
mod compiling;
mod configuration;
mod control;
mod damage;
mod descriptors;
mod dev;
mod drain;
mod files;
mod guests;
mod heavy;
mod kills;
mod login;
mod many_swaps;
mod operator;
mod plugin_files;
mod program;
mod project;
mod secure;
mod stocks;
mod stopping;
mod store;
mod switchboard;
mod taking_over;
mod tools;
