//! Frames of a client that may compress: what the WebSocket library makes of them above the host's inflating, in pieces of any
//! length, beside what it makes of the same messages inflated by a plain reading of RFC 7692.
//!
//! Compared are all messages and how it ends. Nothing is larger than the limit, and no more than one message lies in memory.

#![no_main]

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use arbitrary::Arbitrary;
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::StreamExt;
use libfuzzer_sys::fuzz_target;
use switchboard::server::fuzzing::{Inflating, Settings, deflate, follow};
use switchboard_fuzz::{Client, run};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// What the host sets for a connection.
const READ_BUFFER: usize = 4 * 1024;
/// The longest header of a frame.
const HEADER: usize = 14;
const MOST_LIMIT: usize = 10_000;
/// Bytes of a stream, so that a run is short.
const MOST_BYTES: usize = 100_000;

#[derive(Arbitrary, Debug)]
struct Input {
    limit: u16,
    cuts: Vec<u8>,
    /// How much came with the handshake.
    already: u16,
    parts: Vec<Part>,
    /// How much of the end never comes.
    missing: u8,
}

#[derive(Arbitrary, Debug)]
enum Part {
    /// A compressed message as it should be, but that what is between its fragments is anything.
    Deflated {
        is_text: bool,
        content: Content,
        level: u8,
        window_bits: u8,
        cuts: Vec<u16>,
        between: Option<Box<Frame>>,
    },
    Frame(Frame),
    Raw(Vec<u8>),
}

/// A frame with any first byte.
#[derive(Arbitrary, Debug)]
struct Frame {
    first: u8,
    /// One in 256 has none.
    is_unmasked: u8,
    mask: [u8; 4],
    payload: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Content {
    Bytes(Vec<u8>),
    Repeated(String, u16),
}

/// How a connection ends.
#[derive(PartialEq, Eq, Debug)]
enum End {
    Closed,
    TooBig,
    NotUtf8,
    Protocol,
    Lost,
}

fuzz_target!(|input: Input| {
    let limit = usize::from(input.limit) % MOST_LIMIT;
    let mut bytes: Vec<u8> = input.parts.iter().flat_map(Part::bytes).collect();
    bytes.truncate(bytes.len().min(MOST_BYTES).saturating_sub(input.missing.into()));
    let cuts = if input.cuts.iter().all(|cut| *cut == u8::MAX) { &[][..] } else { &input.cuts };
    let (already, rest) = bytes.split_at(usize::from(input.already).min(bytes.len()));
    let served = run(served(rest, cuts, (already, limit)));
    assert!(served.0.iter().all(|message| message.len() <= limit.max(125)), "a message is larger than {limit}");
    assert_eq!(served, expected(&bytes, limit), "limit {limit}, of {} bytes {already:?}, then {rest:?}", bytes.len());
    is_followed(&bytes, cuts);
});

impl Part {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Deflated { is_text, content, level, window_bits, cuts, between } => {
                let settings = Settings { level: level % 9 + 1, window_bits: window_bits % 7 + 9 };
                let Some(deflated) = deflate(&content.bytes(), settings) else { return Vec::new() };
                fragments(if *is_text { 0x41 } else { 0x42 }, &deflated, (cuts, between.as_deref()))
            }
            Self::Frame(frame) => frame.bytes(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Repeated(text, most) => {
                text.bytes().cycle().take(if text.is_empty() { 0 } else { *most / 2 }.into()).collect()
            }
        }
    }
}

/// A payload over as many frames as there are cuts and one, with a frame behind each but the last.
fn fragments(first: u8, mut payload: &[u8], (cuts, between): (&[u16], Option<&Frame>)) -> Vec<u8> {
    let (mut bytes, mut first) = (Vec::new(), first);
    for cut in cuts.iter().take(8) {
        let (piece, rest) = payload.split_at(usize::from(*cut).min(payload.len()));
        bytes.extend(frame(first, Some([1, 2, 3, 4]), piece));
        bytes.extend(between.map(Frame::bytes).unwrap_or_default());
        (first, payload) = (0, rest);
    }
    bytes.extend(frame(0x80 | first, Some([5, 6, 7, 8]), payload));
    bytes
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        frame(self.first, (self.is_unmasked != 1).then_some(self.mask), &self.payload)
    }
}

fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => bytes.push(bit | length),
        (_, Ok(length)) => bytes.extend([&[bit | 126][..], &length.to_be_bytes()].concat()),
        _ => bytes.extend([&[bit | 127][..], &(payload.len() as u64).to_be_bytes()].concat()),
    }
    bytes.extend(mask.iter().flatten());
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask.map_or(0, |mask| mask[at % 4])));
    bytes
}

fn config(limit: usize) -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ_BUFFER).max_message_size(Some(limit)).max_frame_size(Some(limit))
}

/// A socket with the host's inflating, as the library sees it.
struct Wire<'a> {
    inflating: Inflating<Client<'a>>,
    /// The most bytes that may lie there.
    most: usize,
}

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inflating).poll_read(cx, buffer);
        let held = self.inflating.held();
        assert!(held <= self.most, "{held} bytes lie in memory, and {} may", self.most);
        read
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.inflating.get_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn served(bytes: &[u8], cuts: &[u8], (already, limit): (&[u8], usize)) -> (Vec<Message>, End) {
    let inflating = Inflating::new(Client::new(bytes, cuts), limit, already);
    // A message, or what may become one, and what came with its end.
    let most = most_deflated(limit).max(limit + HEADER) + READ_BUFFER.max(already.len());
    let wire = Wire { inflating, most };
    let mut ws = WebSocketStream::from_partially_read(wire, Vec::new(), Role::Server, Some(config(limit))).await;
    let mut messages = Vec::new();
    loop {
        match ws.next().await {
            Some(Ok(message)) => messages.push(message),
            Some(Err(error)) => return (messages, end(&error)),
            None => return (messages, End::Closed),
        }
    }
}

fn end(error: &Error) -> End {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => End::Closed,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => End::TooBig,
        Error::Utf8(_) => End::NotUtf8,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Lost,
        Error::Protocol(_) | Error::Capacity(_) => End::Protocol,
        _ => End::Lost,
    }
}

/// Bytes in memory, all there at once.
struct Plain<'a>(&'a [u8]);

impl Read for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same by the library alone, of the stream with its messages inflated.
fn expected(bytes: &[u8], limit: usize) -> (Vec<Message>, End) {
    let plain = inflated(bytes, limit);
    let mut ws = WebSocket::from_partially_read(Plain(&plain), Vec::new(), Role::Server, Some(config(limit)));
    let mut messages = Vec::new();
    loop {
        match ws.read() {
            Ok(message) => messages.push(message),
            Err(error) => return (messages, end(&error)),
        }
    }
}

/// The head of a frame: its first byte, its mask and where its payload lies; none where it is not whole.
fn head(bytes: &[u8]) -> Option<(u8, Option<[u8; 4]>, u64, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, mut at) = match second & 0x7f {
        126 => (u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        length => (length.into(), 2),
    };
    let mask = if second & 0x80 == 0 { None } else { Some(*bytes.get(at..)?.first_chunk()?) };
    at += if mask.is_some() { 4 } else { 0 };
    Some((first, mask, length, at))
}

/// A frame that the library takes for too large, or for nothing that there is.
fn refused(end: &End, limit: usize) -> Vec<u8> {
    match end {
        End::TooBig => [&[0x82, 0xff][..], &(limit as u64 + 1).to_be_bytes(), &[0; 4]].concat(),
        _ => vec![0x83, 0x80, 0, 0, 0, 0],
    }
}

