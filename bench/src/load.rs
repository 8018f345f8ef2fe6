//! The load: many connections, each with a fixed number of messages in flight, driven by one thread over epoll.
//!
//! It has to be cheaper than any server it measures, so the measured part does no more than read, divide, write and
//! look at the clock once per connection that became ready. Answers are compared byte by byte while it warms up and
//! while it runs out, and only counted in between.
//! Invariant: until `finish`, every connection has exactly `in_flight` messages that wait for their echo.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::connection::Connection;
use crate::cores::Waiting;
use crate::interrupt;
use crate::script::Script;

const READ_BUFFER: usize = 64 * 1024;
const EVENTS_AT_ONCE: usize = 256;
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const STALL: Duration = Duration::from_secs(10);

/// One cell of the tables: how many connections, how many messages each has in flight, bytes per message.
#[derive(Clone, Copy)]
pub struct Cell {
    pub connections: usize,
    pub in_flight: usize,
    pub size: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, in_flight, size } = self;
        write!(f, "{connections} connections, {in_flight} in flight each, {size} bytes")
    }
}

/// What came back while the load was measured.
#[derive(Default)]
pub struct Tally {
    pub messages: u64,
    pub seconds: f64,
    /// Nanoseconds, in order of arrival.
    pub round_trips: Vec<u32>,
}

/// What was seen of every message while each was timed.
pub struct Sampled {
    /// Nanoseconds, of the messages that were answered, and of those that still waited at the end, until then.
    pub round_trips: Vec<u32>,
    /// How much later than planned the generator wrote each message, in nanoseconds.
    pub late: Vec<u32>,
    /// The longest turn of the generator itself, in nanoseconds.
    pub turn: u32,
}

/// What was seen of each connection while it was watched.
pub struct Watched {
    pub seconds: f64,
    /// The longest time without an answer, for each connection, in nanoseconds.
    pub gaps: Vec<u32>,
    /// The longest turn of the generator itself, in nanoseconds: no gap below it says anything about the server.
    pub turn: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    WarmUp,
    Measured,
    Watched,
    Sampled,
    RunningOut,
}

/// What a connection that is watched has waited for answers.
#[derive(Clone, Copy)]
struct Gap {
    last: Instant,
    longest: Duration,
}

pub struct Load {
    connections: Vec<Connection>,
    script: Script,
    epoll: OwnedFd,
    patience: Timespec,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    phase: Phase,
    waiting: u64,
    heard: Instant,
    tally: Tally,
    /// For each connection, while it is watched.
    gaps: Vec<Gap>,
    /// How long each connection rests before it says its next message, none where none does, and which are resting, the one
    /// whose time is next first.
    pauses: Vec<Duration>,
    resting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By how much each message was late, while they are sampled.
    late: Vec<u32>,
}

impl Load {
    /// Opens all connections and sends the first messages.
    pub fn start(address: SocketAddr, cell: Cell, waiting: Waiting) -> Result<Self> {
        Self::start_with(address, cell, (Script::new(cell.size, cell.in_flight), waiting))
    }

    /// The same, with a pause of each connection between an answer and its next message.
    pub fn start_paced(address: SocketAddr, cell: Cell, pause: Duration) -> Result<Self> {
        Ok(Self { pauses: vec![pause; cell.connections], ..Self::start(address, cell, Waiting::Asleep)? })
    }

    /// Opens so many connections that say what this script has.
    pub fn start_with(address: SocketAddr, cell: Cell, (script, waiting): (Script, Waiting)) -> Result<Self> {
        let connections = open_all(address, cell.connections, &script)?;
        Self::begin(connections, script, (cell.in_flight, waiting))
    }

