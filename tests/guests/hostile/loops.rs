//! Endless work: in the guest alone, and in host calls that cost nothing.
//!
//! None of them has an effect, so that only the limit on time ends them.

use std::hint::black_box;

use crate::Tried;
use crate::bindings::{connections, flow, rooms, store, timers, types};

pub fn run(connection: u64, what: &str) -> Tried {
    match what {
        "alone" => loop {
            std::hint::spin_loop();
        },
        "calls" => loop {
            // Each of these is answered, and none of them is an effect.
            black_box(rooms::count("lobby")).ok();
            black_box(rooms::members("@all", u32::MAX)).ok();
            black_box(store::get("key")).ok();
            black_box(flow::queued(connection)).ok();
            black_box(connections::handshake(connection)).ok();
            black_box(connections::get_state(connection, "key")).ok();
            black_box(timers::set(connection, 1, 60_000)).ok();
        },
        "refused" => loop {
            // Each of these is refused, for another reason.
            black_box(rooms::join(connection, "@all", rooms::Replay::Nothing)).err();
            black_box(connections::close(connection, &types::CloseFrame { code: 1, reason: String::new() })).err();
            black_box(connections::set_state(connection, "", None)).err();
        },
        _ => panic!("there is no such loop: {what}"),
    }
}
