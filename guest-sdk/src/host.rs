//! The host functions, as one set of names for both targets.
//!
//! On wasm32 they are the imports of the component; natively they are the fake host of [`testing`](crate::testing), with the
//! same signatures. Everything else in this crate calls the host through here and does not know which of them it has.

pub use crate::bindings::imports::switchboard::ws::types;

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::imports::{
    switchboard::ws::{connections, control, flow, log, rooms, store, timers},
    wasi::config::store as config,
};

#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::imports::{config, connections, control, flow, log, rooms, store, timers};
