//! One WebSocket on the wire: frames in, frames out. Of guests it asks only whether they want to see something.
//!
//! The only place that knows tungstenite, with its buffers and limits set so that an idle connection is small. Reads stop
//! while much waits to be written; what is ready is written before one flush.
//! Invariant: nothing is read from a peer whose mailbox is more than half full, and every way out flushes.

mod allowance;
mod frames;
pub(super) mod meter;
mod parting;
mod pongs;
mod throttle;
mod watch;
mod wire;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self as library};

pub use allowance::Excess;

use allowance::Allowance;
use frames::{broken, lift, lift_control, lower};
use throttle::{Place, Throttle};
use wire::Wire;

use super::deadlines::Signs;
use super::deflate::Deflating;
use super::stream::Stream;
use super::worker::Worker;
use crate::chain::Chain;
use crate::event::Interface;
use crate::hub::mailbox::{Mailbox, Outgoing};
use crate::id::ConnectionId;
use crate::limits::Limits;
use crate::message::{CloseFrame, Control, Message};

/// Allocated for each connection at once, so it is what an idle one costs.
const READ_BUFFER: usize = 4 * 1024;
/// Gathered before a write without a flush.
const WRITE_BUFFER: usize = 16 * 1024;
/// After this many messages without a flush, one is made all the same, so that a flood delays nobody's answers.
const MESSAGES_PER_FLUSH: usize = 64;

/// What can happen on a socket.
#[derive(Debug)]
pub enum Happening {
    /// A message came.
    Message(Message),
    /// A message is to be written, and filters have to see it first.
    Outgoing(Outgoing),
    /// All is written up to the close that this side queued.
    Closing(CloseFrame),
    /// The peer closed; its close is echoed.
    PeerClosed(CloseFrame),
    /// The peer broke a rule: it is told this close.
    Broken(CloseFrame),
    /// The peer sent more of something than it may.
    Excess(Excess),
    /// The connection is lost.
    Lost,
    /// A close is queued, and the peer does not read what waits before it. Told once.
    Stuck,
    /// A ping or pong came that a guest wants to see; a ping is answered already.
    Control(Control),
    /// The connection's alarm went off.
    Alarm,
    /// Little is left in a mailbox whose draining was waited for.
    Drained,
    /// So many messages came without a pause that other connections have to get their turn.
    Pause,
}

/// A WebSocket.
pub struct Socket {
    ws: WebSocketStream<Wire>,
    /// How messages to the peer are deflated, if it agreed to that.
    deflating: Option<Deflating>,
    allowance: Allowance,
    worker: Rc<Worker>,
    /// Set while something was handed to the library and not flushed.
    unflushed: bool,
    /// Set while the answer to a ping waits to be written.
    unanswered: bool,
    /// Messages read since the last flush.
    since_flush: usize,
    /// What came of writing while an event was running; it is told when the event has ended.
    held_out: Option<Happening>,
    /// What was read and cannot be told yet, as an event runs or the tenant is at its rate: one thing, then no more is read.
    held_in: Option<Happening>,
    /// Whether the tenant's rates have what comes, or goes, wait.
    throttle: Throttle,
    /// Set while a message to the peer is with the filters: nothing that came later may overtake it.
    passing: bool,
    told_stuck: bool,
    /// Set where the last look found nothing more to read, so that the library holds nothing that was read but a part.
    read_all: bool,
    /// Set by a large message, until that is noted among the signs.
    grown: bool,
    /// Set while the peer takes nothing; counted among all such peers.
    blocked: bool,
    signs: Signs,
    /// Whether anything came, and whether a message came or went, since the signs were last brought up to date.
    heard: bool,
    active: bool,
}

impl Socket {
    /// Takes over a socket after its handshake, with what was read beyond it.
    pub async fn new(
        (stream, read_already): (Stream, Bytes),
        deflating: Option<Deflating>,
        limits: &Limits,
        worker: Rc<Worker>,
    ) -> Self {
        let now = worker.clock().now();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(WRITE_BUFFER + limits.effects_bytes.max(limits.message_bytes) + 1024)
            .max_message_size(Some(limits.message_bytes))
            .max_frame_size(Some(limits.message_bytes));
        let (wire, part) = Wire::new((stream, read_already), deflating.map(|_| limits.message_bytes));
        let ws = WebSocketStream::from_partially_read(wire, part, Role::Server, Some(config)).await;
        Self {
            ws,
            deflating,
            allowance: Allowance::new(limits),
            worker,
            unflushed: false,
            unanswered: false,
            since_flush: 0,
            held_out: None,
            held_in: None,
            throttle: Throttle::default(),
            passing: false,
            told_stuck: false,
            read_all: false,
            grown: false,
            blocked: false,
            signs: Signs { heard: now, active: now, ..Signs::default() },
            heard: false,
            active: false,
        }
    }