/// The stream as a client without compression would have sent it, up to what is wrong with it.
fn inflated(mut bytes: &[u8], limit: usize) -> Vec<u8> {
    let (mut plain, mut gathered, mut is_open) = (Vec::new(), None, false);
    while let Some(first) = bytes.first() {
        let is_data = first & 0x0f <= 2;
        let is_compressed = is_data && (gathered.is_some() || (first & 0x40 != 0 && first & 0x0f != 0));
        let Some((first, mask, length, at)) = head(bytes) else {
            plain.extend(if is_compressed { &[] } else { bytes });
            break;
        };
        let end =
            usize::try_from(length).ok().and_then(|length| at.checked_add(length)).filter(|end| *end <= bytes.len());
        if !is_compressed {
            let end = end.unwrap_or(bytes.len());
            plain.extend(&bytes[..end]);
            bytes = &bytes[end..];
            is_open = if is_data { first & 0x80 == 0 } else { is_open };
            continue;
        }
        let wrong = match (first & 0x0f, &gathered) {
            (0, Some(_)) => first & 0x40 != 0,
            (_, Some(_)) => true,
            _ => is_open,
        };
        let (opcode, mut deflated): (u8, Vec<u8>) = gathered.take().unwrap_or((first & 0x0f, Vec::new()));
        let Some(mask) = mask.filter(|_| !wrong && first & 0x30 == 0) else {
            plain.extend(refused(&End::Protocol, limit));
            break;
        };
        if length.saturating_add(deflated.len() as u64) > most_deflated(limit) as u64 {
            plain.extend(refused(&End::TooBig, limit));
            break;
        }
        let Some(end) = end else { break };
        deflated.extend(bytes[at..end].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes = &bytes[end..];
        if first & 0x80 == 0 {
            gathered = Some((opcode, deflated));
            continue;
        }
        match inflate(deflated, limit) {
            Ok(message) => plain.extend(frame(0x80 | opcode, Some([0; 4]), &message)),
            Err(end) => {
                plain.extend(refused(&end, limit));
                break;
            }
        }
    }
    plain
}

/// What the compressed form of a message may have: what deflating adds at worst.
fn most_deflated(limit: usize) -> usize {
    limit + limit / 256 + 64
}

fn inflate(mut deflated: Vec<u8>, limit: usize) -> Result<Vec<u8>, End> {
    deflated.extend([0, 0, 0xff, 0xff]);
    let (mut inflater, mut message) = (Decompress::new(false), vec![0; limit + 1]);
    loop {
        let (read, made) = (inflater.total_in() as usize, inflater.total_out() as usize);
        let status = inflater.decompress(&deflated[read..], &mut message[made..], FlushDecompress::Sync);
        let is_over = (inflater.total_in() as usize, inflater.total_out() as usize) == (read, made);
        match status {
            _ if inflater.total_out() as usize > limit => return Err(End::TooBig),
            Err(_) => return Err(End::Protocol),
            Ok(status) if status == Status::StreamEnd || is_over => break,
            Ok(_) => {}
        }
    }
    message.truncate(inflater.total_out() as usize);
    Ok(message)
}

/// What is noted of frames below the library: the same for all pieces, and what their heads say.
fn is_followed(bytes: &[u8], cuts: &[u8]) {
    let whole = follow([bytes].into_iter());
    let lengths = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    let mut rest = bytes;
    let pieces: Vec<_> = lengths
        .map_while(|length| {
            let (piece, left) = rest.split_at(length.min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        })
        .collect();
    if !cuts.is_empty() {
        assert_eq!(follow(pieces.into_iter()), whole, "frames are followed otherwise in pieces");
    }
    let (mut rest, mut is_open, mut is_partial, mut fragments, mut largest) = (bytes, false, false, 0, 0);
    while !rest.is_empty() {
        let Some((first, _, length, at)) = head(rest) else {
            is_partial = true;
            break;
        };
        largest = largest.max(length);
        if first & 0x0f < 8 {
            is_open = first & 0x80 == 0;
            fragments = if first & 0x0f == 0 { fragments + 1 } else { 1 };
        }
        let left = (rest.len() - at) as u64;
        is_partial = left < length;
        rest = &rest[at + left.min(length) as usize..];
    }
    assert_eq!(whole, (is_open || is_partial, fragments, largest));
}
