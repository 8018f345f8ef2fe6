//! The attack benchmark: what a tenant that behaves notices of one that does not.
//!
//! Two parts: `duel` (each attack by itself, beside one tenant on one worker) and `crowd` (many tenants, some of which
//! attack). `corpus` lists the attacks, `site` is what a server serves, `hostile` and `intruder` are the clients that attack
//! by a guest of theirs, `wire` those that need none, `swaps` puts components in the place of others, `attacker` is the thread of each of
//! these, `findings` is what comes of it.
//! Invariant: no time fails a run, unless the command line demands one; a message that is lost does.

mod attacker;
pub mod corpus;
mod crowd;
mod duel;
mod findings;
mod hostile;
/// What the tests make hostile components with.
#[path = "../../tests/it/hostile_bytes.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod hostile_bytes;
mod intruder;
mod site;
mod swaps;
mod wire;

use std::fs;

use anyhow::{Context, Result};

use crate::arguments::AttackArguments;
use crate::cores::Cores;
use crate::{interrupt, prepare, proc};
pub use duel::Times;
use findings::{Attacked, Demands, Findings};

/// What the part with many tenants is called among the attacks.
pub const CROWD: &str = "crowd";

pub fn run(arguments: &AttackArguments) -> Result<()> {
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
    let AttackArguments { max_added_ms: added, max_added_bulk_ms: added_bulk, .. } = *arguments;
    findings.hold_against(&Demands { added, added_bulk })
}

fn measure(arguments: &AttackArguments, (busy, cores): (f64, usize)) -> Result<Findings> {
    let server = &prepare::binary(arguments.server.as_deref()).context("preparing Switchboard")?;
    site::build_guests().context("building the guests")?;
    let times = arguments.times();
    let mut attacks = Vec::new();
    let crowd = match arguments.wants(CROWD) {
        true => {
            Some(Attacked { name: CROWD, weight: None, rounds: unless_interrupted(crowd::measure(server, times))? })
        }
        false => None,
    };
    for attack in corpus::all().iter().filter(|attack| arguments.wants(attack.name)) {
        let rounds = unless_interrupted(duel::measure(server, attack, times))?;
        attacks.push(Attacked { name: attack.name, weight: Some(attack.weight), rounds });
    }
    Ok(Findings { version: prepare::version_of(server)?, cores, busy, attacks, crowd })
}

/// An attack that costs somebody an answer is a finding, and the others are measured all the same.
fn unless_interrupted<T>(outcome: Result<T>) -> Result<Result<T>> {
    interrupt::check()?;
    Ok(outcome)
}
