//! One connection, from its accepted handshake to its end.
//!
//! One task, one loop: it waits for the next thing that happens, and there is one function for each. Events run here one
//! at a time, their effects are committed here, and nobody else writes to the socket.
//! Invariants: disconnect is told exactly once, with the frame that ended the connection, after its rooms were left;
//! from the commit of a close on no message is delivered.

use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::socket::{Happening, Socket};
use super::worker::Worker;
use crate::chain::{Chain, Ended, Passed, Subject, Verdict};
use crate::clock::Moment;
use crate::event::{Effect, Joined, Kept, Replay};
use crate::hub::commit::{Commit, Spot};
use crate::hub::mailbox::{Mailbox, Outgoing};
use crate::message::{CloseFrame, Message, close};

/// An accepted connection.
pub struct Connection {
    worker: Rc<Worker>,
    chain: Rc<Chain>,
    mailbox: Rc<Mailbox>,
    kept: Kept,
    passed: Passed,
    /// Joins with a replay that the plugins that asked are still to be told of.
    joined: VecDeque<Joined>,
    /// When the connection is given up, once a close is queued and the peer does not read.
    give_up: Option<Moment>,
}

/// How the loop ended: with which frame, and what is still to be done on the wire.
enum End {
    /// This side closes.
    Close(CloseFrame),
    /// The peer closed.
    Echo(CloseFrame),
    /// Nothing reaches the peer any more.
    Gone(CloseFrame),
}

impl Connection {
    /// A connection whose handshake was accepted: known to others and in its implicit rooms from here on.
    pub fn open(worker: Rc<Worker>, chain: Rc<Chain>, mailbox: Rc<Mailbox>, (kept, passed): (Kept, Passed)) -> Self {
        worker.local.add(&mailbox);
        let metrics = worker.metrics();
        metrics.accepted.inc();
        metrics.connections.inc();
        let connection = Self { worker, chain, mailbox, kept, passed, joined: VecDeque::new(), give_up: None };
        for room in connection.implicit_rooms() {
            connection.worker.local.join(&connection.mailbox, &room, Replay::Nothing);
        }
        connection
    }

    /// Carries out what the handshake asked for.
    pub async fn commit(&mut self, effects: Vec<Effect>) {
        self.commit_at(Spot::End, effects).await;
    }

    async fn commit_at(&mut self, spot: Spot, effects: Vec<Effect>) {
        let rooms = &mut self.kept.rooms;
        let joined = Commit { local: &self.worker.local, own: &self.mailbox, rooms, spot }.run(effects).await;
        self.joined.extend(joined);
    }

    /// Serves the connection to its end.
    pub async fn run(mut self, mut socket: Socket) {
        let end = self.serve(&mut socket).await;
        let waiting = self.mailbox.shut();
        // Boxed like all that is rare: what is not boxed here is room that every idle connection takes.
        let frame = Box::pin(self.part(socket, end, waiting)).await;
        Box::pin(self.finish(&frame)).await;
    }

    /// Ends a connection whose socket was lost before it was opened.
    pub async fn lost(self) {
        self.mailbox.shut();
        self.finish(&close::LOST).await;
    }

    async fn serve(&mut self, socket: &mut Socket) -> End {
        loop {
            let happened = match self.next(socket).await {
                Happening::Message(message) => self.message(socket, message).await,
                Happening::Outgoing(item) => Box::pin(self.outgoing(socket, item)).await,
                Happening::Closing(frame) => Some(End::Close(frame)),
                Happening::PeerClosed(frame) => Some(End::Echo(frame)),
                Happening::Broken(frame) => Some(self.broken(frame)),
                Happening::Lost => Some(End::Gone(close::LOST)),
                Happening::Stuck => self.stuck(),
                Happening::Pause => self.pause().await,
            };
            if let Some(end) = happened {
                return end;
            }
        }
    }

    async fn next(&self, socket: &mut Socket) -> Happening {
        let filtered = |reach| self.chain.filters_outbound(reach);
        let next = socket.next(&self.mailbox, &filtered);
        let Some(give_up) = self.give_up else { return next.await };
        tokio::select! {
            biased;
            happening = next => happening,
            () = self.worker.clock().sleep_until(give_up) => Happening::Lost,
        }
    }

