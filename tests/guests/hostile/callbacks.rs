//! The exports: each panics where it is configured to, and answers what it is configured to.
//!
//! Which one panics is configured, so that one component does for all of them.

use crate::bindings::{Hostile, exported, rooms, timers, types};
use crate::{attack, configured, results, say};

fn enter(callback: &str) {
    assert_ne!(configured("panic"), callback, "this is where it ends");
}

fn text(message: &types::Message) -> &str {
    match message {
        types::Message::Text(text) => text,
        types::Message::Binary(_) => "trap bytes",
    }
}

impl exported::handler::Guest for Hostile {
    fn on_connect(connection: u64, _: types::Request) -> types::Answer {
        enter("connect");
        match &*configured("begin") {
            "timer" => timers::set(connection, 1, 1).expect("there is room for one"),
            "join" => rooms::join(connection, "kept-0", rooms::Replay::Newest(1)).expect("there is room for one"),
            _ => {}
        }
        results::answer()
    }

    fn on_message(connection: u64, message: types::Message) {
        enter("message");
        attack(connection, text(&message));
    }

    fn on_disconnect(_: u64, _: types::CloseFrame) {
        enter("disconnect");
    }
}

impl exported::gate::Guest for Hostile {
    fn on_connect(_: u64, _: types::Request) -> types::Admission {
        enter("gate-connect");
        results::admission()
    }

    fn on_disconnect(_: u64, _: types::CloseFrame) {
        enter("gate-disconnect");
    }
}

impl exported::inbound::Guest for Hostile {
    fn on_message(_: u64, _: types::Message) -> types::Verdict {
        enter("in");
        results::verdict("in-")
    }
}

impl exported::outbound::Guest for Hostile {
    fn on_message(_: u64, _: types::Message, _: Option<exported::outbound::Origin>) -> types::Verdict {
        enter("out");
        results::verdict("out-")
    }
}

impl exported::timer_events::Guest for Hostile {
    fn on_timer(connection: u64, token: u32) {
        enter("timer");
        // Each timer sets itself again, at once.
        let _ = timers::set(connection, token, 0);
    }
}

impl exported::flow_events::Guest for Hostile {
    fn on_drained(connection: u64) {
        enter("drained");
        let _ = say(connection, "drained");
    }
}

impl exported::control_events::Guest for Hostile {
    fn on_ping(_: u64, _: Vec<u8>) {
        enter("ping");
    }

    fn on_pong(_: u64, _: Vec<u8>) {
        enter("pong");
    }
}

impl exported::room_events::Guest for Hostile {
    fn on_joined(_: u64, _: String, _: types::Place, _: bool) {
        enter("joined");
    }
}

impl exported::fault_events::Guest for Hostile {
    fn on_fault(_: u64, _: String, _: String) -> Option<types::CloseFrame> {
        enter("fault");
        results::on_fault()
    }
}

impl exported::migration::Guest for Hostile {
    fn state_version() -> u32 {
        enter("state-version");
        configured("version").parse().unwrap_or_default()
    }

    fn migrate(_: u32, _: String, _: Vec<u8>) -> Result<Vec<u8>, String> {
        enter("migrate");
        results::migrate()
    }
}
