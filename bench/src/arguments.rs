//! What was typed, and what it means.
//!
//! The one place with names and defaults of the options; everything else is handed what it needs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::load::Cell;
use crate::report::Detail;
use crate::round::Times;

#[derive(Parser)]
#[command(name = "bench", about = "Measures Switchboard side by side with Bun")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Benchmark,
}

#[derive(Subcommand)]
pub enum Benchmark {
    /// A handler that sends every message back: CPU, throughput, round trips and idle memory.
    Echo(Arguments),
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Only {
    Switchboard,
    Bun,
}

#[derive(Args)]
pub struct Arguments {
    /// Connections of the load.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub connections: usize,
    /// Messages that each connection has on the way at a time.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub in_flight: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Run 64/1, 64/16, 1000/1 and 4000/1 connections and messages in flight.
    #[arg(long, conflicts_with_all = ["connections", "in_flight"])]
    pub matrix: bool,
    /// Rounds of each server.
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub rounds: usize,
    /// Seconds of a round, after one second of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Connections to measure idle memory with; 0 leaves it out.
    #[arg(long, default_value_t = 2000)]
    pub idle: usize,
    /// Run one server only.
    #[arg(long)]
    pub only: Option<Only>,
    /// A binary to measure instead of building Switchboard.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Write the raw numbers to a file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Fail when messages per CPU-second, divided by Bun's, are below this in any cell.
    #[arg(long, value_name = "RATIO", conflicts_with = "only")]
    pub min_ratio: Option<f64>,
    /// Show what a message costs the server and the generator.
    #[arg(long)]
    pub verbose: bool,
    /// Let the generator sleep while it waits for answers, which puts waking it on the servers' account.
    #[arg(long)]
    pub asleep: bool,
}

impl Arguments {
    pub fn cell(&self) -> Cell {
        Cell { connections: self.connections, in_flight: self.in_flight, size: self.size }
    }

    pub fn times(&self) -> Times {
        Times { warm_up: Duration::from_secs(1), measured: Duration::from_secs(self.seconds) }
    }

    pub fn detail(&self) -> Detail {
        if self.verbose { Detail::Costs } else { Detail::Brief }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn nothing_typed_means_the_cell_that_everyone_compares() {
        let line = CommandLine::try_parse_from(["bench", "echo"]).unwrap();
        let Benchmark::Echo(arguments) = line.command;
        let Cell { connections, in_flight, size } = arguments.cell();
        assert_eq!((connections, in_flight, size), (64, 1, 64));
    }
}
