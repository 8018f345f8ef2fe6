//! What is read from a client that may compress: its frames, with compressed messages inflated.
//!
//! Sits between the socket and the WebSocket library, which knows no compression. Frames without RSV1 pass as they are; a
//! compressed message is gathered over its frames and handed on as one plain frame. What breaks the protocol is handed on as
//! something that breaks it too, so that the library alone judges.
//! Invariants: bytes come out in the order of the frames; no more than one message lies here, of the limit at most, however
//! many come in one read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::{Unfit, inflate};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const OTHER_RSV: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// The bit of the second byte that says that a frame is masked.
const MASKED: u8 = 0x80;
/// The most bytes of a header.
const HEADER: usize = 14;

/// A socket whose client may compress what it sends.
pub struct Inflating<S> {
    stream: S,
    frames: Frames,
    /// What the library has not read yet.
    ready: BytesMut,
    /// What was read behind a compressed message, until the library has that.
    behind: BytesMut,
}

/// How far the stream of frames was read.
struct Frames {
    /// Of one message.
    limit: usize,
    header: [u8; HEADER],
    /// Bytes of the header that were read, of the frame that is read now.
    read: usize,
    /// Bytes of its payload that are still to come; none while the header is read.
    left: Option<u64>,
    /// Whether it is a part of a compressed message.
    is_held: bool,
    /// A compressed message that is not whole.
    message: Option<Gathered>,
    /// Whether a message without compression is not whole.
    is_open: bool,
    /// Whether the client broke the protocol: then nothing more is read.
    is_broken: bool,
}

struct Gathered {
    opcode: u8,
    deflated: Vec<u8>,
}

impl<S> Inflating<S> {
    /// Inflates messages to `limit` bytes at most. `read` came with the handshake.
    pub fn new(stream: S, limit: usize, read: &[u8]) -> Self {
        Self { stream, frames: Frames::new(limit), ready: BytesMut::new(), behind: read.into() }
    }

    /// What it reads from.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The same, for writing.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The same connection with the stream that is made of this one. To be done between two messages.
    pub fn renewed(&mut self, renew: impl FnOnce(&mut S) -> S) -> Self {
        Self::new(renew(&mut self.stream), self.frames.limit, &[])
    }

