//! What was typed, and what it means.
//!
//! The one place with names and defaults of the options; everything else is handed what it needs.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::attacks::{self, corpus};
use crate::compress::document;
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
    /// The same with messages that are compressed, and with the same ones that are not: CPU and bytes.
    Compress(CompressArguments),
    /// A plugin that is swapped: how long that takes, and what open connections notice.
    Reload(ReloadArguments),
    /// A tenant that attacks: what others notice.
    Attacks(AttackArguments),
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

#[derive(Args)]
pub struct CompressArguments {
    /// Bytes of a message.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 800, 4000], value_parser = document_size)]
    pub sizes: Vec<usize>,
    /// How Switchboard compresses: 1, its default, to 9.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub level: u8,
    /// Connections of the load, with one message in flight on each.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub connections: usize,
    /// Rounds of each server with each size, compressed and not.
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub rounds: usize,
    /// Seconds of a round, after one second of warm-up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Run one server only.
    #[arg(long)]
    pub only: Option<Only>,
    /// A binary to measure instead of building Switchboard.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Write the raw numbers to a file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl CompressArguments {
    pub fn times(&self) -> Times {
        Times { warm_up: Duration::from_secs(1), measured: Duration::from_secs(self.seconds) }
    }
}

/// The parts of the reload benchmark.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Part {
    /// Swaps on a server that has nothing else to do.
    Idle,
    /// Swaps under many connections that echo.
    Load,
    /// Edits under `switchboard dev`.
    Dev,
    /// Swaps of a large plugin beside connections that echo on a small one.
    Large,
}

#[derive(Args)]
pub struct ReloadArguments {
    /// Run these parts only.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Rounds of each part but the large one.
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub rounds: usize,
    /// Rounds with a large plugin; each takes a minute or so.
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    pub large_rounds: usize,
    /// Connections of the load.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub connections: usize,
    /// Connections beside a large plugin.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub large_connections: usize,
    /// A binary to measure instead of building Switchboard.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Write the raw numbers to a file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Fail when a swap of new content on an idle server takes longer, in the median.
    #[arg(long, value_name = "MS")]
    pub max_idle_ms: Option<f64>,
    /// Fail when a swap under load adds more to the longest gaps at p99, in the median.
    #[arg(long, value_name = "MS")]
    pub max_gap_ms: Option<f64>,
    /// Fail when an edit under `dev` takes longer, in the median.
    #[arg(long, value_name = "MS")]
    pub max_dev_ms: Option<f64>,
}

#[derive(Args)]
pub struct AttackArguments {
    /// Run these attacks only; `crowd` is the one with many tenants.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = attack_names(), hide_possible_values = true)]
    pub only: Vec<String>,
    /// Rounds of each attack.
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub rounds: usize,
    /// Seconds of each half of a round, undisturbed and attacked.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// A binary to measure instead of building Switchboard.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Write the raw numbers to a file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Fail when an attack adds more to the round trips of others at p99, in the median.
    #[arg(long, value_name = "MS")]
    pub max_added_ms: Option<f64>,
    /// Fail when one that works on much memory at once adds more.
    #[arg(long, value_name = "MS")]
    pub max_added_bulk_ms: Option<f64>,
}

impl AttackArguments {
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    pub fn times(&self) -> attacks::Times {
        attacks::Times { rounds: self.rounds, measured: Duration::from_secs(self.seconds) }
    }
}

/// Names that do not exist are told with those that do.
fn attack_names() -> PossibleValuesParser {
    let names = corpus::all().into_iter().map(|attack| attack.name);
    PossibleValuesParser::new(names.chain([attacks::CROWD]))
}

impl ReloadArguments {
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
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

fn document_size(text: &str) -> Result<usize, String> {
    let sizes = document::SIZES;
    match at_least_one(text)? {
        size if sizes.contains(&size) => Ok(size),
        _ => Err(format!("must be {} to {}", sizes.start(), sizes.end())),
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
        let Benchmark::Echo(arguments) = line.command else { panic!("it is the echo") };
        let Cell { connections, in_flight, size } = arguments.cell();
        assert_eq!((connections, in_flight, size), (64, 1, 64));
    }

    #[test]
    fn documents_have_a_size_that_one_can_have() {
        let sizes =
            |typed: &[&str]| match CommandLine::try_parse_from([&["bench", "compress"], typed].concat())?.command {
                Benchmark::Compress(arguments) => Ok::<_, clap::Error>(arguments.sizes),
                _ => panic!("it is compression"),
            };
        assert_eq!(sizes(&[]).unwrap(), [200, 800, 4000]);
        assert_eq!(sizes(&["--sizes", "64,1048576"]).unwrap(), [64, 1_048_576]);
        assert!(sizes(&["--sizes", "63"]).is_err() && sizes(&["--sizes", "1048577"]).is_err());
    }

    #[test]
    fn attacks_are_named_and_those_that_do_not_exist_refused() {
        let parsed = |only: &str| match CommandLine::try_parse_from(["bench", "attacks", "--only", only])?.command {
            Benchmark::Attacks(arguments) => Ok::<_, clap::Error>(arguments),
            _ => panic!("it is the attacks"),
        };
        let some = parsed("endless-loop,crowd").unwrap();
        assert!(some.wants("endless-loop") && some.wants("crowd") && !some.wants("timers"));
        let refused = parsed("endless-lop").err().unwrap().to_string();
        assert!(refused.contains("bulk-memory"), "{refused}");
    }

    #[test]
    fn all_attacks_are_meant_where_none_is_named() {
        let line = CommandLine::try_parse_from(["bench", "attacks", "--rounds", "2"]).unwrap();
        let Benchmark::Attacks(arguments) = line.command else { panic!("it is the attacks") };
        assert!(corpus::all().iter().all(|attack| arguments.wants(attack.name)) && arguments.wants(attacks::CROWD));
        assert_eq!(arguments.times().rounds, 2);
    }
}
