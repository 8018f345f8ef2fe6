//! Doors for the targets in `fuzz/`: what reads a client's bytes, without a server around it.
//!
//! Built by cargo-fuzz only, which sets `cfg(fuzzing)`, so nothing here is part of the host's API. Each door leads to the
//! function that serves clients.

pub use super::body::Body;
pub use super::deflate::{Agreed, Inflating, Settings, agree, deflate, inflate};
pub use super::files::below as file_below;
pub use super::head::{Upgrade, asks_for_websocket, check, check_origin, host, is_token};
pub use super::peer::of_request;
pub use super::peer::proxy_protocol::{BadHeader, begins, read as read_proxy_header};
pub use super::refusal::Refusal;
pub use super::socket::meter::follow;
