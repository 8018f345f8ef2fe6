//! A component that does all that a plugin should not do: the attacks that Rust can write, one module for each kind.
//!
//! The others are core modules in text beside this file. A message `ATTACK WHAT` says what is tried, and the answer is what
//! the host said, if the guest survived it. What is tried in other callbacks, and with their results, is configured: `panic`
//! names a callback, and `result` what is answered. It has no SDK, which would keep it from some of it.
//! Nothing is kept between two events, except where that is the attack.

mod callbacks;
mod floods;
mod loops;
mod memory;
mod oversized;
mod results;

mod bindings {
    #![allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used)]

    wit_bindgen::generate!({
        path: ["../../wit", "../../guest-sdk/wit/config"],
        inline: "
            package test:hostile;

            world hostile {
                include switchboard:ws/imports@0.1.0;
                import wasi:config/store@0.2.0-rc.1;
                export switchboard:ws/handler@0.1.0;
                export switchboard:ws/gate@0.1.0;
                export switchboard:ws/inbound@0.1.0;
                export switchboard:ws/outbound@0.1.0;
                export switchboard:ws/timer-events@0.1.0;
                export switchboard:ws/flow-events@0.1.0;
                export switchboard:ws/control-events@0.1.0;
                export switchboard:ws/room-events@0.1.0;
                export switchboard:ws/fault-events@0.1.0;
                export switchboard:ws/migration@0.1.0;
            }
        ",
        generate_all,
    });

    pub use exports::switchboard::ws as exported;
    pub use switchboard::ws::{connections, control, flow, log, rooms, store, timers, types};
    pub use wasi::config::store as config;

    export!(Hostile);

    pub struct Hostile;
}

use bindings::{config, connections, types};

/// What the host said: a failure's kind.
type Tried = Result<(), types::Failure>;

/// One attack, in words.
fn attack(connection: u64, words: &str) {
    let (attack, what) = words.split_once(' ').unwrap_or((words, ""));
    let tried = match attack {
        "loop" => loops::run(connection, what),
        "memory" => memory::run(what),
        "flood" => floods::run(connection, what),
        "oversized" => oversized::run(connection, what),
        "trap" => panic!("{what}"),
        "send" => say(connection, what),
        "close" => connections::close(connection, &types::CloseFrame { code: 4000, reason: what.to_owned() }),
        _ => panic!("there is no attack `{words}`"),
    };
    let told = tried.map_or_else(|failure| format!("{attack}: {}", failure.kind), |()| format!("{attack}: done"));
    // Over the effects of an event there is no room for this either.
    let _ = say(connection, &told);
}

fn say(connection: u64, text: &str) -> Tried {
    connections::send(connection, &types::Message::Text(text.to_owned()))
}

/// A value of the configuration; empty where there is none.
fn configured(key: &str) -> String {
    config::get(key).ok().flatten().unwrap_or_default()
}
