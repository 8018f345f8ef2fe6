//! One connection, from its accepted handshake to its end.
//!
//! One task, one loop: it waits for the next thing that happens, and there is one function for each. Events run here one
//! at a time, their effects are committed here, and nobody else writes to the socket.
//! Invariants: disconnect is told exactly once, with the frame that ended the connection, after its rooms were left;
//! from the commit of a close on no message is delivered.

mod ending;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::deadlines::{Deadlines, Due};
use super::socket::{Excess, Happening, Socket};
use super::worker::Worker;
use crate::chain::{Chain, Ended, Faulted, Passed, Verdict, Whom};
use crate::clock::Moment;
use crate::event::{Effect, Interface, Joined, Kept, Notice, Replay, Subject};
use crate::hub::commit::{Commit, Joins, Spot};
use crate::hub::mailbox::{Mailbox, Outgoing};
use crate::limits::Limits;
use crate::message::{CloseFrame, Control, Message, close};
use crate::metrics::Failure;
use crate::store::Lost;
use crate::tenants::Tenant;

/// An accepted connection.
pub struct Connection {
    worker: Rc<Worker>,
    chain: Rc<Chain>,
    mailbox: Rc<Mailbox>,
    kept: Kept,
    passed: Passed,
    /// Joins with a replay that the plugins that asked are still to be told of.
    joins: Joins,
    deadlines: Deadlines,
    /// How many control frames guests were told of in this second.
    controls: (u64, u32),
}

/// How the loop ended: with which frame, and what is still to be done on the wire.
enum End {
    /// This side closes.
    Close(CloseFrame),
    /// The peer closed.
    Echo(CloseFrame),
    /// Nothing reaches the peer any more.
    Gone(CloseFrame),
    /// The peer shows no sign of life; it is told, should it still hear.
    Silent,
}

impl Connection {
    /// A connection whose handshake was accepted: known to others and in its implicit rooms from here on.
    pub fn open(worker: Rc<Worker>, chain: Rc<Chain>, mailbox: Rc<Mailbox>, (kept, passed): (Kept, Passed)) -> Self {
        worker.local.add(&mailbox);
        let metrics = worker.metrics();
        metrics.accepted.inc();
        metrics.connections.inc();
        let deadlines = Deadlines::new(&chain.route().limits(), chain.route().idle);
        let (joins, controls) = Default::default();
        let connection = Self { worker, chain, mailbox, kept, passed, joins, deadlines, controls };
        for room in connection.implicit_rooms() {
            connection.worker.local.join(&connection.mailbox, &room, Replay::Nothing);
        }
        connection.close_if_unwanted();
        connection
    }

    /// For a handshake that was let in under an earlier plan, or before the order to stop; both look at all that are open.
    fn close_if_unwanted(&self) {
        if *self.worker.shared().stopping.borrow() {
            return self.mailbox.close(close::RESTART);
        }
        if let Some(frame) = self.worker.plan().plan.closes(self.tenant(), &self.chain.route().names.route) {
            self.mailbox.close(frame);
        }
    }

    /// What it may do, as it is opened.
    pub fn limits(&self) -> Arc<Limits> {
        self.chain.route().limits()
    }

    /// Whose connection it is.
    pub fn tenant(&self) -> &Tenant {
        &self.chain.route().tenant
    }

    /// Carries out what an event asked for. Closes the connection, as after a fault, where its writes were lost.
    pub async fn commit(&mut self, effects: Vec<Effect>) -> Result<(), Lost> {
        let (local, own, kept, joins) = (&self.worker.local, &self.mailbox, &mut self.kept, &mut self.joins);
        let carried_out = Commit { local, own, kept, joins }.run(effects).await;
        carried_out.inspect_err(|Lost| self.mailbox.close(close::INTERNAL))
    }

    /// Serves the connection to its end, and takes the socket with it; there is none where it was lost before it was opened.
    ///
    /// Both stay where they lie: what is moved into a future takes its room twice, in every idle connection. So does what is rare
    /// and not boxed.
    pub async fn run(&mut self, socket: &mut Option<Socket>) {
        let end = match socket {
            Some(socket) => Some(self.serve(socket).await),
            None => None,
        };
        let waiting = self.mailbox.shut();
        let frame = match socket.take().zip(end) {
            Some((socket, end)) => Box::pin(self.part(socket, end, waiting)).await,
            None => close::LOST,
        };
        Box::pin(self.finish(&frame)).await;
    }

