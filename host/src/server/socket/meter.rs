//! The socket below the WebSocket library, with what the library does not tell: where in a message the peer is, how many
//! fragments that has, and whether bytes still go.
//!
//! Follows the heads of frames (RFC 6455, section 5.2) through what is read, and changes no byte; whether a frame is correct
//! is the library's to say. What was read during the handshake is told by [`Meter::note`].
//! Invariant: nothing is kept of a message, whatever a head claims.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::stream::Stream;

/// The longest head of a frame: two bytes, a length of 64 bits, and a mask.
const MAX_HEAD: usize = 14;
/// The set bit of the last fragment.
const FIN: u8 = 0x80;
/// The bits of the opcode; those of control frames are above the data's.
const OPCODE: u8 = 0x0F;
const LAST_DATA: u8 = 0x07;

/// A connection whose bytes are followed.
pub(super) struct Meter {
    /// There but for the moment in which it moves to another meter.
    stream: Option<Stream>,
    frames: Frames,
    wrote: bool,
}

impl Meter {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream: Some(stream), frames: Frames::default(), wrote: false }
    }

    /// What was read of it before.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        self.frames.follow(bytes);
    }

    /// Whether a message or a frame has begun and not ended.
    pub(super) fn is_unfinished(&self) -> bool {
        self.frames.open || self.frames.have > 0 || self.frames.left > 0
    }

    /// Fragments of the message that was begun last.
    pub(super) fn fragments(&self) -> usize {
        self.frames.fragments
    }

    /// The largest payload of a frame since this was asked last.
    pub(super) fn take_largest(&mut self) -> u64 {
        std::mem::take(&mut self.frames.largest)
    }

    /// Whether the system took bytes since this was asked last.
    pub(super) fn take_wrote(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    /// The same connection, for another library object; nothing may be read or written here any more.
    pub(super) fn move_out(&mut self) -> Self {
        Self { stream: self.stream.take(), frames: std::mem::take(&mut self.frames), wrote: self.wrote }
    }

    fn stream(&mut self) -> Pin<&mut Stream> {
        Pin::new(self.stream.as_mut().expect("whoever moves it out drops this"))
    }
}

impl AsyncRead for Meter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.stream().poll_read(cx, buffer))?;
        self.frames.follow(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Meter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream().poll_write(cx, bytes))?;
        self.wrote |= written > 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

/// Where in the peer's frames its bytes are.
#[derive(Default)]
struct Frames {
    /// The head at hand, as far as it came.
    head: [u8; MAX_HEAD],
    have: usize,
    /// What is still to come of a payload.
    left: u64,
    /// Set between the first fragment of a message and its last.
    open: bool,
    fragments: usize,
    largest: u64,
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            self.head[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if self.have == self.needed() {
                self.begin();
            }
        }
    }

    /// How long the head is, as far as its first two bytes say.
    fn needed(&self) -> usize {
        let mask = if self.head[1] & FIN == 0 { 0 } else { 4 };
        match (self.have, self.head[1] & !FIN) {
            (0 | 1, _) => 2,
            (_, 126) => 4 + mask,
            (_, 127) => 10 + mask,
            _ => 2 + mask,
        }
    }

    /// A head is whole.
    fn begin(&mut self) {
        let [first, second, a, b, long @ ..] = self.head;
        self.left = match second & !FIN {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, long[0], long[1], long[2], long[3], long[4], long[5]]),
            short => u64::from(short),
        };
        self.have = 0;
        self.largest = self.largest.max(self.left);
        let opcode = first & OPCODE;
        if opcode <= LAST_DATA {
            self.fragments = if opcode == 0 { self.fragments + 1 } else { 1 };
            self.open = first & FIN == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(0x80 | length as u8),
            126..65536 => frame.extend([&[0x80 | 126][..], &(length as u16).to_be_bytes()].concat()),
            _ => frame.extend([&[0x80 | 127][..], &(length as u64).to_be_bytes()].concat()),
        }
        // Payloads that would be heads.
        frame.extend(vec![0x01; 4 + length]);
        frame
    }

    fn followed(pieces: &[&[u8]]) -> Frames {
        let mut frames = Frames::default();
        pieces.iter().for_each(|piece| frames.follow(piece));
        frames
    }

    fn unfinished(frames: &Frames) -> bool {
        frames.open || frames.have > 0 || frames.left > 0
    }

    #[test]
    fn a_message_is_unfinished_until_its_last_byte_however_the_bytes_come() {
        for length in [0, 1, 125, 126, 65535, 65536, 70000] {
            let whole = frame(0x82, length);
            assert!(!unfinished(&followed(&[&whole])), "{length}");
            assert_eq!(followed(&[&whole]).largest, length as u64);
            for cut in [1, 2, 3, 5, 9, whole.len() - 1] {
                let (begun, rest) = whole.split_at(cut.min(whole.len() - 1));
                assert!(unfinished(&followed(&[begun])), "{length} cut at {cut}");
                assert!(!unfinished(&followed(&[begun, rest])), "{length} cut at {cut}");
            }
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            assert!(!unfinished(&followed(&bytes)), "{length} byte by byte");
        }
    }

    #[test]
    fn fragments_are_counted_for_each_message_and_control_frames_are_none() {
        let (begin, go_on, end, ping) = (frame(0x01, 3), frame(0x00, 200), frame(0x80, 0), frame(0x89, 5));
        let frames = followed(&[&begin, &ping, &go_on, &go_on, &ping]);
        assert_eq!((frames.fragments, frames.open), (3, true));
        let frames = followed(&[&begin, &go_on, &end, &ping]);
        assert_eq!((frames.fragments, unfinished(&frames)), (3, false));
        let frames = followed(&[&begin, &go_on, &end, &frame(0x81, 9)]);
        assert_eq!((frames.fragments, unfinished(&frames)), (1, false));
    }

    #[test]
    fn frames_without_a_mask_are_followed_too_and_no_length_overflows() {
        assert!(!unfinished(&followed(&[&[0x81, 2, b'h', b'i']])));
        let frames = followed(&[&[0x82, 0xFF], &[0xFF; 8], &[0; 4], &[0; 100]]);
        assert_eq!(frames.left, u64::MAX - 100);
    }
}
