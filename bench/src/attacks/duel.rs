//! One attack: a tenant that echoes and a tenant that attacks, on a server with one worker.
//!
//! Each round times the same connections twice: while nobody attacks, and while the attack goes on without a pause.
//! Invariant: both halves are of the same server and the same connections, and every answer is compared.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::attacker::Attacker;
use super::corpus::{Attack, Means, TENANT};
use super::findings::{Half, Round};
use super::hostile::{self, Plan, Step};
use super::intruder::Intruder;
use super::site::{self, MODEST, Site};
use super::{swaps, wire};
use crate::cores::Cores;
use crate::load::Load;

/// Connections that are measured, the bytes of their messages, and the pause between an answer and the next message.
const CONNECTIONS: usize = 20;
const SIZE: usize = 64;
pub const PAUSE: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_secs(1);
/// From the beginning of an attack to where it is measured, so that its connections are open.
pub const TO_BEGIN: Duration = Duration::from_millis(500);
/// From the end of an attack to the next round, so that what it left is dealt with.
pub const TO_END: Duration = Duration::from_millis(500);

/// How long a tenant that comes while the server runs is waited for.
const TO_COMPILE: Duration = Duration::from_secs(60);

/// How often, and for how long each half is timed.
#[derive(Clone, Copy)]
pub struct Times {
    pub rounds: usize,
    pub measured: Duration,
}

struct Duel<'a> {
    site: &'a Site,
    attack: &'a Attack,
    address: SocketAddr,
    /// The server's.
    pid: u32,
}

pub fn measure(server: &Path, attack: &Attack, times: Times) -> Result<Vec<Round>> {
    let site = Site::new(1, attack.limits)?;
    site.add_component(attack)?;
    site.add_modest(MODEST)?;
    if !matches!(attack.means, Means::Services) {
        // Services attack by themselves, so theirs comes later.
        site.add_tenant(TENANT, &site::tenant(attack))?;
    }
    let mut peer = site.program(server)?.start(&Cores::divide()?)?;
    peer.ignore_lines();
    let targets = vec![format!("/{MODEST}/ws"); CONNECTIONS];
    let mut load = Load::start_uneven(peer.address(), &targets, (SIZE, PAUSE))?;
    load.warm_up(WARM_UP)?;
    let duel = Duel { site: &site, attack, address: peer.address(), pid: peer.pid() };
    let mut rounds = Vec::new();
    for number in 1..=times.rounds {
        eprintln!("{}: round {number}", attack.name);
        rounds.push(round(&mut load, times.measured, &duel)?);
    }
    load.finish().context("waiting for the last answers")?;
    Ok(rounds)
}

/// Times both halves of a round around the beginning and the end of an attack.
fn round(load: &mut Load, measured: Duration, duel: &Duel) -> Result<Round> {
    let calm = Half::measure(load, measured, (duel.pid, 1))?;
    let attacking = duel.begin(load)?;
    load.warm_up(TO_BEGIN)?;
    let before = attacking.tally();
    let attacked = Half::measure(load, measured, (duel.pid, 1)).context("while it was attacked")?;
    let after = attacking.tally();
    drop(attacking);
    duel.end()?;
    load.warm_up(TO_END).context("after it was attacked")?;
    Ok(Round { calm, attacked, done: after.since(before).per(measured) })
}

impl Duel<'_> {
    fn begin(&self, load: &mut Load) -> Result<Attacker> {
        if let Means::Swaps(swap) = self.attack.means {
            return swaps::start(self.site, swap);
        }
        if let Means::Wire(wire) = self.attack.means {
            return wire::start(self.address, &format!("/{TENANT}/ws"), wire, self.attack.attackers);
        }
        if self.comes_and_goes() {
            self.site.add_tenant(TENANT, &site::tenant(self.attack))?;
            self.await_tenant(load)?;
        }
        hostile::start(self.address, plans(self.attack))
    }

    fn end(&self) -> Result<()> {
        if self.comes_and_goes() { self.site.remove_tenant(TENANT) } else { Ok(()) }
    }

    /// Whether the tenant is there only while it attacks, as its services do so by themselves.
    fn comes_and_goes(&self) -> bool {
        matches!(self.attack.means, Means::Services)
    }

    /// Its components are compiled first, at the first time.
    fn await_tenant(&self, load: &mut Load) -> Result<()> {
        let start = Instant::now();
        while Intruder::is_refused(self.address, &format!("/{TENANT}/ws")) {
            ensure!(start.elapsed() < TO_COMPILE, "the tenant that attacks was not there within {TO_COMPILE:?}");
            load.warm_up(TO_BEGIN)?;
        }
        Ok(())
    }
}

/// What each hostile client does; they begin at different steps.
fn plans(attack: &Attack) -> Vec<Plan> {
    let steps: Vec<Step> = match attack.means {
        Means::Words(_, words) => words.iter().map(|words| step("ws", words)).collect(),
        Means::Panics(callbacks) | Means::Answers(callbacks) => {
            callbacks.iter().map(|callback| step(callback.word, callback.message)).collect()
        }
        Means::Services | Means::Swaps(_) | Means::Wire(_) => Vec::new(),
    };
    let path = format!("/{TENANT}/ws");
    let attackers = (0..attack.attackers).map(|number| Plan { path: path.clone(), steps: rotated(&steps, number) });
    let listeners = (0..attack.listeners).map(|_| Plan { path: path.clone(), steps: Vec::new() });
    attackers.chain(listeners).collect()
}

fn step(path: &str, words: &str) -> Step {
    Step { path: format!("/{TENANT}/{path}"), words: words.to_owned() }
}

/// The same steps from another one on.
pub fn rotated(steps: &[Step], first: usize) -> Vec<Step> {
    let mut steps = steps.to_vec();
    if !steps.is_empty() {
        let first = first % steps.len();
        steps.rotate_left(first);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::corpus;
    use super::*;

    #[test]
    fn the_clients_of_an_attack_begin_at_different_steps() {
        let all = corpus::all();
        let named = |name: &str| plans(all.iter().find(|attack| attack.name == name).unwrap());
        let words: Vec<_> = named("log").iter().map(|plan| plan.steps[0].words.clone()).collect();
        assert_eq!(words[..3], ["flood lines", "flood words", "flood lines"]);
        let paths: Vec<_> = named("callback-panics").iter().map(|plan| plan.steps[0].path.clone()).collect();
        assert_eq!(paths[..2], ["/hostile/connect", "/hostile/message"]);
    }

    #[test]
    fn listeners_say_nothing() {
        let all = corpus::all();
        let fan_out = all.iter().find(|attack| attack.name == "fan-out").unwrap();
        let silent = plans(fan_out).iter().filter(|plan| plan.steps.is_empty()).count();
        assert_eq!(silent, fan_out.listeners);
    }
}
