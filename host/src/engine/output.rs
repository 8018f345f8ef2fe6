//! What a guest prints: stdout and stderr of one instance.
//!
//! Nothing of the process is inherited. While an event runs, what it prints is gathered; when it ended well it goes to
//! the log line by line, and when it faulted, panic text included, into the record of the fault.
//! Invariant: writing never blocks, and what is gathered is bounded.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What one event may print; the rest of it is cut.
const MAX_GATHERED: usize = 16 * 1024;
/// What a guest may write at once.
const MAX_WRITE: usize = 4096;

/// The gathered output of one instance.
#[derive(Default)]
pub struct Output {
    gathered: Mutex<Vec<u8>>,
    /// Spares the lock in the usual case of an event that prints nothing.
    written: AtomicBool,
}

impl Output {
    /// Takes what was gathered since the last time; empty in the usual case.
    pub fn take(&self) -> String {
        if !self.written.swap(false, Ordering::Relaxed) {
            return String::new();
        }
        let gathered = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&gathered).into_owned()
    }

    fn gather(&self, bytes: &[u8]) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_GATHERED.saturating_sub(gathered.len());
        gathered.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.written.store(true, Ordering::Relaxed);
    }
}

/// A guest's stdout or stderr.
#[derive(Clone)]
pub struct Printer(pub Arc<Output>);

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printer {
    async fn ready(&mut self) {}
}

impl OutputStream for Printer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.gather(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

impl AsyncWrite for Printer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.gather(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How much of this second's log quota a plugin has used, all of its instances together.
#[derive(Default)]
pub struct LogQuota {
    /// The second, and the bytes in it.
    used: Mutex<(u64, usize)>,
}

impl LogQuota {
    /// Whether a line of this length still fits into this second.
    pub fn admits(&self, second: u64, (length, limit): (usize, usize)) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.0 != second {
            *used = (second, 0);
        }
        let fits = used.1 + length <= limit;
        if fits {
            used.1 += length;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_is_bounded_and_taken_once() {
        let output = Output::default();
        output.gather(&[b'x'; MAX_GATHERED]);
        output.gather(b"more");
        assert_eq!(output.take().len(), MAX_GATHERED);
        assert_eq!(output.take(), "");
    }
}
