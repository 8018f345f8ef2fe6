//! Strings of 128 MiB, lists of a million elements and many headers, as the result of each callback that has one.
//!
//! Which one is configured, so that one component does for all of them.

use crate::bindings::types;
use crate::configured;
use crate::oversized::{HUGE, MILLION, text};

pub fn answer() -> types::Answer {
    match &*configured("result") {
        "accept-subprotocol" => types::Answer::Accept(types::Accept { subprotocol: Some(text()), headers: vec![] }),
        "accept-headers" => types::Answer::Accept(types::Accept { subprotocol: None, headers: million() }),
        "accept-many" => types::Answer::Accept(types::Accept { subprotocol: None, headers: many() }),
        "accept-name" => types::Answer::Accept(types::Accept { subprotocol: None, headers: long_name() }),
        "respond-body" => respond(Vec::new(), vec![0; HUGE]),
        "respond-headers" => respond(million(), Vec::new()),
        "respond-many" => respond(many(), Vec::new()),
        "close" => types::Answer::Close(frame()),
        _ => types::Answer::Accept(types::Accept { subprotocol: None, headers: Vec::new() }),
    }
}

pub fn admission() -> types::Admission {
    match &*configured("result") {
        "pass-headers" => types::Admission::Pass(million()),
        "pass-many" => types::Admission::Pass(many()),
        "gate-close" => types::Admission::Close(frame()),
        _ => types::Admission::Pass(Vec::new()),
    }
}

pub fn verdict(callback: &str) -> types::Verdict {
    match configured("result").strip_prefix(callback) {
        Some("replace") => types::Verdict::Replace(types::Message::Text(text())),
        Some("replace-some") => types::Verdict::Replace(types::Message::Text("x".repeat(12 << 20))),
        Some("close") => types::Verdict::Close(frame()),
        _ => types::Verdict::Pass,
    }
}

pub fn on_fault() -> Option<types::CloseFrame> {
    (configured("result") == "fault").then(frame)
}

pub fn migrate() -> Result<Vec<u8>, String> {
    match &*configured("result") {
        "migrate-value" => Ok(vec![0; HUGE]),
        "migrate-reason" => Err(text()),
        "migrate-some" => Err("x".repeat(12 << 20)),
        _ => Ok(b"migrated".to_vec()),
    }
}

fn frame() -> types::CloseFrame {
    types::CloseFrame { code: 4000, reason: text() }
}

fn respond(headers: Vec<types::Header>, body: Vec<u8>) -> types::Answer {
    types::Answer::Respond(types::Response { status: 200, headers, body })
}

fn million() -> Vec<types::Header> {
    vec![types::Header { name: String::new(), value: String::new() }; MILLION]
}

/// Few enough to reach the host, and more than its map of headers can hold.
fn many() -> Vec<types::Header> {
    (0..50_000).map(|n| types::Header { name: format!("x-{n}"), value: String::new() }).collect()
}

fn long_name() -> Vec<types::Header> {
    vec![types::Header { name: "\u{e9}".repeat(1 << 20), value: String::new() }]
}
