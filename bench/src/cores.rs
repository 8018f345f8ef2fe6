//! Who runs on which core: the generator on the last one, the servers on all the others.
//!
//! Left to itself the scheduler at times puts both on one core, where a message costs the server little more than half
//! of what it costs across two, because nothing has to travel between caches; such a round compares with no other.
//! Invariant: only threads of this process and what it starts are placed, and where there is one core only, none is.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How the generator waits for answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It asks again and again, on a core of its own.
    Awake,
    /// It leaves the core to the server.
    Asleep,
}

pub struct Cores {
    servers: CpuSet,
    generator: CpuSet,
    count: usize,
}

impl Cores {
    /// Divides the cores that this process may use.
    pub fn divide() -> io::Result<Self> {
        let all = allowed()?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core));
        let (mut servers, mut generator) = (all, all);
        if let (Some(last), 2..) = (last, all.count()) {
            servers.unset(last);
            generator = CpuSet::new();
            generator.set(last);
        }
        Ok(Self { servers, generator, count: all.count() as usize })
    }

    /// Places nothing: servers and generator may use all cores, as they would where nobody measures.
    pub fn share() -> io::Result<Self> {
        let all = allowed()?;
        Ok(Self { servers: all, generator: all, count: all.count() as usize })
    }

    /// How the generator waits. On loopback the sender's time includes waking the receiver, so a generator that sleeps makes
    /// each message dearer for a server that lets it sleep, and for that one only.
    pub fn waiting(&self) -> Waiting {
        if self.count > 1 { Waiting::Awake } else { Waiting::Asleep }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Starts a server. A child has the cores of the thread that starts it, so this thread is one of theirs meanwhile.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        sched_setaffinity(None, &self.servers)?;
        let child = command.spawn();
        sched_setaffinity(None, &self.generator)?;
        child
    }
}

/// The cores that this process had before any of its threads was placed. Called first by a thread that is not placed yet.
fn allowed() -> io::Result<CpuSet> {
    static ALLOWED: OnceLock<CpuSet> = OnceLock::new();
    let own = sched_getaffinity(None)?;
    Ok(*ALLOWED.get_or_init(|| own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_generator_share_a_core_only_when_there_is_one() {
        let cores = Cores::divide().unwrap();
        let shared =
            (0..CpuSet::MAX_CPU).filter(|core| cores.servers.is_set(*core) && cores.generator.is_set(*core)).count();
        assert_eq!(shared, usize::from(cores.count() == 1));
        let placed = cores.servers.count() + cores.generator.count();
        assert_eq!(placed as usize, cores.count() + shared);
    }

    #[test]
    fn who_is_placed_can_divide_again() {
        let cores = Cores::divide().unwrap();
        let mut child = cores.spawn(&mut Command::new("true")).unwrap();
        child.wait().unwrap();
        let again = Cores::divide().unwrap();
        assert_eq!((again.servers, again.generator), (cores.servers, cores.generator));
    }

    #[test]
    fn a_server_starts_on_the_cores_of_servers() {
        let cores = Cores::divide().unwrap();
        let mut child = cores.spawn(Command::new("sleep").arg("60")).unwrap();
        let placed = sched_getaffinity(Some(rustix::process::Pid::from_child(&child))).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(placed, cores.servers);
        assert_eq!(sched_getaffinity(None).unwrap(), cores.generator);
    }
}
