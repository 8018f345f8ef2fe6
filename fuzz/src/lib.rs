//! What the targets share: a client that is nothing but bytes, which come in pieces.
//!
//! Nothing waits for anything: a read gives the next piece at once, a write is kept. So a future that is polled goes on to its
//! end, and a run says the same each time.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Polls in which a future has to end. More are an endless loop.
const MOST_POLLS: usize = 100_000;

/// A peer that sent all that it has to say.
pub struct Client<'a> {
    bytes: &'a [u8],
    /// The lengths of the pieces, over and over; none for one piece.
    cuts: &'a [u8],
    next: usize,
    /// What was written to it.
    pub heard: Vec<u8>,
}

impl<'a> Client<'a> {
    /// Sends these bytes in pieces of these lengths, each at least 1, over and over.
    pub fn new(bytes: &'a [u8], cuts: &'a [u8]) -> Self {
        Self { bytes, cuts, next: 0, heard: Vec::new() }
    }

    /// What nobody has read.
    pub fn unread(&self) -> &'a [u8] {
        self.bytes
    }

    fn piece(&mut self, most: usize) -> &'a [u8] {
        let wanted = match self.cuts {
            [] => usize::MAX,
            cuts => usize::from(cuts[self.next % cuts.len()]).max(1),
        };
        self.next += 1;
        let (piece, rest) = self.bytes.split_at(wanted.min(most).min(self.bytes.len()));
        self.bytes = rest;
        piece
    }
}

impl AsyncRead for Client<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let piece = self.piece(buffer.remaining());
        buffer.put_slice(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs a future to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..MOST_POLLS {
        if let Poll::Ready(ended) = future.as_mut().poll(&mut cx) {
            return ended;
        }
    }
    panic!("it does not end");
}
