//! `bench`: measures Switchboard side by side with other WebSocket servers on this machine, what compression and a reload
//! cost, and what attacks cost others.
//!
//! Read from the top: `arguments` (what was typed), `echo` (which rounds of which servers), `compress` (the same with compression), `reload` (swaps of a plugin), `attacks` (hostile tenants), `prepare` and `peer` (getting
//! servers, running them), `cores` (what runs where), `round` and `idle` (one measurement), `load`, `connection`, `script` and `frames` (the
//! generator itself), `proc` and `stats` (figures), `results` and `report` (what is shown).

#![forbid(unsafe_code)]

mod arguments;
mod attacks;
mod compress;
mod connection;
mod cores;
mod echo;
mod frames;
mod idle;
mod interrupt;
mod load;
mod peer;
mod prepare;
mod proc;
mod reload;
mod report;
mod results;
mod round;
mod script;
mod stats;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Benchmark, CommandLine};

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Benchmark::Echo(arguments) => echo::run(&arguments),
        Benchmark::Compress(arguments) => compress::run(&arguments),
        Benchmark::Reload(arguments) => reload::run(&arguments),
        Benchmark::Attacks(arguments) => attacks::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