    /// Bytes that lie here.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> usize {
        let gathered = self.frames.message.as_ref().map_or(0, |message| message.deflated.len());
        gathered + self.ready.len() + self.behind.len()
    }

    /// Gives the library what is ready.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        if self.ready.is_empty() {
            self.ready = BytesMut::new();
        }
    }

    /// Goes on with what was read before.
    fn go_on(&mut self) {
        let fed = self.frames.feed(&self.behind, &mut self.ready);
        self.behind.advance(fed);
        if self.behind.is_empty() {
            self.behind = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inflating<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                this.give(buffer);
                return Poll::Ready(Ok(()));
            }
            if !this.behind.is_empty() {
                this.go_on();
                continue;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            // What only passes is not copied.
            let passed = this.frames.pass(read);
            let is_end = read.is_empty();
            let fed = passed + this.frames.feed(&read[passed..], &mut this.ready);
            this.behind.extend_from_slice(&read[fed..]);
            buffer.set_filled(before + passed);
            if passed > 0 || is_end {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Frames {
    fn new(limit: usize) -> Self {
        let (header, read, left, is_held, message) = Default::default();
        Self { limit, header, read, left, is_held, message, is_open: false, is_broken: false }
    }

    /// Reads what passes as it is, up to the first byte of a frame that does not; gives how much that was.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() && !self.is_broken {
            if self.is_between() {
                self.is_held = self.holds(bytes[passed]);
            }
            if self.is_held {
                break;
            }
            passed += self.header_or_payload(&bytes[passed..]).len();
            if self.left == Some(0) {
                self.passed_frame();
            }
        }
        passed
    }

    /// Reads up to the end of a compressed message, and appends what the library is to read; gives how much was read. What
    /// follows a breach of the protocol counts as read.
    fn feed(&mut self, bytes: &[u8], ready: &mut BytesMut) -> usize {
        let mut fed = 0;
        while fed < bytes.len() && !self.is_broken {
            let passed = self.pass(&bytes[fed..]);
            ready.extend_from_slice(&bytes[fed..fed + passed]);
            fed += passed;
            let before = ready.len();
            if fed < bytes.len() && !self.is_broken {
                fed += self.hold(&bytes[fed..], ready);
            }
            if ready.len() > before {
                break;
            }
        }
        if self.is_broken { bytes.len() } else { fed }
    }

    /// Reads a piece of a frame that belongs to a compressed message; gives how much that was.
    fn hold(&mut self, bytes: &[u8], ready: &mut BytesMut) -> usize {
        let (was_in_header, left) = (self.left.is_none(), self.left);
        let piece = self.header_or_payload(bytes);
        if was_in_header && self.left.is_some() {
            if let Err(unfit) = self.begin() {
                self.give_up(unfit, ready);
            }
        } else if let (Some(left), Some(message)) = (left, &mut self.message) {
            // The whole payload's length less what is left is where in the mask this piece begins.
            let (mask, at) = (mask(&self.header), length(&self.header) - left);
            let unmasked = piece.iter().zip((at % 4) as usize..).map(|(byte, at)| byte ^ mask[at % 4]);
            message.deflated.extend(unmasked);
        }
        let held = piece.len();
        if self.left == Some(0) && !self.is_broken {
            self.held_frame(ready);
        }
        held
    }

    /// The next bytes, of the header or of the payload, and none of both.
    fn header_or_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.left {
            Some(left) => {
                let piece = &bytes[..usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())];
                self.left = Some(left - piece.len() as u64);
                piece
            }
            None => {
                let missing = header_length(&self.header[..self.read]) - self.read;
                let piece = &bytes[..missing.min(bytes.len())];
                self.header[self.read..self.read + piece.len()].copy_from_slice(piece);
                self.read += piece.len();
                if self.read >= 2 && self.read == header_length(&self.header[..self.read]) {
                    self.left = Some(length(&self.header));
                }
                piece
            }
        }
    }

    fn is_between(&self) -> bool {
        self.read == 0
    }

    /// Whether a frame that begins like this is part of a compressed message.
    fn holds(&self, first: u8) -> bool {
        match first & OPCODE {
            TEXT | BINARY => first & RSV1 != 0 || self.message.is_some(),
            CONTINUATION => self.message.is_some(),
            _ => false,
        }
    }

    /// The header of a frame of a compressed message is whole.
    fn begin(&mut self) -> Result<(), Unfit> {
        let first = self.header[0];
        let is_first = first & OPCODE != CONTINUATION;
        let is_allowed = if is_first { self.message.is_none() && !self.is_open } else { first & RSV1 == 0 };
        if !is_allowed || first & OTHER_RSV != 0 || self.header[1] & MASKED == 0 {
            return Err(Unfit::Malformed);
        }
        let message = self.message.get_or_insert_with(|| Gathered { opcode: first & OPCODE, deflated: Vec::new() });
        // Deflating what cannot be compressed adds five bytes for each block of some kilobytes.
        let most = self.limit as u64 + self.limit as u64 / 256 + 64;
        if length(&self.header) > most - (message.deflated.len() as u64).min(most) {
            return Err(Unfit::TooBig);
        }
        Ok(())
    }

    fn passed_frame(&mut self) {
        let first = self.header[0];
        if first & OPCODE <= BINARY {
            self.is_open = first & FIN == 0;
        }
        self.next_frame();
    }

    fn held_frame(&mut self, ready: &mut BytesMut) {
        let is_last = self.header[0] & FIN != 0;
        self.next_frame();
        if is_last && let Some(Gathered { opcode, deflated }) = self.message.take() {
            match inflate(&deflated, self.limit) {
                Ok(message) => plain(opcode, &message, ready),
                Err(unfit) => self.give_up(unfit, ready),
            }
        }
    }

    fn next_frame(&mut self) {
        (self.read, self.left, self.is_held) = (0, None, false);
    }

    /// Hands on what the library judges like this.
    fn give_up(&mut self, unfit: Unfit, ready: &mut BytesMut) {
        self.is_broken = true;
        self.message = None;
        match unfit {
            // A frame of this length is refused by its header.
            Unfit::TooBig => header(BINARY, self.limit as u64 + 1, ready),
            // A kind of frame that does not exist.
            Unfit::Malformed => header(BINARY + 1, 0, ready),
        }
    }
}

