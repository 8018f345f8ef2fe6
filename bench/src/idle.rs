//! What a connection costs in memory while nothing happens on it.
//!
//! A server that was just started echoes one message, so that what it sets up once is set up; then its resident
//! memory is read before and after many connections were opened. Each has echoed one message and is then left alone,
//! since a connection in use has carried something.
//! Invariant: the memory is read when it has stopped moving, or after `MOST`, which is shorter than any keepalive.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::interrupt;
use crate::load::open_all;
use crate::peer::Peer;
use crate::proc;
use crate::script::Script;

const GLANCE: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(10);
const STILL: usize = 6;
const TREMOR: u64 = 64 * 1024;

pub struct Idle {
    pub connections: usize,
    pub before: u64,
    pub after: u64,
}

impl Idle {
    /// `peer` was just started and has served nothing yet.
    pub fn of(peer: &Peer, connections: usize, size: usize) -> Result<Self> {
        let script = Script::new(size, 1);
        drop(open_all(peer.address(), 1, &script)?);
        let before = settled_memory(peer.pid())?;
        let opened = open_all(peer.address(), connections, &script)?;
        let after = settled_memory(peer.pid())?;
        drop(opened);
        Ok(Self { connections, before, after })
    }

    pub fn bytes_per_connection(&self) -> f64 {
        (self.after as f64 - self.before as f64) / self.connections as f64
    }
}

fn settled_memory(pid: u32) -> Result<u64> {
    let start = Instant::now();
    let mut readings = Vec::new();
    loop {
        interrupt::check()?;
        let now = proc::resident_bytes(pid)?;
        readings.push(now);
        if is_still(&readings) || start.elapsed() > MOST {
            return Ok(now);
        }
        thread::sleep(GLANCE);
    }
}

fn is_still(readings: &[u64]) -> bool {
    let Some(latest) = readings.last_chunk::<STILL>() else {
        return false;
    };
    let least = latest.iter().min().expect("a chunk of six has a least");
    let greatest = latest.iter().max().expect("a chunk of six has a greatest");
    greatest - least <= TREMOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_still_when_the_latest_readings_agree() {
        assert!(!is_still(&[5; STILL - 1]));
        assert!(is_still(&[5; STILL]));
        let mut readings = vec![9_000_000];
        readings.extend([5; STILL - 1]);
        assert!(!is_still(&readings));
        readings.push(5 + TREMOR);
        assert!(is_still(&readings));
        readings.push(6 + 2 * TREMOR);
        assert!(!is_still(&readings));
    }
}