    /// The peer's last signs of life.
    pub fn signs(&self) -> Signs {
        self.signs
    }

    /// Has the next thing to happen be a pause.
    pub fn pause(&mut self) {
        self.since_flush = MESSAGES_PER_FLUSH;
    }

    /// Waits for the next thing to happen, writing meanwhile. The chain says what its guests have to see of it.
    pub async fn next(&mut self, mailbox: &Rc<Mailbox>, chain: &Chain) -> Happening {
        poll_fn(|cx| {
            let happening = self.poll(cx, mailbox, chain);
            self.passing = matches!(happening, Poll::Ready(Happening::Outgoing(_)));
            // Messages are most of what happens: theirs are noted with what follows them.
            if !matches!(happening, Poll::Ready(Happening::Message(_))) {
                self.note_signs();
            }
            if happening.is_pending() {
                self.watch(mailbox);
            }
            happening
        })
        .await
    }

    /// Runs an event to its end; meanwhile mail is written and control frames are answered.
    pub async fn during<T>(
        &mut self,
        mailbox: &Rc<Mailbox>,
        chain: &Chain,
        mut event: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        poll_fn(|cx| {
            if let Poll::Ready(ended) = event.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            self.poll_aside(cx, mailbox, chain);
            self.note_signs();
            self.watch(mailbox);
            Poll::Pending
        })
        .await
    }

    /// Writes a message that passed the filters.
    pub fn write(&mut self, message: Message) -> Result<(), Happening> {
        self.worker.metrics().messages_out.inc();
        self.active = true;
        self.grown |= message.len() as u64 > watch::GROWN;
        let deflated = self.deflating.and_then(|deflating| deflating.deflate(message.payload()));
        self.start(lower(message, deflated))
    }

    fn poll(&mut self, cx: &mut Context<'_>, mailbox: &Rc<Mailbox>, chain: &Chain) -> Poll<Happening> {
        self.note_waiting();
        if let Some(held) = self.held_out.take().or_else(|| self.take_read(mailbox, chain)) {
            return Poll::Ready(held);
        }
        if mailbox.take_ring() {
            self.give_back(cx);
            return Poll::Ready(Happening::Alarm);
        }
        if self.since_flush >= MESSAGES_PER_FLUSH {
            self.since_flush = 0;
            self.unflushed = self.ws.poll_flush_unpin(cx).is_pending();
            return Poll::Ready(Happening::Pause);
        }
        if let Poll::Ready(happening) = self.poll_write(cx, mailbox, chain) {
            return Poll::Ready(happening);
        }
        if mailbox.take_drained() {
            return Poll::Ready(Happening::Drained);
        }
        self.read_ahead(cx, mailbox, chain);
        if let Some(happening) = self.take_read(mailbox, chain) {
            return Poll::Ready(happening);
        }
        self.poll_flush(cx)
    }

    /// What goes on beside an event that waits: mail is written up to what needs an event itself, and one message is read.
    fn poll_aside(&mut self, cx: &mut Context<'_>, mailbox: &Rc<Mailbox>, chain: &Chain) {
        self.note_waiting();
        let may_write = self.held_out.is_none() && !self.passing;
        if may_write && let Poll::Ready(happening) = self.poll_write(cx, mailbox, chain) {
            self.held_out = Some(happening);
        }
        self.read_ahead(cx, mailbox, chain);
        if let Poll::Ready(lost) = self.poll_flush(cx) {
            self.held_out = Some(lost);
        }
    }

    /// Reads one thing, if none is held.
    fn read_ahead(&mut self, cx: &mut Context<'_>, mailbox: &Rc<Mailbox>, chain: &Chain) {
        if self.held_in.is_none()
            && may_read(mailbox)
            && self.poll_answer(cx).is_ready()
            && let Poll::Ready(happening) = self.poll_read(cx, (mailbox.id(), chain))
        {
            if let Happening::Message(message) = &happening {
                let at = Place { worker: &self.worker, mailbox, tenant: &chain.route().tenant };
                self.throttle.note_read(at, message.len());
            }
            self.held_in = Some(happening);
        }
    }

    /// What was read, unless it has to wait.
    fn take_read(&mut self, mailbox: &Rc<Mailbox>, chain: &Chain) -> Option<Happening> {
        let at = Place { worker: &self.worker, mailbox, tenant: &chain.route().tenant };
        if self.throttle.holds_read(at) {
            return None;
        }
        self.held_in.take()
    }

