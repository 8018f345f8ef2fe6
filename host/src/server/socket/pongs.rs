//! Answers to pings: the library makes them, and queues them without a bound for a peer that asks and does not read.

use std::task::{Context, Poll};

use futures_util::SinkExt;

use super::Socket;

impl Socket {
    /// Writes the answer to a ping, if one waits. Nothing more is read before it is written.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unanswered {
            // A lost peer shows with the next read.
            self.unflushed = self.ws.poll_flush_unpin(cx).is_pending();
            self.unanswered = self.unflushed;
            self.heard |= !self.unflushed;
        }
        if self.unanswered { Poll::Pending } else { Poll::Ready(()) }
    }
}
