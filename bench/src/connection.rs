//! One WebSocket of the generator: the handshake, written by hand, and then two positions in periodic streams.
//!
//! `open` blocks, and returns only after one echo came back right. From then on the socket does not block, and the
//! load calls `ask`, `flush` and `read` as the socket allows.
//! Invariant: at most one message at a time is timed. With one message in flight that is every message; with more it
//! is the last one of a batch, and the next is taken when its echo is there.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::frames;
use crate::script::Script;

pub const PATIENCE: Duration = Duration::from_secs(10);
const HEAD_LIMIT: usize = 8 * 1024;
/// The nonce of RFC 6455, section 1.3, and the answer that the same section gives for it; so no SHA-1 is needed.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Both sides begin anew with each message (RFC 7692, section 7.1.1).
const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

pub struct Connection {
    socket: TcpStream,
    /// Bytes of requests that the socket took since it was opened.
    written: u64,
    /// Bytes of requests that are asked for and not yet written.
    unwritten: usize,
    /// Messages asked for and messages answered.
    asked: u64,
    answered: u64,
    /// Bytes of answers that were read.
    received: u64,
    timed: Option<Timed>,
}

/// The message that is being timed: the one after which `asked` was this.
struct Timed {
    message: u64,
    since: Instant,
}

/// What the arrival of bytes meant.
pub struct Answers {
    pub count: u64,
    pub round_trip: Option<Duration>,
}

impl Connection {
    pub fn open(address: SocketAddr, target: &str, script: &Script) -> Result<Self> {
        let socket =
            TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        if script.offers_deflate {
            upgrade_deflating(&socket, address, target).context("in the WebSocket handshake")?;
        } else {
            upgrade(&socket, address, target).context("in the WebSocket handshake")?;
        }
        first_echo(&socket, script).context("waiting for the first echo")?;
        socket.set_nonblocking(true)?;
        Ok(Self::over(socket))
    }

    fn over(socket: TcpStream) -> Self {
        Self { socket, written: 0, unwritten: 0, asked: 0, answered: 0, received: 0, timed: None }
    }

    /// Sends `count` more messages, as far as the socket takes them; the rest goes with the next `flush`.
    pub fn ask(&mut self, count: usize, now: Instant, script: &Script) -> Result<()> {
        self.asked += count as u64;
        self.unwritten += count * script.frame_length();
        if self.timed.is_none() {
            self.timed = Some(Timed { message: self.asked, since: now });
        }
        self.flush(script)
    }

