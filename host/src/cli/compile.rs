//! `switchboard compile-component`: hidden, and started by a server only; see `engine/compiler`.
//!
//! The component comes on stdin, compiled code goes to stdout, and what the process may take is in the arguments.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::app::Options;
use crate::engine::compiler::{Compiler, Order, inside};

/// What the server asks for. The wall time is the server's to watch, and threads are in the environment.
#[derive(Args)]
pub struct Line {
    #[arg(long)]
    engine: u64,
    #[arg(long)]
    cpu_ms: u64,
    #[arg(long)]
    memory_bytes: usize,
    #[arg(long)]
    nice: u8,
}

/// Compiles.
pub fn run(line: &Line) -> ExitCode {
    let Line { engine, cpu_ms, memory_bytes, nice } = *line;
    inside::run(&Order { engine, cpu_ms, memory_bytes, nice, threads: None, wall: Duration::MAX })
}

/// Options of a command that loads plugins: they are compiled in children of this binary.
pub fn options() -> Result<Options> {
    let compiler = Compiler::own().context("the path of this program, which compiles plugins, is not known")?;
    Ok(Options { compiler, ..Options::default() })
}
