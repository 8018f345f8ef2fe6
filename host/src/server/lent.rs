//! A socket while hyper has it: lent, and given back when hyper drops it.
//!
//! hyper closes a socket together with itself. What it left unanswered is answered here, and what it left unread is read: a socket
//! that is dropped with unread input is reset, and the client may lose the answer (RFC 9112, section 9.6).
//! Invariant: whoever takes a lent socket has it alone.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Read at once, and thrown away.
const DISCARDED: usize = 4 * 1024;

/// A stream that is lent.
pub struct Lent<S> {
    /// There until it is taken or given back.
    stream: Option<S>,
    heard: bool,
    answered: bool,
    owner: Owner<S>,
}

/// Where a lent stream comes back to.
pub struct Owner<S>(Arc<Mutex<Option<Returned<S>>>>);

/// A stream that came back.
pub struct Returned<S> {
    stream: S,
    /// Whether something was read, and nothing was ever written.
    pub is_owed: bool,
}

/// Lends a stream.
pub fn lend<S>(stream: S) -> (Lent<S>, Owner<S>) {
    let owner = Owner(Arc::default());
    (Lent { stream: Some(stream), heard: false, answered: false, owner: Owner(owner.0.clone()) }, owner)
}

impl<S> Lent<S> {
    /// The stream itself, which will not come back. None only if it was taken before.
    pub fn take(mut self) -> Option<S> {
        self.stream.take()
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        let returned = self.stream.take().map(|stream| Returned { stream, is_owed: self.heard && !self.answered });
        *self.owner.0.lock().unwrap_or_else(PoisonError::into_inner) = returned;
    }
}

impl<S> Owner<S> {
    /// The stream, if it came back.
    pub fn returned(self) -> Option<Returned<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Returned<S> {
    /// Writes a last answer, ends the writing side, and reads until the peer has done the same. Unbounded in time: the caller
    /// bounds it.
    pub async fn part(mut self, answer: &[u8]) {
        if self.stream.write_all(answer).await.is_err() {
            return;
        }
        let _ = self.stream.shutdown().await;
        let mut discarded = [0; DISCARDED];
        while matches!(self.stream.read(&mut discarded).await, Ok(read) if read > 0) {}
    }
}

impl<S: Unpin> Lent<S> {
    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.stream()?.poll_read(cx, buffer))?;
        self.heard |= buffer.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream()?.poll_write(cx, bytes))?;
        self.answered |= written > 0;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream()?.poll_write_vectored(cx, slices))?;
        self.answered |= written > 0;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(S::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
