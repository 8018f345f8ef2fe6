//! What a socket notes of its peer and of itself, for the deadlines of its connection; and the memory that it gives back.
//!
//! The part of [`Socket`] that reads the clock. The library's buffers grow with the largest message and never shrink, so a
//! connection that is quiet after a large one gets another library object over the same socket.
//! Invariant: buffers are exchanged only when there is nothing in them.

use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::{FutureExt, SinkExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Socket, WRITE_BUFFER, may_read};
use crate::hub::mailbox::Mailbox;
use crate::server::deadlines::GROWN_TIME;

/// A message from this size on, in bytes, leaves buffers behind that an idle connection should not have.
pub(super) const GROWN: u64 = WRITE_BUFFER as u64;

impl Socket {
    /// Whoever is not listened to gives no sign of life.
    pub(super) fn note_waiting(&mut self) {
        let waiting = self.throttle.is_waiting();
        self.heard |= waiting;
        self.active |= waiting;
    }

    /// Notes since when the peer takes nothing, and since when a message of its is on its way, while this side reads. The
    /// connection's deadlines say how long either may last; whatever begins has it look in time.
    pub(super) fn watch(&mut self, mailbox: &Rc<Mailbox>) {
        let reads = self.held_in.is_none() && !self.throttle.is_waiting() && may_read(mailbox);
        let meter = self.ws.get_mut().meter_mut();
        self.grown |= meter.take_largest() > GROWN;
        let (wrote, is_partial) = (meter.take_wrote(), reads && meter.is_unfinished());
        let is_stuck = self.blocked || self.unflushed;
        if !is_stuck && !is_partial && !self.grown {
            (self.signs.stuck, self.signs.partial) = (None, None);
            return;
        }
        let (now, before) = (self.worker.clock().now(), self.signs);
        self.signs.stuck = is_stuck.then(|| before.stuck.filter(|_| !wrote).unwrap_or(now));
        self.signs.partial = is_partial.then(|| before.partial.unwrap_or(now));
        if std::mem::take(&mut self.grown) {
            self.signs.grown = self.signs.grown.or(Some(now));
        }
        if let Some(next) = self.allowance.next(before, self.signs) {
            self.worker.alarms.set_before(mailbox, next);
        }
    }

    /// One look at the clock for all that was read and written in one go.
    pub(super) fn note_signs(&mut self) {
        if !self.heard && !self.active {
            return;
        }
        let now = self.worker.clock().now();
        if std::mem::take(&mut self.heard) {
            self.signs.heard = now;
        }
        if std::mem::take(&mut self.active) {
            self.signs.active = now;
        }
    }

    /// Gives grown buffers back, if they have been there for long enough and are empty at the moment; else some time later.
    pub(super) fn give_back(&mut self, cx: &mut Context<'_>) {
        let now = self.worker.clock().now();
        if self.signs.grown.is_none_or(|since| now < since + GROWN_TIME) {
            return;
        }
        self.signs.grown = Some(now);
        let is_read = self.read_all && !self.ws.get_ref().meter().is_unfinished();
        if !is_read || !matches!(self.ws.poll_flush_unpin(cx), Poll::Ready(Ok(()))) {
            return;
        }
        let (config, wire) = (*self.ws.get_config(), self.ws.get_mut().move_out());
        let renewed = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).now_or_never();
        self.ws = renewed.expect("without a handshake there is nothing to wait for");
        (self.signs.grown, self.unflushed) = (None, false);
    }
}
