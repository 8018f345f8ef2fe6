//! A service that does what its configuration says: `start`, `tick` and `stop` are scripts with `;` between their lines,
//! `every` is the pause between two ticks in milliseconds, and with `fail` it cannot start. Each call is a line in the log.

use std::time::Duration;

use switchboard_sdk::{Connection, Service, config, export, log};

#[derive(Default)]
struct Metronome;

impl Service for Metronome {
    fn start(&self) -> Result<(), String> {
        run("start");
        config::get("fail").map_or(Ok(()), Err)
    }

    fn tick(&self) -> Duration {
        run("tick");
        let every = config::get("every").and_then(|every| every.parse().ok());
        Duration::from_millis(every.unwrap_or(1000))
    }

    fn stop(&self) {
        run("stop");
    }
}

/// It has no connection of its own, so what a script sends goes nowhere.
fn run(event: &str) {
    log::info(event);
    let script = config::get(event).unwrap_or_default();
    let lines = script.split(';').map(str::trim).filter(|line| !line.is_empty());
    lines.for_each(|line| script::command(&Connection::with_id(0), line));
}

export!(Metronome: service);
