//! The echo benchmark: which cells, in which order, on which servers.
//!
//! Round one of every server comes before round two of any, cell by cell; memory is measured last, on servers of its
//! own. Progress goes to stderr, so that stdout is the tables and nothing else.
//! Invariant: servers live in this file only as guards, so that they end when it returns, however it returns.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::arguments::{Arguments, Only};
use crate::cores::{Cores, Waiting};
use crate::idle::Idle;
use crate::interrupt;
use crate::load::Cell;
use crate::peer::{Peer, Program};
use crate::prepare;
use crate::proc;
use crate::report;
use crate::results::{Results, Rounds, Server};
use crate::round::Round;

/// Files that a server or this program needs beside its connections.
const SPARE_FILES: u64 = 100;
/// Connections and messages in flight on each.
const MATRIX: [(usize, usize); 4] = [(64, 1), (64, 16), (1000, 1), (4000, 1)];

pub fn run(arguments: &Arguments) -> Result<()> {
    interrupt::watch()?;
    let results = Benchmark::prepare(arguments)?.measure()?;
    print!("{}", report::tables(&results, arguments.detail()));
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", results.to_json());
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    match arguments.min_ratio {
        Some(least) => require_ratio(&results, least),
        None => Ok(()),
    }
}

struct Benchmark<'a> {
    arguments: &'a Arguments,
    /// How many files this program, and each server, may have open.
    files: u64,
    cores: Cores,
    programs: Vec<Program>,
}

impl<'a> Benchmark<'a> {
    fn prepare(arguments: &'a Arguments) -> Result<Self> {
        let files = proc::raise_open_files()?;
        let idle = arguments.idle;
        ensure!(fits(idle, files), "--idle {idle}: only {files} files may be open");
        let cores = Cores::divide()?;
        Ok(Self { arguments, files, cores, programs: programs(arguments)? })
    }

    fn measure(self) -> Result<Results> {
        Ok(Results {
            cores: self.cores.count(),
            times: self.arguments.times(),
            cells: self.measure_cells()?,
            idle: self.measure_idle()?,
            servers: self.programs.into_iter().map(Server::from).collect(),
        })
    }

    fn measure_cells(&self) -> Result<Vec<Rounds>> {
        let start = |program: &Program| program.start(&self.cores);
        let peers = self.programs.iter().map(start).collect::<Result<Vec<Peer>>>()?;
        let measure = |cell| self.measure_cell(&peers, cell);
        self.cells().into_iter().map(measure).collect()
    }

    fn measure_cell(&self, peers: &[Peer], cell: Cell) -> Result<Rounds> {
        let mut rounds: Vec<Vec<Round>> = peers.iter().map(|_| Vec::new()).collect();
        for number in 1..=self.arguments.rounds {
            for ((program, peer), list) in self.programs.iter().zip(peers).zip(&mut rounds) {
                eprintln!("{cell}: round {number}, {}", program.name);
                list.push(Round::of(peer, cell, self.arguments.times(), self.waiting()).context(program.name)?);
            }
        }
        Ok(Rounds { cell, rounds })
    }

    fn waiting(&self) -> Waiting {
        if self.arguments.asleep { Waiting::Asleep } else { self.cores.waiting() }
    }

    fn measure_idle(&self) -> Result<Vec<Vec<Idle>>> {
        let mut measured: Vec<Vec<Idle>> = self.programs.iter().map(|_| Vec::new()).collect();
        let connections = self.arguments.idle;
        if connections == 0 {
            return Ok(measured);
        }
        for number in 1..=self.arguments.rounds {
            for (program, list) in self.programs.iter().zip(&mut measured) {
                eprintln!("{connections} idle connections: round {number}, {}", program.name);
                let peer = program.start(&self.cores)?;
                list.push(Idle::of(&peer, connections, self.arguments.size).context(program.name)?);
            }
        }
        Ok(measured)
    }

    fn cells(&self) -> Vec<Cell> {
        if !self.arguments.matrix {
            return vec![self.arguments.cell()];
        }
        let size = self.arguments.size;
        let all = MATRIX.map(|(connections, in_flight)| Cell { connections, in_flight, size });
        let allowed = |cell: &Cell| fits(cell.connections, self.files);
        for cell in all.iter().filter(|cell| !allowed(cell)) {
            eprintln!("{cell}: left out, only {} files may be open", self.files);
        }
        all.into_iter().filter(allowed).collect()
    }
}

impl From<Program> for Server {
    fn from(program: Program) -> Self {
        Self { name: program.name, version: program.version }
    }
}

fn programs(arguments: &Arguments) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    if arguments.only != Some(Only::Bun) {
        let server = arguments.server.as_deref();
        programs.push(prepare::switchboard(server).context("preparing Switchboard")?);
    }
    if arguments.only != Some(Only::Switchboard) {
        programs.push(prepare::bun().context("preparing Bun")?);
    }
    Ok(programs)
}

fn fits(connections: usize, files: u64) -> bool {
    connections as u64 + SPARE_FILES <= files
}

fn require_ratio(results: &Results, least: f64) -> Result<()> {
    for rounds in &results.cells {
        let ratio = rounds.messages_per_cpu_second().ratio.context("a ratio needs both servers")?;
        let (cell, median) = (rounds.cell, ratio.median);
        ensure!(median >= least, "{cell}: the ratio {median:.2} is below {least}");
    }
    Ok(())
}
