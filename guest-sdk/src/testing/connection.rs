//! A fake connection: it calls a plugin's events and shows what came of them.
//!
//! Events are called one at a time, of the plugin that the test names: gates, filters and the handler of a chain are driven
//! in the order in which the test calls them. What one of them leaves in the state, the next one finds.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    host::{attempt, run},
    world::World,
};
use crate::{
    Accept, Close, Connection, ControlEvents, FlowEvents, Gate, Handler, Inbound, Joined, Message, Origin, Outbound,
    Pass, Refusal, Request, RoomEvents, TimerEvents, Verdict, events, gate, handler,
};

/// One connection of a [`FakeHost`](super::FakeHost).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeConnection {
    connection: Connection,
}

/// The events, each run on a fresh value of the plugin.
impl FakeConnection {
    pub(super) fn with_id(id: u64) -> Self {
        Self { connection: Connection::with_id(id) }
    }

    /// Calls a handler's connect. After a refusal nothing of the event happened, and a refusal by a close closes.
    pub fn connect<H: Handler>(&self) -> Result<Accept, Refusal> {
        self.shake_hands(|request| handler::connect(&H::default(), &self.connection, request))
    }

    /// Calls a handler's message. A panic closes the connection with 1011 and then fails the test, unless the test expects
    /// it with [`expect_fault`](super::expect_fault).
    pub fn message<H: Handler>(&self, message: impl Into<Message>) {
        let message = message.into();
        self.event(|| handler::message(&H::default(), &self.connection, message));
    }

    /// The connection ends, leaves its rooms, and the handler's disconnect is called.
    pub fn disconnect<H: Handler>(&self, close: Close) {
        self.end(&close);
        run(Some(self.id()), || handler::disconnect(&H::default(), &self.connection, &close));
    }

    /// Calls a gate's connect.
    pub fn connect_gate<G: Gate>(&self) -> Result<Pass, Refusal> {
        self.shake_hands(|request| gate::connect(&G::default(), &self.connection, request))
    }

    /// The connection ends, and the gate's disconnect is called.
    pub fn disconnect_gate<G: Gate>(&self, close: Close) {
        self.end(&close);
        run(Some(self.id()), || gate::disconnect(&G::default(), &self.connection, &close));
    }

    /// Calls an inbound filter. A verdict that closes closes.
    pub fn inbound<F: Inbound>(&self, message: impl Into<Message>) -> Verdict {
        let message = message.into();
        self.filter(false, || F::default().message(&self.connection, &message))
    }

    /// Calls an outbound filter with a message that was sent by id.
    pub fn outbound<F: Outbound>(&self, message: impl Into<Message>) -> Verdict {
        let message = message.into();
        self.filter(true, || F::default().message(&self.connection, &message, None))
    }

    /// Calls an outbound filter with a message from a room.
    pub fn outbound_from<F: Outbound>(&self, message: impl Into<Message>, origin: &Origin) -> Verdict {
        let message = message.into();
        self.filter(true, || F::default().message(&self.connection, &message, Some(origin)))
    }

    /// Fires a timer, which is gone then unless it is set again.
    pub fn timer<P: TimerEvents>(&self, token: u32) {
        World::with(|world| world.peer(self.id()).timers.remove(&token));
        self.event(|| events::run(&self.connection, |state| P::default().timer(&self.connection, token, state)));
    }

    /// Moves the time on, and fires the timers of this connection that are due by then, each at its time: also those that
    /// were set on the way. Returns their tokens in that order.
    pub fn advance<P: TimerEvents>(&self, by: Duration) -> Vec<u32> {
        let until = World::with(|world| world.now + by);
        let mut fired = Vec::new();
        while let Some((token, due)) = World::with(|world| world.next_timer(self.id(), until)) {
            World::with(|world| world.now = world.now.max(due));
            self.timer::<P>(token);
            fired.push(token);
        }
        World::with(|world| world.now = until);
        fired
    }

    /// Tells the plugin how its joins with a replay went, those since the last call.
    pub fn joined<P: RoomEvents>(&self) {
        let joined = World::with(|world| std::mem::take(&mut world.peer(self.id()).joined));
        for (room, newest, complete) in joined {
            let joined = Joined { room: &room, newest, complete };
            self.event(|| events::run(&self.connection, |state| P::default().joined(&self.connection, joined, state)));
        }
    }

    /// Tells the plugin that little is left in the mailbox.
    pub fn drained<P: FlowEvents>(&self) {
        self.event(|| events::run(&self.connection, |state| P::default().drained(&self.connection, state)));
    }

