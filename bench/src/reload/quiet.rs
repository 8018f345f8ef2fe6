//! How long a swap takes on a server that has nothing else to do: from the rename of a component over the old one to the
//! first answer of the new one.
//!
//! One client asks for the stamp as fast as it is answered. Each round puts a build that the server never had, and then the
//! one before it again, which the server has in its cache of compiled code.
//! Invariant: the server may use all cores, and so may what compiles for it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::probe::Probe;
use super::site::{QUESTION, Site, Staged};
use crate::cores::Cores;
use crate::peer::Peer;

const PLUGIN: &str = "stamped";
/// Between a swap and the next, so that the server has done what it does after one.
const REST: Duration = Duration::from_millis(300);

/// One swap, in milliseconds.
pub struct Swap {
    pub total: f64,
    /// From the server's reading of the file to the swap, as its log has it.
    pub taking: f64,
}

pub struct Round {
    pub fresh: Swap,
    pub cached: Swap,
}

pub fn measure(server: &Path, rounds: usize) -> Result<Vec<Round>> {
    let mut site = Site::new(server, "quiet", &[(PLUGIN, "/ws")])?;
    let peer = site.program(server)?.start(&Cores::share()?)?;
    let mut probe = Probe::open(peer.address(), "/ws", QUESTION)?;
    let first = site.stage(PLUGIN, |component| component)?;
    swap(&site, &peer, (&mut probe, &first)).context("the swap before the first round")?;
    let mut before = first;
    (1..=rounds)
        .map(|number| {
            eprintln!("idle server: round {number}");
            let again = before.again(&site)?;
            before = site.stage(PLUGIN, |component| component)?;
            let fresh = swap(&site, &peer, (&mut probe, &before))?;
            let cached = swap(&site, &peer, (&mut probe, &again))?;
            before = again;
            Ok(Round { fresh, cached })
        })
        .collect()
}

fn swap(site: &Site, peer: &Peer, (probe, staged): (&mut Probe, &Staged)) -> Result<Swap> {
    std::thread::sleep(REST);
    let start = Instant::now();
    site.put(staged)?;
    let seen = probe.await_answer(&staged.stamp, Duration::ZERO)?;
    let line = peer.expect("reloaded")?;
    let taking = line.split_once("took_ms=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let taking = taking.with_context(|| format!("`{line}` does not say how long it took"))?;
    Ok(Swap { total: (seen - start).as_secs_f64() * 1e3, taking })
}

impl Round {
    pub fn to_json(&self) -> Value {
        let swap = |swap: &Swap| json!({ "total_ms": swap.total, "taking_ms": swap.taking });
        json!({ "fresh": swap(&self.fresh), "cached": swap(&self.cached) })
    }
}
