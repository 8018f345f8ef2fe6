//! The reload benchmark: what swapping a plugin costs those who wait for it, and those who do not.
//!
//! Four parts, each with servers of its own: `quiet` (an idle server), `gaps` (under load, and beside a large component that
//! is compiled), `edit` (under `dev`). `site` and `probe` are what they have in common, `findings` is what comes of it.
//! Invariant: no time fails a run, unless the command line demands one.

mod edit;
mod findings;
mod gaps;
/// What the tests make large components with.
#[path = "../../tests/outside/heavy.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod heavy;
mod probe;
mod quiet;
mod site;

use std::fs;

use anyhow::{Context, Result};

use crate::arguments::{Part, ReloadArguments};
use crate::cores::Cores;
use crate::{interrupt, prepare, proc};
use findings::{Demands, Findings};
use gaps::Scene;

pub fn run(arguments: &ReloadArguments) -> Result<()> {
    interrupt::watch()?;
    proc::raise_open_files()?;
    // Before anything is built or placed.
    let (busy, cores) = (proc::load_average()?, Cores::share()?.count());
    let findings = measure(arguments, (busy, cores))?;
    print!("{}", findings.table());
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", findings.to_json());
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    let ReloadArguments { max_idle_ms: idle, max_gap_ms: gap, max_dev_ms: edit, .. } = *arguments;
    findings.hold_against(&Demands { idle, gap, edit })
}

fn measure(arguments: &ReloadArguments, (busy, cores): (f64, usize)) -> Result<Findings> {
    let server = &prepare::binary(arguments.server.as_deref()).context("preparing Switchboard")?;
    let ReloadArguments { connections, large_connections, rounds, large_rounds, .. } = *arguments;
    let rounds_of = |part, rounds| if arguments.wants(part) { rounds } else { 0 };
    let idle = rounds_of(Part::Idle, rounds);
    let own = (connections, rounds_of(Part::Load, rounds));
    let edits = rounds_of(Part::Dev, rounds);
    let large = (large_connections, rounds_of(Part::Large, large_rounds));
    Ok(Findings {
        version: prepare::version_of(server)?,
        cores,
        busy,
        connections,
        large_connections,
        quiet: if idle > 0 { quiet::measure(server, idle)? } else { Vec::new() },
        own: if own.1 > 0 { gaps::measure(server, Scene::Own, own)? } else { Vec::new() },
        edit: if edits > 0 { edit::measure(server, edits)? } else { Vec::new() },
        large: if large.1 > 0 { gaps::measure(server, Scene::LargeNeighbor, large)? } else { Vec::new() },
    })
}
