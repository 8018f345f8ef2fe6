//! The compression benchmark: an echo of JSON with permessage-deflate, and of the same JSON without, on the same servers.
//!
//! Whether messages are compressed is the client's offer alone. The generator deflates its message once, beforehand; what a
//! server answers is learned from its first echo, which has to inflate to the message, and has to come again each time.
//! Invariant: for each size the rounds with and without follow one another, on one server and then on the other.

pub mod document;
mod exchange;
mod findings;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::arguments::{CompressArguments, Only};
use crate::cores::Cores;
use crate::interrupt;
use crate::load::{Cell, Load};
use crate::peer::{Peer, Program};
use crate::prepare;
use crate::proc;
use crate::results::Server;
use crate::round::Round;

use exchange::Exchange;
use findings::{Findings, Pair, Way};

/// A route for the echo, but how it compresses: messages of all sizes, so that all are compared.
const CONFIGURATION: &str = "
[plugins.echo]
path = 'echo.wasm'
[[route]]
path = '/ws'
handler = 'echo'
compression = { threshold = 0, level = ";
const COMPONENT: &str = "target/guests/wasm32-wasip2/guest/echo.wasm";

pub fn run(arguments: &CompressArguments) -> Result<()> {
    interrupt::watch()?;
    proc::raise_open_files()?;
    let (busy, cores) = (proc::load_average()?, Cores::divide()?);
    let programs = programs(arguments)?;
    let start = |program: &Program| program.start(&cores);
    let peers = programs.iter().map(start).collect::<Result<Vec<Peer>>>()?;
    let mut sizes = Vec::new();
    for size in &arguments.sizes {
        sizes.push((*size, measure(arguments, (&programs, &peers, &cores), *size)?));
    }
    let servers = programs.into_iter().map(Server::from).collect();
    let findings = Findings { cores: cores.count(), busy, connections: arguments.connections, servers, sizes };
    print!("{}", findings.tables());
    match &arguments.json {
        Some(path) => {
            fs::write(path, format!("{:#}\n", findings.to_json())).with_context(|| path.display().to_string())
        }
        None => Ok(()),
    }
}

/// Per server, then per round.
fn measure(
    arguments: &CompressArguments,
    (programs, peers, cores): (&[Program], &[Peer], &Cores),
    size: usize,
) -> Result<Vec<Vec<Pair>>> {
    let document = document::of(size);
    let mut pairs: Vec<Vec<Pair>> = peers.iter().map(|_| Vec::new()).collect();
    for number in 1..=arguments.rounds {
        for ((program, peer), list) in programs.iter().zip(peers).zip(&mut pairs) {
            eprintln!("{size} bytes: round {number}, {}", program.name);
            let way = |exchange| way(arguments, (peer, cores), exchange).context(program.name);
            let plain = way(Exchange::plain(&document))?;
            let deflated = way(Exchange::deflated(peer.address(), &document).context(program.name)?)?;
            list.push(Pair { plain, deflated });
        }
    }
    Ok(pairs)
}

fn way(arguments: &CompressArguments, (peer, cores): (&Peer, &Cores), exchange: Exchange) -> Result<Way> {
    let cell = Cell { connections: arguments.connections, in_flight: 1, size: 0 };
    let (up, down) = (exchange.request.len(), exchange.reply.len());
    let load = Load::start_with(peer.address(), cell, (exchange.script(), cores.waiting()))?;
    Ok(Way { up, down, round: Round::over(peer, load, arguments.times())? })
}

fn programs(arguments: &CompressArguments) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    if arguments.only != Some(Only::Bun) {
        programs.push(switchboard(arguments).context("preparing Switchboard")?);
    }
    if arguments.only != Some(Only::Switchboard) {
        programs.push(prepare::bun_with("bun-deflate.js").context("preparing Bun")?);
    }
    Ok(programs)
}

fn switchboard(arguments: &CompressArguments) -> Result<Program> {
    let server = prepare::binary(arguments.server.as_deref())?;
    prepare::build(&server, Path::new("examples/echo"))?;
    let folder = prepare::empty_folder("compress")?;
    fs::copy(prepare::workspace_root()?.join(COMPONENT), folder.join("echo.wasm"))?;
    fs::write(folder.join("switchboard.toml"), format!("{CONFIGURATION}{} }}\n", arguments.level))?;
    prepare::switchboard_on(&server, "serve", &folder)
}
