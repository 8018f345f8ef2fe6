//! The hostile clients: all of them on one thread of the lowest priority, which attacks until it is told to stop.
//!
//! It shares the generator's core, since the other one is the server's, and has what the generator leaves of it: whoever
//! measures comes first. A connection that ends, or whose next step has another path, is opened again at once.
//! Invariant: each connection that attacks has a message on its way, or a handshake.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{Timespec, epoll};

use super::intruder::{Intruder, News};

const READ_BUFFER: usize = 64 * 1024;
const EVENTS_AT_ONCE: usize = 64;
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// How long nobody asks again who could not connect.
const REST: Duration = Duration::from_millis(1);
/// The least that there is.
const PRIORITY: i32 = 19;

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

/// How often something happened since the clients began.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    /// Attacks that a guest ran, to whatever end.
    pub events: u64,
    /// Handshakes that were refused before a guest ran.
    pub turned_away: u64,
}

#[derive(Default)]
struct Counters {
    events: AtomicU64,
    turned_away: AtomicU64,
}

/// The thread; it ends when this is dropped.
pub struct Hostile {
    over: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Hostile {
    pub fn start(address: SocketAddr, plans: Vec<Plan>) -> Result<Self> {
        let (over, counters) = (Arc::<AtomicBool>::default(), Arc::<Counters>::default());
        let mut crew = Crew {
            address,
            over: over.clone(),
            counters: counters.clone(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            members: plans.into_iter().map(Member::new).collect(),
            buffer: vec![0; READ_BUFFER],
        };
        let thread = std::thread::Builder::new().name("hostile".into()).spawn(move || {
            yield_to_others();
            crew.attack();
        });
        Ok(Self { over, counters, thread: Some(thread.context("starting the hostile clients")?) })
    }

    pub fn tally(&self) -> Tally {
        let Counters { events, turned_away } = &*self.counters;
        Tally { events: events.load(Ordering::Relaxed), turned_away: turned_away.load(Ordering::Relaxed) }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panicked, and has said so.
            let _ = thread.join();
        }
    }
}

/// Has this thread run where nobody else wants to.
pub fn yield_to_others() {
    // The priority is a thread's on Linux. Where it cannot be lowered, the generator's delays say so.
    let _ = rustix::process::nice(PRIORITY);
}

struct Crew {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    counters: Arc<Counters>,
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
        while !self.over.load(Ordering::Relaxed) {
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
                self.counters.turned_away.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(REST);
            }
        }
    }

    fn serve(&mut self, place: usize) {
        let member = &mut self.members[place];
        let Some(connection) = &mut member.connection else { return };
        let news = connection.hear(&mut self.buffer);
        if matches!(news, News::Answered | News::Ended | News::Faulted) && !member.plan.steps.is_empty() {
            self.counters.events.fetch_add(1, Ordering::Relaxed);
        }
        if news == News::TurnedAway {
            self.counters.turned_away.fetch_add(1, Ordering::Relaxed);
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
