//! One hostile connection: its handshake, what it says, and how it learns what became of that.
//!
//! Behind each message it sends a ping, whose answer comes once the message was dealt with; so an attack is over with a
//! pong, or with the end of the connection. Whatever else the server sends is read and thrown away.
//! Invariant: at most one message is on its way, and a socket that is given up leaves nothing to wait for in the kernel.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::Result;

use crate::connection::{handshake, upgrade};
use crate::frames;

const TO_CONNECT: Duration = Duration::from_secs(1);
const HEAD_END: &[u8] = b"\r\n\r\n";
/// Where the status is in `HTTP/1.1 101 Switching Protocols`.
const STATUS: std::ops::Range<usize> = 9..12;
const SWITCHING: &[u8] = b"101";
/// What a guest that faults in a handshake is answered for.
const FAULTED: &[u8] = b"500";

pub struct Intruder {
    socket: TcpStream,
    stage: Stage,
}

enum Stage {
    /// The head of the answer, as far as it is there.
    Head(Vec<u8>),
    Open(Frames),
}

/// What was learned from what the server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Nothing,
    /// The handshake is done.
    Opened,
    /// The message was dealt with.
    Answered,
    /// The connection is at its end.
    Ended,
    /// The handshake was refused: by a guest that faulted in it, or by the server for another reason.
    Faulted,
    TurnedAway,
}

impl Intruder {
    pub fn open(address: SocketAddr, target: &str) -> Result<Self> {
        let mut socket = TcpStream::connect_timeout(&address, TO_CONNECT)?;
        socket.set_nodelay(true)?;
        // Ended by a reset: thousands of these a second would use up all ports.
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        socket.write_all(handshake(address, target).as_bytes())?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, stage: Stage::Head(Vec::new()) })
    }

    /// Whether nobody is let in there now; that blocks.
    pub fn is_refused(address: SocketAddr, target: &str) -> bool {
        let opened = TcpStream::connect_timeout(&address, TO_CONNECT).map_err(Into::into).and_then(|socket| {
            socket.set_read_timeout(Some(TO_CONNECT))?;
            upgrade(&socket, address, target)
        });
        opened.is_err()
    }

    /// False where the connection is at its end, or does not take it.
    pub fn say(&mut self, words: &str) -> bool {
        let frames = [frames::client_text(words.as_bytes()), frames::client_ping()].concat();
        self.socket.write(&frames).is_ok_and(|count| count == frames.len())
    }

    /// Reads once.
    pub fn hear(&mut self, buffer: &mut [u8]) -> News {
        match self.socket.read(buffer) {
            Ok(0) => self.end(),
            Ok(count) => self.take(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => News::Nothing,
            Err(_) => self.end(),
        }
    }

    fn end(&self) -> News {
        match self.stage {
            Stage::Head(_) => News::TurnedAway,
            Stage::Open(_) => News::Ended,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> News {
        match &mut self.stage {
            Stage::Open(frames) => frames.take(bytes),
            Stage::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = head.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
                    return News::Nothing;
                };
                match head.get(STATUS) {
                    Some(SWITCHING) => {}
                    Some(FAULTED) => return News::Faulted,
                    _ => return News::TurnedAway,
                }
                // What follows may end the connection already; nobody asked for a pong yet.
                let mut frames = Frames::default();
                let news = frames.take(&head[end + HEAD_END.len()..]);
                self.stage = Stage::Open(frames);
                if news == News::Ended { news } else { News::Opened }
            }
        }
    }
}

impl AsFd for Intruder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Frames of a server (RFC 6455, section 5.2), of which only the kind matters.
#[derive(Default)]
struct Frames {
    /// The beginning of the next one, as far as it is there.
    header: Vec<u8>,
    /// Bytes of payload that are still to come.
    rest: u64,
}

const PONG: u8 = 0xa;
const CLOSE: u8 = 0x8;

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) -> News {
        let mut news = News::Nothing;
        while let [first, others @ ..] = bytes {
            if self.rest > 0 {
                let passed = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                self.rest -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            self.header.push(*first);
            bytes = others;
            let Some(length) = self.length() else { continue };
            self.rest = length;
            match self.header[0] & 0xf {
                CLOSE => return News::Ended,
                PONG => news = News::Answered,
                _ => {}
            }
            self.header.clear();
        }
        news
    }

    /// The length of the payload, once the header is whole.
    fn length(&self) -> Option<u64> {
        match self.header.as_slice() {
            [_, 126, high, low] => Some(u16::from_be_bytes([*high, *low]).into()),
            [_, 127, rest @ ..] => Some(u64::from_be_bytes(rest.try_into().ok()?)),
            [_, 126, ..] => None,
            [_, short] => Some((*short).into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is learned from a stream that arrives in pieces of this size.
    fn heard(stream: &[u8], size: usize) -> Vec<News> {
        let mut frames = Frames::default();
        stream.chunks(size).map(|piece| frames.take(piece)).filter(|news| *news != News::Nothing).collect()
    }

    #[test]
    fn a_pong_is_found_among_texts_however_they_arrive() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            // A text of pongs, which are none.
            let text = frames::server_text(&vec![0x8a; length]);
            let stream = [&text[..], &[0x8a, 0], &text[..]].concat();
            for size in [1, 3, 1000, stream.len()] {
                assert_eq!(heard(&stream, size), [News::Answered], "{length} bytes in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_close_ends_it() {
        assert_eq!(heard(&[0x81, 1, b'x', 0x88, 2, 3, 0xe8], 7), [News::Ended]);
    }

    #[test]
    fn a_handshake_is_opened_or_refused() {
        let head = |text: &str| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut intruder = Intruder::open(listener.local_addr().unwrap(), "/ws").unwrap();
            intruder.take(text.as_bytes())
        };
        assert_eq!(head("HTTP/1.1 101 Switching Protocols\r\n\r\n"), News::Opened);
        assert_eq!(head("HTTP/1.1 101 Switching Protocols\r\n"), News::Nothing);
        assert_eq!(head("HTTP/1.1 500 Internal Server Error\r\n\r\n"), News::Faulted);
        assert_eq!(head("HTTP/1.1 503 Service Unavailable\r\n\r\n"), News::TurnedAway);
    }
}
