//! Many tenants with one plugin each, some of which attack: what the others notice.
//!
//! All that behave are timed together, while nobody attacks and while the others do all sorts of things. The pause between
//! an answer and the next message is long enough for their own load to be a small part of what the machine can do.
//! Invariant: a message that is not answered as it should be, or a connection that ends, fails the run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::corpus::MIX;
use super::duel::{TO_BEGIN, TO_END, Times, rotated};
use super::findings::{Half, Round};
use super::hostile::{self, Plan, Step};
use super::site::{Site, scripted_tenant};
use crate::cores::Cores;
use crate::load::Load;

pub const TENANTS: usize = 200;
/// How many of them attack; they are spread evenly among the others.
pub const HOSTILE: usize = 10;
/// Connections of each tenant.
pub const CONNECTIONS: usize = 20;
pub const WORKERS: usize = 2;
pub const PAUSE: Duration = Duration::from_millis(400);
const SIZE: usize = 64;
const WARM_UP: Duration = Duration::from_secs(3);
/// Rounds of so many connections take longer to say something of each.
const LONGER: u32 = 2;

pub fn measure(server: &Path, times: Times) -> Result<Vec<Round>> {
    let site = Site::new(WORKERS, "")?;
    for tenant in 0..TENANTS {
        match is_hostile(tenant) {
            true => site.add_tenant(&name(tenant), &scripted_tenant())?,
            false => site.add_modest(&name(tenant))?,
        }
    }
    let mut peer = site.program(server)?.start(&cores()?)?;
    peer.ignore_lines();
    let mut load = Load::start_uneven(peer.address(), &targets(), (SIZE, PAUSE))?;
    load.warm_up(WARM_UP)?;
    let mut rounds = Vec::new();
    for number in 1..=times.rounds {
        eprintln!("{TENANTS} tenants: round {number}");
        let measured = times.measured * LONGER;
        let server = (peer.pid(), WORKERS);
        let calm = Half::measure(&mut load, measured, server)?;
        let hostile = hostile::start(peer.address(), plans())?;
        load.warm_up(TO_BEGIN)?;
        let before = hostile.tally();
        let attacked = Half::measure(&mut load, measured, server).context("while it was attacked")?;
        let done = hostile.tally().since(before).per(measured);
        drop(hostile);
        load.warm_up(TO_END).context("after it was attacked")?;
        rounds.push(Round { calm, attacked, done });
    }
    load.finish().context("waiting for the last answers")?;
    Ok(rounds)
}

/// Each worker has a core where there is one for the generator besides. Else all share what there is: two workers on one
/// core would be timed by how the kernel shares that out.
fn cores() -> Result<Cores> {
    let shared = Cores::share()?;
    if shared.count() > WORKERS { Ok(Cores::divide()?) } else { Ok(shared) }
}

fn is_hostile(tenant: usize) -> bool {
    tenant.is_multiple_of(TENANTS / HOSTILE)
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant}")
}

fn path(tenant: usize) -> String {
    format!("/{}/ws", name(tenant))
}

/// Where the connections of those go that behave. One of each tenant after the other, so that neighbors in time are of
/// different ones.
fn targets() -> Vec<String> {
    let modest = || (0..TENANTS).filter(|tenant| !is_hostile(*tenant));
    (0..CONNECTIONS).flat_map(|_| modest().map(path)).collect()
}

fn plans() -> Vec<Plan> {
    let hostile = (0..TENANTS).filter(|tenant| is_hostile(*tenant)).map(path);
    hostile
        .flat_map(|path| {
            let steps: Vec<_> = MIX.map(|words| Step { path: path.clone(), words: words.to_owned() }).into();
            (0..CONNECTIONS).map(move |first| Plan { path: path.clone(), steps: rotated(&steps, first) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_attack_as_should_and_all_others_are_timed() {
        assert_eq!((0..TENANTS).filter(|tenant| is_hostile(*tenant)).count(), HOSTILE);
        assert_eq!(targets().len(), (TENANTS - HOSTILE) * CONNECTIONS);
        assert_eq!(plans().len(), HOSTILE * CONNECTIONS);
    }
}
