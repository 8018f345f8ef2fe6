//! The body of an answer: a few bytes at hand, or a file that is read as the client takes it.
//!
//! Made by whoever answers, and read by hyper piece by piece.
//! Invariant: of a file, one piece at most lies in memory, however large it is and however slow its client.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

/// Read of a file at once, in bytes.
const PIECE: u64 = 64 * 1024;

/// The body of all answers.
#[derive(Debug)]
pub enum Body {
    /// All of it, until it was taken.
    Whole(Bytes),
    /// A file.
    File(Pieces),
}

/// A file, as far as it was not read yet.
#[derive(Debug)]
pub struct Pieces {
    file: Arc<File>,
    at: u64,
    end: u64,
    /// The piece that is read now.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Body {
    /// The first `length` bytes of a file.
    pub fn of_file(file: File, length: u64) -> Self {
        Self::File(Pieces { file: Arc::new(file), at: 0, end: length, reading: None })
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Whole(bytes.into())
    }
}

impl Pieces {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let (file, at, length) = (&self.file, self.at, PIECE.min(self.end - self.at));
        let reading = self.reading.get_or_insert_with(|| spawn_blocking(read(file.clone(), at, length as usize)));
        let piece = ready!(Pin::new(reading).poll(cx)).unwrap_or_else(|lost| Err(io::Error::other(lost)));
        self.reading = None;
        // After an error there is nothing more; the client misses some of what it was promised, and so knows.
        self.at = if piece.is_ok() { at + length } else { self.end };
        Poll::Ready(Some(piece))
    }
}

fn read(file: Arc<File>, at: u64, length: usize) -> impl FnOnce() -> io::Result<Bytes> {
    move || {
        let mut piece = vec![0; length];
        file.read_exact_at(&mut piece, at)?;
        Ok(piece.into())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => None,
            Self::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Self::File(pieces) => ready!(pieces.poll(cx)),
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::File(pieces) => pieces.end - pieces.at,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http_body_util::BodyExt;

    use super::*;

    fn file(length: usize) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![b'x'; length]).expect("it can be written");
        file
    }

    #[tokio::test]
    async fn a_file_comes_in_pieces_and_whole() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let mut body = Body::of_file(file(length as usize), length);
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                let piece = frame.expect("it can be read").into_data().expect("it is data");
                assert!(piece.len() as u64 <= PIECE && piece.iter().all(|byte| *byte == b'x'));
                read += piece.len() as u64;
            }
            assert_eq!(read, length);
        }
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_ends_with_an_error() {
        let mut body = Body::of_file(file(10), 20);
        assert!(body.frame().await.expect("there is more").is_err());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn what_is_at_hand_comes_at_once() {
        let collected = Body::from("hi").collect().await.expect("it cannot fail");
        assert_eq!(collected.to_bytes(), "hi");
        assert!(Body::default().frame().await.is_none());
    }
}
