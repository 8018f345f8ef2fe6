//! The hostile clients, all of them on the thread of one attacker.
//!
//! A connection that ends, or whose next step has another path, is opened again at once.
//! Invariant: each connection that attacks has a message on its way, or a handshake.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustix::event::{Timespec, epoll};

use super::attacker::{Attacker, Progress};
use super::intruder::{Intruder, News};

const READ_BUFFER: usize = 64 * 1024;
const EVENTS_AT_ONCE: usize = 64;
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// How long nobody asks again who could not connect.
const REST: Duration = Duration::from_millis(1);

/// What a hostile client says, and where.
#[derive(Clone)]
pub struct Step {
    pub path: String,
    pub words: String,
}

/// What one hostile client does, step after step and from the first again. It only listens where it has nothing to say.
#[derive(Clone)]
pub struct Plan {
    pub path: String,
    pub steps: Vec<Step>,
}

/// Attacks as planned.
pub fn start(address: SocketAddr, plans: Vec<Plan>) -> Result<Attacker> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    Attacker::start("hostile", move |progress| {
        let (members, buffer) = (plans.into_iter().map(Member::new).collect(), vec![0; READ_BUFFER]);
        Crew { address, progress, epoll, members, buffer }.attack();
    })
}

struct Crew {
    address: SocketAddr,
    progress: Arc<Progress>,
    epoll: OwnedFd,
    members: Vec<Member>,
    buffer: Vec<u8>,
}

struct Member {
    plan: Plan,
    next: usize,
    connection: Option<Intruder>,
}

impl Member {
    fn new(plan: Plan) -> Self {
        Self { plan, next: 0, connection: None }
    }

    fn step(&self) -> Option<&Step> {
        self.plan.steps.get(self.next % self.plan.steps.len().max(1))
    }

    fn path(&self) -> &str {
        self.step().map_or(&self.plan.path, |step| &step.path)
    }

    /// Goes on to the next step; whether that is possible on this connection.
    fn go_on(&mut self) -> bool {
        let before = self.path().to_owned();
        self.next += 1;
        self.path() == before
    }

    /// Says what the step has; whether the connection took it.
    fn speak(&mut self) -> bool {
        let words = self.step().map(|step| step.words.clone());
        match (words, &mut self.connection) {
            (Some(words), Some(connection)) => connection.say(&words),
            _ => true,
        }
    }
}

impl Crew {
    fn attack(&mut self) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        while !self.progress.is_over() {
            for place in 0..self.members.len() {
                if self.members[place].connection.is_none() {
                    self.connect(place);
                }
            }
            events.clear();
            let found = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&TURN));
            if found.is_err() {
                continue;
            }
            for event in &events {
                // `connect` put the place of the connection there.
                self.serve(event.data.u64() as usize);
            }
        }
    }

    fn connect(&mut self, place: usize) {
        let member = &mut self.members[place];
        let flags = epoll::EventFlags::IN;
        let data = epoll::EventData::new_u64(place as u64);
        match Intruder::open(self.address, member.path()) {
            Ok(intruder) if epoll::add(&self.epoll, &intruder, data, flags).is_ok() => {
                member.connection = Some(intruder);
            }
            _ => {
                self.progress.note_turned_away();
                std::thread::sleep(REST);
            }
        }
    }

    fn serve(&mut self, place: usize) {
        let member = &mut self.members[place];
        let Some(connection) = &mut member.connection else { return };
        let news = connection.hear(&mut self.buffer);
        if matches!(news, News::Answered | News::Ended | News::Faulted) && !member.plan.steps.is_empty() {
            self.progress.note_events(1);
        }
        if news == News::TurnedAway {
            self.progress.note_turned_away();
        }
        let stays = match news {
            News::Nothing => true,
            News::Opened => member.speak(),
            News::Answered => member.go_on() && member.speak(),
            News::Ended | News::Faulted | News::TurnedAway => {
                member.go_on();
                false
            }
        };
        if !stays {
            // With its last reference the kernel forgets it, in the set of sockets that are waited for too.
            member.connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_and_begin_again() {
        let step = |path: &str| Step { path: path.into(), words: String::new() };
        let mut member = Member::new(Plan { path: "/0".into(), steps: vec![step("/a"), step("/a"), step("/b")] });
        assert_eq!([member.go_on(), member.go_on(), member.go_on()], [true, false, false]);
        assert_eq!(member.path(), "/a");
    }

    #[test]
    fn who_has_nothing_to_say_stays_where_it_is() {
        let mut member = Member::new(Plan { path: "/0".into(), steps: Vec::new() });
        assert!(member.step().is_none() && member.speak() && member.go_on());
        assert_eq!(member.path(), "/0");
    }
}
