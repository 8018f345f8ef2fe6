//! Strings of 128 MiB and lists of a million elements, as an argument of each host call.
//!
//! Where the host survives taking them in, it says so to the client.

use crate::Tried;
use crate::bindings::{connections, control, flow, log, rooms, store, timers, types};

pub const HUGE: usize = 128 * 1024 * 1024;
pub const MILLION: usize = 1_000_000;

pub fn text() -> String {
    String::from_utf8(vec![0; HUGE]).expect("it is ASCII")
}

pub fn run(connection: u64, what: &str) -> Tried {
    match what {
        "send-text" => connections::send(connection, &types::Message::Text(text())),
        "send-binary" => connections::send(connection, &types::Message::Binary(vec![0; HUGE])),
        "close" => connections::close(connection, &types::CloseFrame { code: 4000, reason: text() }),
        "ping" => connections::ping(connection, &vec![0; HUGE]),
        "pong" => control::pong(connection, &vec![0; HUGE]),
        "get-state" => connections::get_state(connection, &text()).map(drop),
        "set-state-key" => connections::set_state(connection, &text(), None),
        "set-state-value" => connections::set_state(connection, "key", Some(&vec![0; HUGE])),
        "join" => rooms::join(connection, &text(), rooms::Replay::Nothing),
        "leave" => rooms::leave(connection, &text()),
        "publish-room" => rooms::publish(&text(), &types::Message::Text(String::new()), &[]),
        "publish-text" => rooms::publish("lobby", &types::Message::Text(text()), &[]),
        "members" => rooms::members(&text(), 1).map(drop),
        "count" => rooms::count(&text()).map(drop),
        "history" => rooms::history(&text(), None, 1).map(drop),
        "store-get" => store::get(&text()).map(drop),
        "store-set-key" => store::set(&text(), b"", None),
        "store-set-value" => store::set("key", &vec![0; HUGE], None),
        "store-remove" => store::remove(&text()),
        "store-increment" => store::increment(&text(), 1, None).map(drop),
        "log-level" => written(&text(), "", &[]),
        "log-line" => written("info", &text(), &[]),
        "log-name" => written("info", "", &[(text(), String::new())]),
        "log-value" => written("info", "", &[(String::new(), text())]),
        "log-fields" => written("info", "", &vec![Default::default(); MILLION]),
        "log-enabled" => Err(types::Failure { kind: log::enabled(&text()).to_string(), message: String::new() }),
        _ => bearable(connection, what),
    }
}

/// What the host takes in, and then refuses or bounds by a limit of its own.
fn bearable(connection: u64, what: &str) -> Tried {
    match what {
        "exclude" => rooms::publish("lobby", &types::Message::Text(String::new()), &vec![connection; MILLION]),
        "all-members" => rooms::members("@all", u32::MAX).map(drop),
        "all-history" => rooms::history("kept-0", None, u32::MAX).map(drop),
        "timer" => timers::set(connection, u32::MAX, u32::MAX),
        "queued" => flow::queued(u64::MAX).map(drop),
        "some-fields" => written("info", "", &vec![("a".to_owned(), "b".to_owned()); 100_000]),
        "some-text" => connections::send(connection, &types::Message::Text("x".repeat(12 << 20))),
        "some-key" => store::get(&"x".repeat(12 << 20)).map(drop),
        _ => panic!("there is no such call: {what}"),
    }
}

fn written(level: &str, line: &str, fields: &[(String, String)]) -> Tried {
    log::write(level, line, fields);
    Ok(())
}