    /// Tells the plugin of a ping of the client.
    pub fn ping<P: ControlEvents>(&self, payload: &[u8]) {
        self.event(|| events::run(&self.connection, |state| P::default().ping(&self.connection, payload, state)));
    }

    /// Tells the plugin of a pong of the client.
    pub fn pong<P: ControlEvents>(&self, payload: &[u8]) {
        self.event(|| events::run(&self.connection, |state| P::default().pong(&self.connection, payload, state)));
    }
}

/// What came of it.
impl FakeConnection {
    /// Its id.
    pub fn id(&self) -> u64 {
        self.connection.id()
    }

    /// What the client was sent since the last call, in order. What it has not taken waits in its mailbox, and
    /// [`flow::queued`](crate::flow::queued) counts it.
    pub fn take_received(&self) -> Vec<Message> {
        World::with(|world| std::mem::take(&mut world.peer(self.id()).received))
    }

    /// The payloads of the pings that the client was sent since the last call.
    pub fn take_pings(&self) -> Vec<Vec<u8>> {
        World::with(|world| std::mem::take(&mut world.peer(self.id()).pings))
    }

    /// The payloads of the pongs that the client was sent since the last call.
    pub fn take_pongs(&self) -> Vec<Vec<u8>> {
        World::with(|world| std::mem::take(&mut world.peer(self.id()).pongs))
    }

    /// The close that ended it, once one has.
    pub fn closed(&self) -> Option<Close> {
        World::with(|world| world.peer(self.id()).closed.clone()).map(Close::from)
    }

    /// The rooms that it is in, by name in alphabetical order, without the implicit ones.
    pub fn rooms(&self) -> Vec<String> {
        World::with(|world| world.peer(self.id()).rooms.iter().cloned().collect())
    }

    /// Its timers by token: in how long they are due.
    pub fn timers(&self) -> Vec<(u32, Duration)> {
        let (timers, now) = World::with(|world| (world.peer(self.id()).timers.clone(), world.now));
        timers.into_iter().map(|(token, due)| (token, due.saturating_sub(now))).collect()
    }

    /// A value of its state; the handler's typed state is under [`STATE_KEY`](crate::STATE_KEY). Panics for one of another
    /// shape.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let bytes = World::with(|world| world.peer(self.id()).state.get(key).cloned())?;
        Some(serde_json::from_slice(&bytes).expect("the state has the type that the test asks for"))
    }

    /// Puts a value into its state, as a plugin further out would have.
    pub fn set_state<T: Serialize>(&self, key: &str, value: &T) {
        let bytes = serde_json::to_vec(value).expect("the value that the test gives can be JSON");
        World::with(|world| world.peer(self.id()).state.insert(key.to_owned(), bytes));
    }

    fn shake_hands<A>(&self, connect: impl FnOnce(&Request) -> Result<A, Refusal>) -> Result<A, Refusal> {
        let request = World::with(|world| world.peer(self.id()).request.clone()).into();
        World::with(|world| world.begin(Some(self.id()), false));
        let answer = attempt(|| connect(&request));
        match &answer {
            Ok(_) => World::with(World::commit),
            Err(refusal) => self.refuse(refusal),
        }
        answer
    }

    fn refuse(&self, refusal: &Refusal) {
        World::with(World::discard);
        if let Some(close) = refusal.closes_with() {
            World::with(|world| world.close(self.id(), close.to_frame()));
        }
    }

    /// Runs an event on messages: one that faults closes the connection as the host would.
    fn event(&self, event: impl FnOnce()) {
        self.guarded(false, event);
        World::with(World::commit);
    }

    fn filter(&self, outbound: bool, event: impl FnOnce() -> Result<Verdict, Close>) -> Verdict {
        let verdict = self.guarded(outbound, || Verdict::of(event()));
        World::with(World::commit);
        if let Verdict::Close(close) = &verdict {
            World::with(|world| world.close(self.id(), close.to_frame()));
        }
        verdict
    }

    fn guarded<R>(&self, outbound: bool, event: impl FnOnce() -> R) -> R {
        World::with(|world| world.begin(Some(self.id()), outbound));
        let fault = ClosesOnFault(self.id());
        let answer = attempt(event);
        std::mem::forget(fault);
        answer
    }

    fn end(&self, close: &Close) {
        World::with(|world| {
            world.close(self.id(), close.to_frame());
            world.peer(self.id()).rooms.clear();
        });
    }
}

/// Dropped only while a panic passes by: the host closes such a connection with 1011.
struct ClosesOnFault(u64);

impl Drop for ClosesOnFault {
    fn drop(&mut self) {
        World::with(|world| world.close(self.0, Close::internal("internal error").to_frame()));
    }
}