    /// A connection to each of these targets, one message in flight on each, with pauses that differ by up to a quarter of
    /// this one, so that connections which were answered together do not go on together.
    pub fn start_uneven(address: SocketAddr, targets: &[String], (size, pause): (usize, Duration)) -> Result<Self> {
        let script = Script::new(size, 1);
        let connections =
            targets.iter().map(|target| open_one(address, target, &script)).collect::<Result<Vec<_>>>()?;
        // A connection's place in the line is a few thousands at most.
        let (count, quarter) = (targets.len() as u32, pause / 4);
        let pauses = (0..count).map(|place| pause - quarter + quarter * 2 * place / count).collect();
        Ok(Self { pauses, ..Self::begin(connections, script, (1, Waiting::Asleep))? })
    }

    fn begin(mut connections: Vec<Connection>, script: Script, (in_flight, waiting): (usize, Waiting)) -> Result<Self> {
        let epoll = register(&connections)?;
        for connection in &mut connections {
            connection.ask(in_flight, Instant::now(), &script)?;
        }
        Ok(Self {
            waiting: (connections.len() * in_flight) as u64,
            connections,
            script,
            epoll,
            patience: if waiting == Waiting::Awake { NO_TIME } else { TURN },
            events: Vec::with_capacity(EVENTS_AT_ONCE),
            buffer: vec![0; READ_BUFFER],
            phase: Phase::WarmUp,
            heard: Instant::now(),
            tally: Tally::default(),
            gaps: Vec::new(),
            pauses: Vec::new(),
            resting: BinaryHeap::new(),
            late: Vec::new(),
        })
    }

    pub fn warm_up(&mut self, duration: Duration) -> Result<()> {
        self.run(duration)
    }

