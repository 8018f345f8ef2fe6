//! One message and its echo as frames, with and without permessage-deflate (RFC 7692).
//!
//! The generator's half of the codec: a message is deflated once, and what a server makes of it is inflated once, to see that it
//! is the message.
//! Invariant: an exchange that is deflated is so in both directions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::document;
use crate::connection::{PATIENCE, upgrade_deflating};
use crate::frames;
use crate::script::Script;

/// What ends each message for the codec, and is left out on the wire (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const TARGET: &str = "/ws";

pub struct Exchange {
    pub request: Vec<u8>,
    pub reply: Vec<u8>,
    is_deflated: bool,
}

impl Exchange {
    /// Without compression a server can answer in one way only.
    pub fn plain(document: &[u8]) -> Self {
        Self { request: frames::client_text(document), reply: frames::server_text(document), is_deflated: false }
    }

    /// Asks the server for its answer.
    pub fn deflated(address: SocketAddr, document: &[u8]) -> Result<Self> {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        upgrade_deflating(&socket, address, TARGET).context("in the WebSocket handshake")?;
        let request = frames::client_deflated(&deflate(document)?);
        socket.write_all(&request)?;
        let reply = read_frame(&mut socket).context("waiting for the first echo")?;
        ensure!(inflated(&reply)? == document, "the server sent something that is not the echo");
        let _ = socket.write_all(&frames::client_close());
        Ok(Self { request, reply, is_deflated: true })
    }

    /// The same for the load, with one message in flight.
    pub fn script(self) -> Script {
        let script = Script::of_frames(&self.request, self.reply, 1);
        if self.is_deflated { script.with_deflate() } else { script }
    }
}

/// As browsers do: the usual level, the largest window.
fn deflate(message: &[u8]) -> Result<Vec<u8>> {
    let mut deflated = Vec::with_capacity(message.len() + 64);
    Compress::new(Compression::default(), false).compress_vec(message, &mut deflated, FlushCompress::Sync)?;
    ensure!(deflated.ends_with(&TAIL), "a message got much larger by deflating");
    deflated.truncate(deflated.len() - TAIL.len());
    Ok(deflated)
}

/// A server's frame, with its header.
fn read_frame(socket: &mut impl Read) -> Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    socket.read_exact(&mut frame)?;
    let more = match frame[1] {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    frame.resize(2 + more, 0);
    socket.read_exact(&mut frame[2..])?;
    let length = match more {
        0 => u64::from(frame[1]),
        _ => frame[2..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    let read = socket.take(length).read_to_end(&mut frame)?;
    ensure!(read as u64 == length, "it ends within a frame");
    Ok(frame)
}

/// The message in a frame, which has to be a whole compressed text.
fn inflated(frame: &[u8]) -> Result<Vec<u8>> {
    let [first, second, rest @ ..] = frame else { bail!("there is no frame") };
    ensure!(
        *first == frames::FINAL_TEXT | frames::COMPRESSED,
        "the answer begins with {first:#x}: it is not compressed"
    );
    let header = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let (mut deflated, mut message) = (rest[header..].to_vec(), Vec::with_capacity(document::SIZES.end() + 1));
    deflated.extend_from_slice(&TAIL);
    let inflated = Decompress::new(false).decompress_vec(&deflated, &mut message, FlushDecompress::Sync);
    inflated.context("the answer cannot be inflated")?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server frames it.
    fn answer(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = frames::server_text(payload);
        frame[0] = first;
        frame
    }

    #[test]
    fn what_is_deflated_is_smaller_and_inflates_to_the_same() {
        for size in [200, 800, 4000, 70_000] {
            let document = document::of(size);
            let deflated = deflate(&document).unwrap();
            assert!(deflated.len() * 10 < size * 9 && deflated.len() * 20 > size, "{size} became {}", deflated.len());
            let frame = answer(0xc1, &deflated);
            assert_eq!(read_frame(&mut [&frame[..], b"behind"].concat().as_slice()).unwrap(), frame);
            assert_eq!(inflated(&frame).unwrap(), document);
        }
    }

    #[test]
    fn an_answer_that_is_not_compressed_or_not_whole_is_none() {
        let deflated = deflate(b"text text text text").unwrap();
        for frame in [answer(0x81, &deflated), answer(0xc2, &deflated), answer(0xc1, &[0xff; 9]), Vec::new()] {
            assert!(inflated(&frame).is_err(), "{frame:x?}");
        }
        assert!(read_frame(&mut &answer(0xc1, &deflated)[..9]).is_err());
    }

    #[test]
    fn a_request_is_a_masked_text_with_the_bit_of_compression() {
        let frame = frames::client_deflated(b"abc");
        assert_eq!((frame[0], frame[1]), (0xc1, 0x83));
    }
}
