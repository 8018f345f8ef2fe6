//! How a connection ends: what is left on the wire, then its rooms, then the guests.
//!
//! The part of [`Connection`] behind its loop. It comes here with what the loop ended for, and nothing comes back.
//! Invariant: however it ends, a panic of the host included, nothing of it stays where others see it.

use super::{Connection, End};
use crate::message::{CloseFrame, close};
use crate::metrics::Failure;
use crate::server::socket::Socket;

impl Connection {
    /// Does what is left on the wire, within the time for it, and says which frame ended the connection.
    pub(super) async fn part(&self, socket: Socket, end: End, waiting: Option<CloseFrame>) -> CloseFrame {
        let (parting, frame) = match end {
            End::Close(frame) => (self.timed(socket.close(&frame)).await, frame),
            End::Echo(frame) => (self.timed(socket.echo_close()).await, frame),
            End::Gone(frame) => (true, waiting.unwrap_or(frame)),
            End::Silent => (self.timed(socket.close(&close::NO_PONG)).await, close::LOST),
        };
        if !parting {
            self.worker.metrics().fail(Failure::CloseTimeout, self.mailbox.id());
        }
        frame
    }

    async fn timed(&self, parting: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = parting => true,
            () = self.worker.cutting() => false,
            () = self.worker.clock().sleep(self.worker.limits().close()) => false,
        }
    }

    /// Leaves the rooms, then tells the guests.
    pub(super) async fn finish(&mut self, frame: &CloseFrame) {
        self.set_alarm(None);
        let joined = std::mem::take(&mut self.kept.rooms);
        for room in self.implicit_rooms().iter().chain(&joined) {
            self.worker.local.leave(&self.mailbox, room);
        }
        self.worker.local.remove(self.mailbox.id());
        let kept = self.kept.lend();
        let ended = self.chain.clone().disconnect(self.subject(), kept, frame, self.passed).await;
        self.kept = ended.kept;
        // Nobody is left to hear that it failed.
        let _ = self.commit(ended.effects).await;
        self.worker.metrics().connections.dec();
    }
}

impl Drop for Connection {
    /// A panic of the host ends the connection that it came in, and no other: it is taken out of all that others see. Its task
    /// counts it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.worker.metrics().connections.dec();
            self.set_alarm(None);
            self.worker.local.disown(&self.mailbox);
            let (connection, plugin) = (self.mailbox.id(), &self.chain.route().handler);
            let whose = Failure::Panic.whose();
            tracing::error!(%connection, %plugin, whose, "the host panicked in this connection, which ends; this is a bug of the server");
        }
    }
}