    pub fn measure(&mut self, duration: Duration) -> Result<Tally> {
        self.phase = Phase::Measured;
        let start = Instant::now();
        self.run(duration)?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Tally { seconds, ..std::mem::take(&mut self.tally) })
    }

    /// Notes how long each connection waits for answers until `is_over`, which is asked after every turn.
    pub fn watch(&mut self, mut is_over: impl FnMut() -> Result<bool>) -> Result<Watched> {
        self.phase = Phase::Watched;
        let start = Instant::now();
        self.gaps = vec![Gap { last: start, longest: Duration::ZERO }; self.connections.len()];
        let (mut now, mut turn) = (start, Duration::ZERO);
        while !is_over()? {
            self.await_events()?;
            let woken = Instant::now();
            self.serve_ready()?;
            now = Instant::now();
            turn = turn.max(now - woken);
        }
        self.phase = Phase::Measured;
        let gaps = self.gaps.iter().map(|gap| nanoseconds(gap.longest.max(now - gap.last))).collect();
        Ok(Watched { seconds: start.elapsed().as_secs_f64(), gaps, turn: nanoseconds(turn) })
    }

    /// Times every message and compares every answer.
    pub fn sample(&mut self, duration: Duration) -> Result<Sampled> {
        self.phase = Phase::Sampled;
        let (end, mut turn) = (Instant::now() + duration, Duration::ZERO);
        while Instant::now() < end {
            self.await_events()?;
            let woken = Instant::now();
            self.serve_ready()?;
            turn = turn.max(woken.elapsed());
        }
        self.phase = Phase::WarmUp;
        let Tally { mut round_trips, .. } = std::mem::take(&mut self.tally);
        let waiting = self.connections.iter().filter_map(Connection::waiting_since);
        round_trips.extend(waiting.map(|since| nanoseconds(since.elapsed())));
        Ok(Sampled { round_trips, late: std::mem::take(&mut self.late), turn: nanoseconds(turn) })
    }

    /// Sends nothing more and waits for the echoes that are still to come.
    pub fn finish(mut self) -> Result<()> {
        self.phase = Phase::RunningOut;
        // Who rests waits for nothing.
        self.waiting -= std::mem::take(&mut self.resting).len() as u64;
        while self.waiting > 0 {
            self.turn()?;
        }
        Ok(())
    }

    fn run(&mut self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Serves every connection that is ready.
    fn turn(&mut self) -> Result<()> {
        self.await_events()?;
        self.serve_ready()
    }

    fn serve_ready(&mut self) -> Result<()> {
        for index in 0..self.events.len() {
            // `register` put the place of the connection there.
            let place = self.events[index].data.u64() as usize;
            self.serve(place)?;
        }
        self.wake_rested()
    }

    /// Has those speak whose rest is over.
    fn wake_rested(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some(&Reverse((due, place))) = self.resting.peek()
            && due <= now
        {
            self.resting.pop();
            let asked = Instant::now();
            if self.phase == Phase::Sampled {
                self.late.push(nanoseconds(asked - due));
            }
            self.connections[place].ask(1, asked, &self.script)?;
        }
        Ok(())
    }

    /// How long to wait for events: never longer than until a rest is over.
    fn patience(&self) -> Timespec {
        let Some(Reverse((due, _))) = self.resting.peek() else { return self.patience };
        let rest = due.saturating_duration_since(Instant::now());
        // Rests are shorter than a second.
        Timespec { tv_sec: 0, tv_nsec: rest.subsec_nanos().into() }
    }

    fn await_events(&mut self) -> Result<()> {
        interrupt::check()?;
        self.events.clear();
        let patience = self.patience();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, buffer, Some(&patience)) {
            Ok(0) => ensure!(self.heard.elapsed() < STALL, "the server sent nothing for {STALL:?}"),
            Ok(_) => self.heard = Instant::now(),
            Err(Errno::INTR) => (),
            Err(error) => return Err(error).context("waiting for the sockets"),
        }
        Ok(())
    }

    /// The sockets are edge-triggered: a read that does not fill the buffer has emptied the socket.
    fn serve(&mut self, place: usize) -> Result<()> {
        self.connections[place].flush(&self.script)?;
        loop {
            let count = self.connections[place].read(&mut self.buffer)?;
            self.take(place, count)?;
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Counts the echoes in the first `count` bytes of the buffer, and sends as many messages as were answered.
    fn take(&mut self, place: usize, count: usize) -> Result<()> {
        let connection = &mut self.connections[place];
        if matches!(self.phase, Phase::WarmUp | Phase::Sampled | Phase::RunningOut) {
            connection.check(&self.buffer[..count], &self.script)?;
        }
        let now = Instant::now();
        let answers = connection.count(count, now, &self.script);
        if self.phase == Phase::RunningOut {
            self.waiting -= answers.count;
            return Ok(());
        }
        if matches!(self.phase, Phase::Measured | Phase::Sampled) {
            self.tally.add(answers.count, answers.round_trip);
        }
        if answers.count == 0 {
            return Ok(());
        }
        if self.phase == Phase::Watched {
            self.gaps[place].note(now);
        }
        if let Some(pause) = self.pauses.get(place) {
            self.resting.extend((0..answers.count).map(|_| Reverse((now + *pause, place))));
            return Ok(());
        }
        // No more can be answered than was in flight, which is a usize.
        connection.ask(answers.count as usize, now, &self.script)
    }
}

impl Tally {
    fn add(&mut self, messages: u64, round_trip: Option<Duration>) {
        self.messages += messages;
        if let Some(time) = round_trip {
            self.round_trips.push(nanoseconds(time));
        }
    }
}

impl Gap {
    fn note(&mut self, now: Instant) {
        self.longest = self.longest.max(now - self.last);
        self.last = now;
    }
}

/// Four seconds fit; the stall limit and common sense are near that anyway.
fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

/// Opens connections one after the other and keeps them; each has echoed one message.
pub fn open_all(address: SocketAddr, count: usize, script: &Script) -> Result<Vec<Connection>> {
    (0..count).map(|number| open_one(address, "/ws", script).with_context(|| format!("connection {number}"))).collect()
}

fn open_one(address: SocketAddr, target: &str, script: &Script) -> Result<Connection> {
    interrupt::check()?;
    Connection::open(address, target, script)
}

/// Edge-triggered for both directions, so that nothing has to be registered again when a write does not fit.
fn register(connections: &[Connection]) -> Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    for (place, connection) in connections.iter().enumerate() {
        epoll::add(&epoll, connection, epoll::EventData::new_u64(place as u64), flags)?;
    }
    Ok(epoll)
}