    async fn serve(&mut self, socket: &mut Socket) -> End {
        // For what the handshake sent.
        await_drain(&self.mailbox, &self.chain);
        loop {
            while let Some((position, joined)) = self.joins.told.pop_front() {
                Box::pin(self.joined(socket, position, joined)).await;
            }
            self.arm(socket);
            if self.worker.shares.is_over() {
                socket.pause();
            }
            let happened = match socket.next(&self.mailbox, &self.chain).await {
                Happening::Message(message) => self.message(socket, message).await,
                Happening::Outgoing(item) => Box::pin(self.outgoing(socket, item)).await,
                Happening::Closing(frame) => Some(End::Close(frame)),
                Happening::PeerClosed(frame) => Some(End::Echo(frame)),
                Happening::Broken(frame) => Some(self.broken(frame)),
                Happening::Excess(excess) => Some(self.excess(excess)),
                Happening::Lost => Some(End::Gone(close::LOST)),
                Happening::Stuck => self.stuck(),
                Happening::Control(frame) => Box::pin(self.control(socket, frame)).await,
                Happening::Alarm => Box::pin(self.alarm(socket)).await,
                Happening::Drained => Box::pin(self.drained(socket)).await,
                Happening::Pause => self.pause().await,
            };
            if let Some(end) = happened {
                return end;
            }
        }
    }

    /// A message of the client becomes an event, unless a close was committed before it.
    async fn message(&mut self, socket: &mut Socket, message: Message) -> Option<End> {
        if self.mailbox.is_closing() {
            return None;
        }
        self.worker.metrics().messages_in.inc();
        let event = async |chain: &Chain, subject, kept| chain.message(subject, kept, message).await;
        if let Some(Verdict::Close(frame)) = self.event(socket, event).await {
            self.mailbox.close(frame);
        }
        None
    }

    /// A message to the client passes the filters further out before it is written.
    async fn outgoing(&mut self, socket: &mut Socket, item: Outgoing) -> Option<End> {
        let Outgoing::Message { message, origin, reach } = item else { return None };
        let event = async |chain: &Chain, subject, kept| chain.outbound(subject, kept, (message, origin), reach).await;
        match self.event(socket, event).await {
            Some(Verdict::Through(message)) => socket.write(message).err().map(|_| End::Gone(close::LOST)),
            Some(Verdict::Close(frame)) => {
                self.mailbox.close(frame);
                None
            }
            Some(Verdict::Dropped) | None => None,
        }
    }

    /// Tells the plugin that joined with a replay how that went. What it sends lies ahead of what is live.
    async fn joined(&mut self, socket: &mut Socket, position: usize, joined: Joined) {
        self.joins.spot = Spot::Mark;
        self.notice(socket, &Notice::Joined(joined), Whom::At(position)).await;
        self.joins.spot = Spot::End;
        self.mailbox.release();
        // A plugin that answers by joining again and again keeps only its own connection busy.
        tokio::task::yield_now().await;
    }

    /// A ping or pong of the client, for the guests that want to see them, as many as they are to be told of in a second.
    async fn control(&mut self, socket: &mut Socket, frame: Control) -> Option<End> {
        let second = self.worker.clock().now().as_secs();
        if self.controls.0 != second {
            self.controls = (second, 0);
        }
        if self.controls.1 >= self.tenant().limits().control_events {
            self.worker.metrics().control_dropped.inc();
            return None;
        }
        self.controls.1 += 1;
        self.notice(socket, &Notice::Control(frame), Whom::All).await
    }

    /// Carries out what is due: the guests' timers, then keepalive and limits. Timers wait while the client has much to read.
    async fn alarm(&mut self, socket: &mut Socket) -> Option<End> {
        self.set_alarm(None);
        if self.worker.is_cutting() {
            return Some(End::Gone(close::LOST));
        }
        let now = self.worker.clock().now();
        // As many as are due now: one that is set again at once has to wait its turn.
        for _ in 0..self.kept.timers.count_due(now) {
            if self.mailbox.is_half_full() {
                break;
            }
            let Some(key) = self.kept.timers.take_due(now) else { break };
            self.notice(socket, &Notice::Timer(key.token), Whom::At(key.position)).await;
        }
        let due = self.deadlines.due(now, socket.signs())?;
        if self.mailbox.is_closing() && due != Due::GiveUp {
            return None;
        }
        self.carry_out(due)
    }

    fn carry_out(&self, due: Due) -> Option<End> {
        let fail = |failure| self.worker.metrics().fail(failure, self.mailbox.id());
        match due {
            Due::Ping => self.mailbox.put(Outgoing::Control(Control::Ping(Bytes::new()))),
            Due::Idle => {
                fail(Failure::Idle);
                self.mailbox.close(close::IDLE);
            }
            Due::SlowMessage => {
                fail(Failure::SlowMessage);
                self.mailbox.close(close::SLOW_MESSAGE);
            }
            Due::Stalled => {
                fail(Failure::Stalled);
                return Some(End::Gone(close::LOST));
            }
            Due::NoPong => {
                fail(Failure::NoPong);
                return Some(End::Silent);
            }
            Due::GiveUp => return Some(End::Gone(close::LOST)),
        }
        None
    }

    /// The client has read most of what waited: guests that stream go on, and timers that were held back are looked at.
    async fn drained(&mut self, socket: &mut Socket) -> Option<End> {
        self.notice(socket, &Notice::Drained, Whom::All).await;
        self.alarm(socket).await
    }

