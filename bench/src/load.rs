//! The load: many connections, each with a fixed number of messages in flight, driven by one thread over epoll.
//!
//! It has to be cheaper than any server it measures, so the measured part does no more than read, divide, write and
//! look at the clock once per connection that became ready. Answers are compared byte by byte while it warms up and
//! while it runs out, and only counted in between.
//! Invariant: until `finish`, every connection has exactly `in_flight` messages that wait for their echo.

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

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    WarmUp,
    Measured,
    RunningOut,
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
}

impl Load {
    /// Opens all connections and sends the first messages.
    pub fn start(address: SocketAddr, cell: Cell, waiting: Waiting) -> Result<Self> {
        let script = Script::new(cell.size, cell.in_flight);
        let mut connections = open_all(address, cell.connections, &script)?;
        let epoll = register(&connections)?;
        for connection in &mut connections {
            connection.ask(cell.in_flight, Instant::now(), &script)?;
        }
        Ok(Self {
            waiting: (cell.connections * cell.in_flight) as u64,
            connections,
            script,
            epoll,
            patience: if waiting == Waiting::Awake { NO_TIME } else { TURN },
            events: Vec::with_capacity(EVENTS_AT_ONCE),
            buffer: vec![0; READ_BUFFER],
            phase: Phase::WarmUp,
            heard: Instant::now(),
            tally: Tally::default(),
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

    /// Sends nothing more and waits for the echoes that are still to come.
    pub fn finish(mut self) -> Result<()> {
        self.phase = Phase::RunningOut;
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
        interrupt::check()?;
        self.await_events()?;
        for index in 0..self.events.len() {
            // `register` put the place of the connection there.
            let place = self.events[index].data.u64() as usize;
            self.serve(place)?;
        }
        Ok(())
    }

    fn await_events(&mut self) -> Result<()> {
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, buffer, Some(&self.patience)) {
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
        if self.phase != Phase::Measured {
            connection.check(&self.buffer[..count], &self.script)?;
        }
        let now = Instant::now();
        let answers = connection.count(count, now, &self.script);
        if self.phase == Phase::RunningOut {
            self.waiting -= answers.count;
            return Ok(());
        }
        if self.phase == Phase::Measured {
            self.tally.add(answers.count, answers.round_trip);
        }
        if answers.count == 0 {
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
            // Four seconds fit; the stall limit and common sense are near that anyway.
            self.round_trips.push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
        }
    }
}

/// Opens connections one after the other and keeps them; each has echoed one message.
pub fn open_all(address: SocketAddr, count: usize, script: &Script) -> Result<Vec<Connection>> {
    (0..count)
        .map(|number| {
            interrupt::check()?;
            Connection::open(address, script).with_context(|| format!("connection {number}"))
        })
        .collect()
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
