//! A gate that says how a connection ends when a plugin further in faults: `fault = "CODE REASON"`, or as always without it.
//! What it is told is a line in the log; with `trap` it faults itself instead.

use switchboard_sdk::{Close, Connection, FaultEvents, Gate, config, export, log};

#[derive(Default)]
struct Judge;

impl Gate for Judge {
    fn disconnect(&self, _: &Connection, close: &Close) -> Result<(), Close> {
        log::info(format_args!("disconnect {close}"));
        Ok(())
    }
}

impl FaultEvents for Judge {
    fn fault(&self, connection: &Connection, plugin: &str, kind: &str) -> Option<Close> {
        log::info(format_args!("{plugin} faulted: {kind}"));
        config::get("do").iter().for_each(|line| script::command(connection, line));
        config::get("fault").map(|words| script::close(&words))
    }
}

export!(Judge: gate, fault_events);
