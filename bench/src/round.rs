//! One round of one server: the load for a while, with the CPU time of both sides taken around it.
//!
//! The servers take their rounds in turn, so that what else the machine does meets both alike.
//! Invariant: warm-up, handshakes and goodbyes are outside of what is counted.

use std::time::Duration;

use anyhow::Result;

use crate::cores::Waiting;
use crate::load::{Cell, Load};
use crate::peer::Peer;
use crate::proc;
use crate::stats;

/// How long the load runs before it counts, and while it counts.
#[derive(Clone, Copy)]
pub struct Times {
    pub warm_up: Duration,
    pub measured: Duration,
}

pub struct Round {
    pub messages: u64,
    pub seconds: f64,
    pub server_cpu_seconds: f64,
    pub generator_cpu_seconds: f64,
    pub p50_micros: f64,
    pub p99_micros: f64,
}

impl Round {
    pub fn of(peer: &Peer, cell: Cell, times: Times, waiting: Waiting) -> Result<Self> {
        Self::over(peer, Load::start(peer.address(), cell, waiting)?, times)
    }

    /// The same with a load that was started.
    pub fn over(peer: &Peer, mut load: Load, times: Times) -> Result<Self> {
        load.warm_up(times.warm_up)?;
        let before = cpu_of_both(peer)?;
        let mut tally = load.measure(times.measured)?;
        let after = cpu_of_both(peer)?;
        load.finish()?;
        Ok(Self {
            messages: tally.messages,
            seconds: tally.seconds,
            server_cpu_seconds: after.0 - before.0,
            generator_cpu_seconds: after.1 - before.1,
            p50_micros: f64::from(stats::percentile(&mut tally.round_trips, 50)) / 1e3,
            p99_micros: f64::from(stats::percentile(&mut tally.round_trips, 99)) / 1e3,
        })
    }

    pub fn messages_per_cpu_second(&self) -> f64 {
        self.messages as f64 / self.server_cpu_seconds
    }

    pub fn messages_per_second(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Microseconds of CPU that one message costs the server.
    pub fn server_micros(&self) -> f64 {
        self.server_cpu_seconds * 1e6 / self.messages as f64
    }

    /// Microseconds of CPU that one message costs this program.
    pub fn generator_micros(&self) -> f64 {
        self.generator_cpu_seconds * 1e6 / self.messages as f64
    }
}

fn cpu_of_both(peer: &Peer) -> Result<(f64, f64)> {
    Ok((proc::cpu_seconds(peer.pid())?, proc::cpu_seconds(std::process::id())?))
}
