//! The end of a socket: the close handshake, and what it takes that the peer gets it.
//!
//! The part of [`Socket`] behind its serving. Nothing in here is bounded in time: the caller bounds it.
//! Invariants: a socket with unread input is not dropped before the peer could read the close; however much a peer goes on sending
//! meanwhile, others of the worker get their turns.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio_tungstenite::tungstenite::{self as wire};

use super::Socket;
use super::frames::wire_close;
use crate::message::CloseFrame;

/// Messages that are thrown away in one turn: some microseconds of pings.
const DISCARDED_PER_TURN: u32 = 64;

impl Socket {
    /// Writes the end and waits for the peer's, throwing away what else it sends. Unbounded in time: the caller bounds it.
    pub async fn close(mut self, frame: &CloseFrame) {
        if self.ws.send(wire::Message::Close(Some(wire_close(frame)))).await.is_ok() {
            let mut discarded = 0_u32;
            while let Some(Ok(message)) = self.ws.next().await {
                if message.is_close() {
                    return;
                }
                discarded = discarded.wrapping_add(1);
                if discarded.is_multiple_of(DISCARDED_PER_TURN) {
                    yield_now().await;
                }
            }
        }
        self.linger().await;
    }

    /// Writes the echo of the peer's close, which the library has queued. With both closes exchanged the server is the one
    /// that ends the socket (RFC 6455, section 7.1.1).
    pub async fn echo_close(mut self) {
        let _ = self.ws.flush().await;
    }

    /// Ends the writing side and reads until the peer has done the same, where it sent no close: a socket that is dropped
    /// with unread input resets the connection, and the peer would lose the close frame.
    async fn linger(&mut self) {
        let stream = self.ws.get_mut();
        let _ = stream.shutdown().await;
        let mut discarded = [0; 1024];
        while matches!(stream.read(&mut discarded).await, Ok(read) if read > 0) {
            yield_now().await;
        }
    }
}