    /// A message of the client becomes an event, unless a close was committed before it.
    async fn message(&mut self, socket: &mut Socket, message: Message) -> Option<End> {
        if self.mailbox.is_closing() {
            return None;
        }
        self.worker.metrics().messages_in.inc();
        let kept = std::mem::take(&mut self.kept);
        let (chain, mailbox, subject) = (self.chain.clone(), self.mailbox.clone(), self.subject());
        let filtered = |reach| chain.filters_outbound(reach);
        let event = pin!(async { self.settle(chain.message(subject, kept, message).await).await });
        if let Some(Verdict::Close(frame)) = socket.during(&mailbox, &filtered, event).await {
            mailbox.close(frame);
        }
        None
    }

    /// A message to the client passes the filters further out before it is written.
    async fn outgoing(&mut self, socket: &mut Socket, item: Outgoing) -> Option<End> {
        let Outgoing::Message { message, origin, reach } = item else { return None };
        let kept = std::mem::take(&mut self.kept);
        let (chain, mailbox, subject) = (self.chain.clone(), self.mailbox.clone(), self.subject());
        let filtered = |reach| chain.filters_outbound(reach);
        let event = pin!(async { self.settle(chain.outbound(subject, kept, (message, origin), reach).await).await });
        match socket.during(&mailbox, &filtered, event).await {
            Some(Verdict::Through(message)) => socket.write(message).err().map(|_| End::Gone(close::LOST)),
            Some(Verdict::Close(frame)) => {
                mailbox.close(frame);
                None
            }
            Some(Verdict::Dropped) | None => None,
        }
    }

    /// Takes back what was lent to the event and commits what it asked for; after a fault the connection is closed.
    async fn settle<T>(&mut self, ended: Ended<T>) -> Option<T> {
        self.kept = ended.kept;
        if !ended.effects.is_empty() {
            self.commit(ended.effects).await;
        }
        if ended.outcome.is_none() {
            self.mailbox.close(close::INTERNAL);
        }
        ended.outcome
    }

    fn broken(&self, frame: CloseFrame) -> End {
        let metrics = self.worker.metrics();
        let counter = if frame.code == close::TOO_BIG.code { &metrics.too_big } else { &metrics.protocol_errors };
        counter.inc();
        End::Close(frame)
    }

    fn stuck(&mut self) -> Option<End> {
        self.give_up = Some(self.worker.clock().now() + self.worker.limits().close());
        None
    }

    async fn pause(&self) -> Option<End> {
        tokio::task::yield_now().await;
        None
    }

    /// Does what is left on the wire, within the time for it, and says which frame ended the connection.
    async fn part(&self, socket: Socket, end: End, waiting: Option<CloseFrame>) -> CloseFrame {
        let (parting, frame) = match end {
            End::Close(frame) => (self.timed(socket.close(&frame)).await, frame),
            End::Echo(frame) => (self.timed(socket.echo_close()).await, frame),
            End::Gone(frame) => (true, waiting.unwrap_or(frame)),
        };
        if !parting {
            self.worker.metrics().close_timeouts.inc();
        }
        frame
    }

    async fn timed(&self, parting: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = parting => true,
            () = self.worker.clock().sleep(self.worker.limits().close()) => false,
        }
    }

    /// Leaves the rooms, then tells the guests.
    async fn finish(mut self, frame: &CloseFrame) {
        let joined = std::mem::take(&mut self.kept.rooms);
        for room in self.implicit_rooms().iter().chain(&joined) {
            self.worker.local.leave(&self.mailbox, room);
        }
        self.worker.local.remove(self.mailbox.id());
        let kept = std::mem::take(&mut self.kept);
        let ended = self.chain.clone().disconnect(self.subject(), kept, frame, self.passed).await;
        self.kept = ended.kept;
        self.commit(ended.effects).await;
        self.worker.metrics().connections.dec();
    }

    fn subject(&self) -> Subject {
        Subject { connection: self.mailbox.id(), tenant: self.mailbox.tenant() }
    }

    /// Everyone, those of its routers, and those of its route.
    fn implicit_rooms(&self) -> Vec<Arc<str>> {
        let names = self.kept.handshake.names();
        let routers = names.routers.iter().map(|router| format!("@router/{router}").into());
        let outer = std::iter::once("@all".into()).chain(routers);
        outer.chain(std::iter::once(format!("@route/{}", names.route).into())).collect()
    }
}