    /// Sets the worker's alarm to the next moment at which something is due.
    fn arm(&mut self, socket: &Socket) {
        if self.mailbox.is_closing() {
            return;
        }
        let held_back = self.mailbox.is_half_full();
        let timer = self.kept.timers.next();
        if held_back && timer.is_some() {
            self.mailbox.await_drain();
        }
        let timer = timer.filter(|_| !held_back);
        // An alarm that comes too early costs one look; so it is moved only where it would come too late.
        let missing = self.mailbox.alarm().is_none().then(|| self.deadlines.next(socket.signs())).flatten();
        if let Some(next) = timer.into_iter().chain(missing).min() {
            self.worker.alarms.set_before(&self.mailbox, next);
        }
    }

    fn set_alarm(&self, to: Option<Moment>) {
        self.worker.alarms.set(&self.mailbox, to);
    }

    /// Tells the guests something, unless a close was committed before.
    async fn notice(&mut self, socket: &mut Socket, notice: &Notice, whom: Whom) -> Option<End> {
        if !self.mailbox.is_closing() && self.chain.exports(self.mailbox.id(), notice.interface()) {
            let event = async |chain: &Chain, subject, kept| chain.notice(subject, kept, notice, whom).await;
            self.event(socket, event).await;
        }
        None
    }

    /// Runs an event to its end, while mail is written beside it, and commits it; none where a guest faulted.
    async fn event<T>(
        &mut self,
        socket: &mut Socket,
        run: impl AsyncFnOnce(&Chain, Subject, Kept) -> Ended<T>,
    ) -> Option<T> {
        if self.chain.is_stopped() {
            self.mailbox.close(close::STOPPED);
            return None;
        }
        let (chain, mailbox, subject) = (self.chain.clone(), self.mailbox.clone(), self.subject());
        let kept = self.kept.lend();
        let event = pin!(async {
            let ended = run(&chain, subject, kept).await;
            // The cheap question first: the other one goes to every link of the chain.
            if mailbox.would_be_half_full(subject.queued, &ended.effects)
                && chain.exports(mailbox.id(), Interface::FlowEvents)
            {
                mailbox.await_drain();
            }
            self.settle(ended).await
        });
        socket.during(&mailbox, &chain, event).await
    }

    /// Takes back what was lent to the event and commits what it asked for; after a fault the connection is closed.
    async fn settle<T>(&mut self, ended: Ended<T>) -> Option<T> {
        self.kept = ended.kept;
        if !ended.effects.is_empty() {
            self.commit(ended.effects).await.ok()?;
        }
        match ended.outcome {
            Ok(outcome) => Some(outcome),
            Err(faulted) => {
                let frame = Box::pin(self.judge(&faulted)).await;
                self.mailbox.close(frame);
                None
            }
        }
    }

    /// How the connection ends after a fault: as a gate around the plugin that faulted says, or as always.
    async fn judge(&mut self, faulted: &Faulted) -> CloseFrame {
        let kept = self.kept.lend();
        let ended = self.chain.clone().judge(self.subject(), kept, faulted).await;
        self.kept = ended.kept;
        let committed = self.commit(ended.effects).await.ok();
        // Where that fails, nothing that a gate said holds.
        match committed {
            Some(()) => ended.outcome.ok().flatten().unwrap_or_else(|| faulted.frame().clone()),
            None => close::INTERNAL,
        }
    }

    fn broken(&self, frame: CloseFrame) -> End {
        let failure = if frame.code == close::TOO_BIG.code { Failure::TooBig } else { Failure::Protocol };
        self.worker.metrics().fail(failure, self.mailbox.id());
        End::Close(frame)
    }

    fn excess(&self, excess: Excess) -> End {
        self.worker.metrics().fail(excess.failure(), self.mailbox.id());
        End::Close(excess.frame())
    }

    fn stuck(&mut self) -> Option<End> {
        let give_up = self.worker.clock().now() + self.worker.limits().close();
        self.deadlines.give_up_at(give_up);
        self.set_alarm(Some(give_up));
        None
    }

    async fn pause(&self) -> Option<End> {
        tokio::task::yield_now().await;
        None
    }

    fn subject(&self) -> Subject {
        let mailbox = &self.mailbox;
        Subject { connection: mailbox.id(), tenant: mailbox.tenant(), queued: mailbox.queued() }
    }

    /// Everyone, those of its routers, and those of its route.
    fn implicit_rooms(&self) -> Vec<Arc<str>> {
        let names = self.kept.handshake.names();
        let routers = names.routers.iter().map(|router| format!("@router/{router}").into());
        let outer = std::iter::once("@all".into()).chain(routers);
        outer.chain(std::iter::once(format!("@route/{}", names.route).into())).collect()
    }
}

/// Has guests that stream told once little is left, where the handshake left the mailbox more than half full.
fn await_drain(mailbox: &Mailbox, chain: &Chain) {
    if mailbox.is_half_full() && chain.exports(mailbox.id(), Interface::FlowEvents) {
        mailbox.await_drain();
    }
}