    /// Hands the library what waits, as far as it takes it and the tenant's rates allow.
    fn poll_write(&mut self, cx: &mut Context<'_>, mailbox: &Rc<Mailbox>, chain: &Chain) -> Poll<Happening> {
        loop {
            match self.ws.poll_ready_unpin(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Happening::Lost),
                Poll::Pending => return self.poll_stuck(cx, mailbox),
            }
            // A peer that reads slowly shows by reading that it lives: its answer to a ping may be long in coming.
            self.heard |= self.unblock();
            let at = Place { worker: &self.worker, mailbox, tenant: &chain.route().tenant };
            if self.throttle.holds_write(at) {
                mailbox.wake_at_next(cx);
                return Poll::Pending;
            }
            let written = match ready!(mailbox.poll_next(cx)) {
                item @ Outgoing::Message { reach, .. } if chain.filters_outbound(mailbox.id(), reach) => {
                    return Poll::Ready(Happening::Outgoing(item));
                }
                Outgoing::Message { message, .. } => self.write(message),
                Outgoing::Control(Control::Ping(payload)) => self.start(library::Message::Ping(payload)),
                Outgoing::Control(Control::Pong(payload)) => self.start(library::Message::Pong(payload)),
                Outgoing::Close(frame) => return Poll::Ready(Happening::Closing(frame)),
            };
            if let Err(happening) = written {
                return Poll::Ready(happening);
            }
        }
    }

    /// The peer does not read: says so once there is a close to wait for.
    fn poll_stuck(&mut self, cx: &Context<'_>, mailbox: &Mailbox) -> Poll<Happening> {
        if !std::mem::replace(&mut self.blocked, true) {
            self.worker.metrics().blocked_peers.inc();
        }
        mailbox.wake_at_next(cx);
        if mailbox.is_closing() && !self.told_stuck {
            self.told_stuck = true;
            return Poll::Ready(Happening::Stuck);
        }
        Poll::Pending
    }

    /// The peer takes something again; whether it did not before.
    fn unblock(&mut self) -> bool {
        let was_blocked = std::mem::take(&mut self.blocked);
        if was_blocked {
            self.worker.metrics().blocked_peers.dec();
        }
        was_blocked
    }

    fn start(&mut self, frame: library::Message) -> Result<(), Happening> {
        self.unflushed = true;
        self.ws.start_send_unpin(frame).map_err(|_| Happening::Lost)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, (own, chain): (ConnectionId, &Chain)) -> Poll<Happening> {
        loop {
            let read = self.ws.poll_next_unpin(cx);
            self.read_all = read.is_pending();
            if let Some(excess) = self.allowance.fragments(self.ws.get_ref().meter().fragments()) {
                return Poll::Ready(Happening::Excess(excess));
            }
            let read = ready!(read);
            self.heard = true;
            let message = match read {
                Some(Ok(library::Message::Text(text))) => Message::utf8(text.into()),
                Some(Ok(library::Message::Binary(bytes))) => Message::binary(bytes),
                Some(Ok(library::Message::Close(frame))) => return Poll::Ready(Happening::PeerClosed(lift(frame))),
                Some(Ok(control)) => {
                    if let Some(excess) = self.allowance.control(self.worker.clock()) {
                        return Poll::Ready(Happening::Excess(excess));
                    }
                    // The library has made the answer to a ping, which goes out before anything that a guest makes of it.
                    self.unanswered = matches!(control, library::Message::Ping(_));
                    let answered = self.poll_answer(cx);
                    match lift_control(control) {
                        Some(control) if chain.exports(own, Interface::ControlEvents) => {
                            return Poll::Ready(Happening::Control(control));
                        }
                        _ => ready!(answered),
                    }
                    continue;
                }
                Some(Err(error)) => return Poll::Ready(broken(&error)),
                None => return Poll::Ready(Happening::Lost),
            };
            self.since_flush += 1;
            self.active = true;
            if let Some(excess) = self.allowance.message(message.len(), self.worker.clock()) {
                return Poll::Ready(Happening::Excess(excess));
            }
            return Poll::Ready(Happening::Message(message));
        }
    }

    /// The signs are noted before the peer can have seen what is flushed, so that nothing which follows from it comes before.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Happening> {
        self.note_signs();
        if self.unflushed {
            if ready!(self.ws.poll_flush_unpin(cx)).is_err() {
                return Poll::Ready(Happening::Lost);
            }
            self.unflushed = false;
        }
        self.since_flush = 0;
        Poll::Pending
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.unblock();
    }
}

/// Backpressure: a peer that does not read is not read from, and after a close nothing more is wanted.
fn may_read(mailbox: &Mailbox) -> bool {
    !mailbox.is_half_full() && !mailbox.is_closing()
}
