//! What a WebSocket lies on: a stream whose bytes are followed, and whose client may compress what it sends.
//!
//! Below the WebSocket library, which reads and writes bytes here.
//! Invariant: a connection without compression pays one branch for each call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::Meter;
use crate::server::deflate::Inflating;
use crate::server::stream::Stream;

/// A stream of bytes for one WebSocket.
pub(super) enum Wire {
    /// As they are.
    Plain(Meter),
    /// With compressed messages inflated on the way in.
    Inflating(Box<Inflating<Meter>>),
}

impl Wire {
    /// Takes over a socket after its handshake, with what was read beyond it; gives what the library is to read of that itself.
    /// Compressed messages are inflated to `limit` bytes at most, if the client may send any.
    pub(super) fn new((stream, read): (Stream, Bytes), limit: Option<usize>) -> (Self, Vec<u8>) {
        let mut meter = Meter::new(stream);
        meter.note(&read);
        match limit {
            Some(limit) => (Self::Inflating(Box::new(Inflating::new(meter, limit, &read))), Vec::new()),
            None => (Self::Plain(meter), read.to_vec()),
        }
    }

    pub(super) fn meter(&self) -> &Meter {
        match self {
            Self::Plain(meter) => meter,
            Self::Inflating(inflating) => inflating.get_ref(),
        }
    }

    pub(super) fn meter_mut(&mut self) -> &mut Meter {
        match self {
            Self::Plain(meter) => meter,
            Self::Inflating(inflating) => inflating.get_mut(),
        }
    }

    /// The same connection between two messages, for another library object; nothing may be read or written here any more.
    pub(super) fn move_out(&mut self) -> Self {
        match self {
            Self::Plain(meter) => Self::Plain(meter.move_out()),
            Self::Inflating(inflating) => Self::Inflating(Box::new(inflating.renewed(Meter::move_out))),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(meter) => Pin::new(meter).poll_read(cx, buffer),
            Self::Inflating(inflating) => Pin::new(inflating.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().meter_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().meter_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().meter_mut()).poll_shutdown(cx)
    }
}