    pub fn flush(&mut self, script: &Script) -> Result<()> {
        while self.unwritten > 0 {
            match self.socket.write(script.requests_from(self.written, self.unwritten)) {
                Ok(count) => {
                    self.written += count as u64;
                    self.unwritten -= count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("writing to the server"),
            }
        }
        Ok(())
    }

    /// Reads once; 0 means that there is nothing to read now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.socket.read(buffer) {
            Ok(0) => bail!("the server closed a connection under load"),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).context("reading from the server"),
        }
    }

    /// Takes note of bytes that `read` gave; they are compared with the echo that must follow.
    pub fn check(&self, bytes: &[u8], script: &Script) -> Result<()> {
        ensure!(script.is_answer(self.received, bytes), "the server sent something that is not the echo");
        Ok(())
    }

    pub fn count(&mut self, bytes: usize, now: Instant, script: &Script) -> Answers {
        self.received += bytes as u64;
        let answered = script.answers_in(self.received);
        let count = answered - self.answered;
        self.answered = answered;
        Answers { count, round_trip: self.take_round_trip(now) }
    }

    /// Since when an answer is waited for.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.timed.as_ref().map(|timed| timed.since)
    }

    fn take_round_trip(&mut self, now: Instant) -> Option<Duration> {
        let done = self.timed.as_ref().is_some_and(|timed| timed.message <= self.answered);
        if !done {
            return None;
        }
        self.timed.take().map(|timed| now - timed.since)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Connection {
    /// Says goodbye, so that the server sees a close and not an error; whether it still listens does not matter.
    fn drop(&mut self) {
        let _ = self.socket.write(&frames::client_close());
    }
}

/// Makes a WebSocket of a socket.
pub fn upgrade(mut socket: &TcpStream, address: SocketAddr, target: &str) -> Result<()> {
    socket.write_all(handshake(address, target).as_bytes())?;
    check_head(&read_head(socket)?)
}

/// Makes a WebSocket of a socket, with compression that begins anew with each message on both sides.
pub fn upgrade_deflating(mut socket: &TcpStream, address: SocketAddr, target: &str) -> Result<()> {
    let plain = handshake(address, target);
    let offering = plain.replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {OFFER}\r\n\r\n"));
    socket.write_all(offering.as_bytes())?;
    let head = read_head(socket)?;
    check_head(&head)?;
    check_agreed(&head)
}

/// The request for a WebSocket at this path.
pub fn handshake(address: SocketAddr, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Reads up to the empty line and not a byte further, because what follows belongs to the WebSocket.
fn read_head(mut socket: &TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn check_head(head: &str) -> Result<()> {
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.split(' ').nth(1) == Some("101"), "the server answered `{status}`");
    ensure!(header(head, "sec-websocket-accept") == Some(ACCEPT), "Sec-WebSocket-Accept is missing or wrong");
    Ok(())
}

/// Each answer has to be the same, so the server may keep nothing of the message before.
fn check_agreed(head: &str) -> Result<()> {
    let agreed = header(head, "sec-websocket-extensions").unwrap_or_default();
    let has = |part: &str| agreed.split(';').any(|other| other.trim() == part);
    ensure!(
        has("permessage-deflate") && has("server_no_context_takeover"),
        "compression was not agreed on: `{agreed}`"
    );
    Ok(())
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

fn first_echo(mut socket: &TcpStream, script: &Script) -> Result<()> {
    socket.write_all(script.requests_from(0, script.frame_length()))?;
    let mut reply = vec![0; script.reply_length()];
    socket.read_exact(&mut reply)?;
    ensure!(script.is_answer(0, &reply), "the server sent something that is not the echo");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_101_with_the_right_accept_is_a_handshake() {
        let head = |status: &str, accept: &str| {
            format!("HTTP/1.1 {status}\r\nupgrade: websocket\r\nSec-Websocket-Accept:{accept}\r\n\r\n")
        };
        assert!(check_head(&head("101 Switching Protocols", ACCEPT)).is_ok());
        assert!(check_head(&head("200 OK", ACCEPT)).is_err());
        assert!(check_head(&head("101 Switching Protocols", "x")).is_err());
        assert!(check_head("").is_err());
    }

    #[test]
    fn compression_is_agreed_on_only_without_what_was_before() {
        let head = |value: &str| format!("HTTP/1.1 101 x\r\nSec-WebSocket-Extensions: {value}\r\n\r\n");
        assert!(check_agreed(&head(OFFER)).is_ok());
        assert!(check_agreed(&head("permessage-deflate;server_no_context_takeover")).is_ok());
        assert!(check_agreed(&head("permessage-deflate")).is_err());
        assert!(check_agreed("HTTP/1.1 101 x\r\n\r\n").is_err());
    }

    #[test]
    fn replies_count_when_their_last_byte_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let script = Script::new(64, 3);
        let mut connection = Connection::over(socket);
        let start = Instant::now();
        connection.ask(3, start, &script).unwrap();

        let one = connection.count(66 + 65, start + Duration::from_micros(5), &script);
        assert_eq!((one.count, one.round_trip), (1, None));
        let rest = connection.count(1 + 66, start + Duration::from_micros(9), &script);
        assert_eq!((rest.count, rest.round_trip), (2, Some(Duration::from_micros(9))));
    }
}
