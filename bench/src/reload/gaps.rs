//! What connections notice of a swap: the longest time without an answer that each of them sees around one, and in as long
//! a time without one.
//!
//! Many connections echo as they do in the echo benchmark, and one more asks which build answers. A window with a swap
//! begins before the rename and ends after the new build was seen; the one without follows, and is as long, since a longer
//! one would have longer gaps by itself.
//! Invariant: both windows are of the same server, connections and load.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::heavy;
use super::probe::Probe;
use super::site::{QUESTION, Site, Staged};
use crate::cores::Cores;
use crate::load::{Cell, Load, Watched};
use crate::stats::percentile;

/// What is watched before the rename, and after the new build was seen.
const AROUND: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_secs(1);
/// Bytes of code that make a component a large one.
const LARGE: usize = 10 * 1024 * 1024;
/// Between an answer and the next message, where a large component is compiled. It has the lowest priority, so connections
/// that never rest would leave it nothing.
const REST: Duration = Duration::from_millis(5);

/// What is swapped, and how hard the connections work meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// The plugin that they use, while each asks as fast as it is answered.
    Own,
    /// A large one, while each uses another one, and rests between its messages.
    LargeNeighbor,
}

pub struct Window {
    pub seconds: f64,
    /// The longest gaps of the connections, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    /// The longest that the generator itself was busy at a stretch, in milliseconds.
    pub generator: f64,
}

pub struct Round {
    pub swapped: Window,
    pub calm: Window,
    /// From the rename to the first new answer, in milliseconds.
    pub total: f64,
}

pub fn measure(server: &Path, scene: Scene, (connections, rounds): (usize, usize)) -> Result<Vec<Round>> {
    let plugins: &[_] = match scene {
        Scene::Own => &[("stamped", "/ws")],
        Scene::LargeNeighbor => &[("stamped", "/ws"), ("large", "/large")],
    };
    let &(plugin, path) = plugins.last().context("there is a plugin")?;
    let mut site = Site::new(server, plugin, plugins)?;
    let cores = Cores::divide()?;
    let peer = site.program(server)?.start(&cores)?;
    let mut probe = Probe::open(peer.address(), path, QUESTION)?.without_waiting()?;
    let cell = Cell { connections, in_flight: 1, size: 64 };
    let mut load = match scene {
        Scene::Own => Load::start(peer.address(), cell, cores.waiting())?,
        Scene::LargeNeighbor => Load::start_paced(peer.address(), cell, REST)?,
    };
    load.warm_up(WARM_UP)?;
    let mut measured = Vec::new();
    for number in 1..=rounds {
        eprintln!("{connections} connections, a swap of {plugin}: round {number}");
        let staged = site.stage(plugin, |component| scene.weigh(component))?;
        measured.push(round(&mut load, &mut probe, (&site, &staged))?);
    }
    load.finish()?;
    Ok(measured)
}

fn round(load: &mut Load, probe: &mut Probe, (site, staged): (&Site, &Staged)) -> Result<Round> {
    let start = Instant::now();
    let (mut renamed, mut seen) = (None, None);
    let swapped = load.watch(|| {
        let answer = probe.poll()?;
        if renamed.is_none() && start.elapsed() >= AROUND {
            renamed = Some(Instant::now());
            site.put(staged)?;
        }
        if seen.is_none() && answer.is_some_and(|answer| answer == staged.stamp) {
            seen = Some(Instant::now());
        }
        Ok(seen.is_some_and(|seen| seen.elapsed() >= AROUND))
    })?;
    let lasted = Duration::from_secs_f64(swapped.seconds);
    let again = Instant::now();
    let calm = load.watch(|| {
        probe.poll()?;
        Ok(again.elapsed() >= lasted)
    })?;
    let (renamed, seen) = renamed.zip(seen).context("the new build was never seen")?;
    Ok(Round { swapped: swapped.into(), calm: calm.into(), total: (seen - renamed).as_secs_f64() * 1e3 })
}

impl Scene {
    fn weigh(self, component: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Own => component,
            Self::LargeNeighbor => heavy::with_code(component, LARGE),
        }
    }
}

impl From<Watched> for Window {
    fn from(Watched { seconds, mut gaps, turn }: Watched) -> Self {
        let milliseconds = |nanoseconds: u32| f64::from(nanoseconds) / 1e6;
        let mut at = |percent| milliseconds(percentile(&mut gaps, percent));
        Self { seconds, p50: at(50), p99: at(99), max: at(100), generator: milliseconds(turn) }
    }
}

impl Window {
    fn to_json(&self) -> Value {
        let Self { seconds, p50, p99, max, generator } = self;
        json!({ "seconds": seconds, "p50_ms": p50, "p99_ms": p99, "max_ms": max, "generator_ms": generator })
    }
}

impl Round {
    /// What the swap adds to the longest gaps.
    pub fn added_p99(&self) -> f64 {
        self.swapped.p99 - self.calm.p99
    }

    pub fn added_max(&self) -> f64 {
        self.swapped.max - self.calm.max
    }

    pub fn to_json(&self) -> Value {
        json!({ "total_ms": self.total, "swap": self.swapped.to_json(), "calm": self.calm.to_json() })
    }
}