/// A whole message as one frame, masked with zeros.
fn plain(opcode: u8, message: &[u8], ready: &mut BytesMut) {
    ready.reserve(HEADER + message.len());
    header(opcode, message.len() as u64, ready);
    ready.extend_from_slice(message);
}

fn header(opcode: u8, length: u64, ready: &mut BytesMut) {
    ready.extend_from_slice(&[FIN | opcode]);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => ready.extend_from_slice(&[MASKED | length]),
        (_, Ok(length)) => {
            ready.extend_from_slice(&[MASKED | 126]);
            ready.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            ready.extend_from_slice(&[MASKED | 127]);
            ready.extend_from_slice(&length.to_be_bytes());
        }
    }
    ready.extend_from_slice(&[0; 4]);
}

/// How long the header is that begins like this; 2 where that does not show yet.
fn header_length(header: &[u8]) -> usize {
    let Some(second) = header.get(1) else { return 2 };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    mask + 2
        + match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        }
}

/// The length of the payload, of a whole header.
fn length(header: &[u8; HEADER]) -> u64 {
    match header[1] & !MASKED {
        126 => u16::from_be_bytes([header[2], header[3]]).into(),
        127 => u64::from_be_bytes(header[2..10].try_into().expect("these are eight")),
        short => short.into(),
    }
}

/// The mask, of a whole header that has one.
fn mask(header: &[u8; HEADER]) -> [u8; 4] {
    let end = header_length(header);
    header[end - 4..end].try_into().expect("these are four")
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, deflate};
    use super::*;

    const LIMIT: usize = 1000;
    const PING: u8 = 9;

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 11, 13, 17];
        let mut bytes = BytesMut::new();
        header(0, payload.len() as u64, &mut bytes);
        bytes[0] = first;
        let masked: Vec<u8> = payload.iter().zip(0..).map(|(byte, at)| byte ^ mask[at % 4]).collect();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&mask);
        [&bytes[..], &masked].concat()
    }

    fn text(length: usize) -> Vec<u8> {
        b"again and ".iter().cycle().take(length).copied().collect()
    }

    fn deflated(message: &[u8]) -> Vec<u8> {
        deflate(message, Settings { level: 6, window_bits: 15 }).expect("it gets smaller").to_vec()
    }

    /// What the library would read, of bytes that come in pieces of this size.
    async fn read(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(piece);
        let mut inflating = Inflating::new(server, LIMIT, &[]);
        let writing = async {
            tokio::io::AsyncWriteExt::write_all(&mut client, bytes).await.expect("it is read");
            drop(client);
        };
        let mut all = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut inflating, &mut all);
        let (_, read) = tokio::join!(writing, reading);
        read.expect("a pipe does not fail");
        all
    }

    /// What is expected for a whole message.
    fn whole(opcode: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        plain(opcode, message, &mut bytes);
        bytes.to_vec()
    }

    /// In all pieces that bytes may come in.
    async fn expect(bytes: &[u8], expected: &[u8]) {
        for piece in [1, 2, 3, 7, 64, 4096] {
            assert_eq!(read(bytes, piece).await, expected, "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn frames_without_compression_pass_as_they_are() {
        let open = [frame(TEXT, b"a"), frame(FIN | PING, b""), frame(FIN, &text(300))].concat();
        expect(
            &[frame(FIN | TEXT, b"hello"), frame(FIN | BINARY, &text(999)), open].concat(),
            &[
                frame(FIN | TEXT, b"hello"),
                frame(FIN | BINARY, &text(999)),
                frame(TEXT, b"a"),
                frame(FIN | PING, b""),
                frame(FIN, &text(300)),
            ]
            .concat(),
        )
        .await;
    }

    #[tokio::test]
    async fn a_compressed_message_becomes_one_plain_frame_among_the_others() {
        let (one, other) = (text(LIMIT), text(130));
        let bytes = [
            frame(FIN | TEXT, b"before"),
            frame(FIN | RSV1 | TEXT, &deflated(&one)),
            frame(FIN | PING, b"p"),
            frame(FIN | RSV1 | BINARY, &deflated(&other)),
            frame(FIN | TEXT, b"behind"),
        ];
        let expected = [
            frame(FIN | TEXT, b"before"),
            whole(TEXT, &one),
            frame(FIN | PING, b"p"),
            whole(BINARY, &other),
            frame(FIN | TEXT, b"behind"),
        ];
        expect(&bytes.concat(), &expected.concat()).await;
    }

    #[tokio::test]
    async fn a_compressed_message_is_gathered_over_its_frames_with_a_ping_between() {
        let (message, compressed) = (text(500), deflated(&text(500)));
        let (first, rest) = compressed.split_at(5);
        let bytes = [frame(RSV1 | TEXT, first), frame(FIN | PING, b"p"), frame(0, b""), frame(FIN, rest)].concat();
        expect(&bytes, &[frame(FIN | PING, b"p"), whole(TEXT, &message)].concat()).await;
    }

    #[tokio::test]
    async fn an_empty_message_may_be_compressed_too() {
        expect(&frame(FIN | RSV1 | TEXT, &[0]), &whole(TEXT, b"")).await;
    }

    #[tokio::test]
    async fn what_is_too_large_is_handed_on_as_a_header_that_is() {
        let mut refused = BytesMut::new();
        header(BINARY, LIMIT as u64 + 1, &mut refused);
        let bomb = frame(FIN | RSV1 | TEXT, &deflated(&text(LIMIT + 1)));
        expect(&[bomb, frame(FIN | TEXT, b"behind")].concat(), &refused).await;
        let huge = [&[FIN | RSV1 | TEXT, MASKED | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
        expect(&huge, &refused).await;
        let endless = vec![frame(0, &[0; 100]); 20].concat();
        expect(&[frame(RSV1 | TEXT, &[0; 100]), endless].concat(), &refused).await;
    }

    #[tokio::test]
    async fn of_many_messages_in_one_read_one_is_inflated_at_a_time() {
        let (message, count) = (text(LIMIT), 20);
        let bytes = frame(FIN | RSV1 | TEXT, &deflated(&message)).repeat(count);
        for already in [0, bytes.len()] {
            let (already, rest) = bytes.split_at(already);
            let mut inflating = Inflating::new(rest, LIMIT, already);
            let (mut all, mut piece) = (Vec::new(), [0; 100]);
            loop {
                let read =
                    tokio::io::AsyncReadExt::read(&mut inflating, &mut piece).await.expect("memory does not fail");
                assert!(inflating.held() <= bytes.len() + HEADER + LIMIT, "{} bytes lie here", inflating.held());
                all.extend_from_slice(&piece[..read]);
                if read == 0 {
                    break;
                }
            }
            assert_eq!(all, whole(TEXT, &message).repeat(count));
        }
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_is_handed_on_as_something_that_does() {
        let mut broken = BytesMut::new();
        header(BINARY + 1, 0, &mut broken);
        let good = deflated(&text(100));
        for bytes in [
            frame(FIN | RSV1 | TEXT, &[0xff; 20]),
            frame(FIN | RSV1 | OTHER_RSV | TEXT, &good),
            [frame(RSV1 | TEXT, &good), frame(FIN | TEXT, b"new")].concat(),
            [frame(RSV1 | TEXT, &good), frame(FIN | RSV1, b"")].concat(),
            [&[FIN | RSV1 | TEXT, 3][..], b"abc"].concat(),
        ] {
            expect(&bytes, &broken).await;
        }
        let nested = [frame(TEXT, b"open"), frame(FIN | RSV1 | TEXT, &good)].concat();
        expect(&nested, &[&frame(TEXT, b"open")[..], &broken].concat()).await;
        // Of these the library sees the bits itself.
        for bytes in [frame(FIN | RSV1, b"x"), frame(FIN | RSV1 | PING, b"x"), frame(FIN | OTHER_RSV | TEXT, b"x")] {
            expect(&bytes, &bytes).await;
        }
    }
}
