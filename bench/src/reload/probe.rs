//! A connection that asks which build answers: one question again and again, and its answers as text.
//!
//! The only reader of frames here. It takes what a server sends for such a question: unmasked frames of up to 125 bytes
//! (RFC 6455, section 5.2); what is no text is passed over.
//! Invariant: one question at most waits for its answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::connection::{PATIENCE, upgrade};
use crate::{frames, interrupt};

/// The first byte of a text message in one frame.
const TEXT: u8 = 0x81;
const LONGEST: u8 = 125;
/// How long a new build is waited for.
const FOR_A_BUILD: Duration = Duration::from_secs(900);

pub struct Probe {
    socket: TcpStream,
    question: Vec<u8>,
    /// Whether an answer is still to come.
    asked: bool,
    heard: Vec<u8>,
}

impl Probe {
    pub fn open(address: SocketAddr, target: &str, question: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        upgrade(&socket, address, target).context("in the WebSocket handshake")?;
        let question = frames::client_text(question.as_bytes());
        Ok(Self { socket, question, asked: false, heard: Vec::new() })
    }

    /// From here on it does not wait for answers.
    pub fn without_waiting(self) -> Result<Self> {
        self.socket.set_nonblocking(true)?;
        Ok(self)
    }

    /// Asks, if no answer is waited for, and gives the answer if it is there.
    pub fn poll(&mut self) -> Result<Option<String>> {
        if !self.asked {
            self.socket.write_all(&self.question).context("asking the server")?;
            self.asked = true;
        }
        self.read()?;
        let answer = self.take_text()?;
        self.asked &= answer.is_none();
        Ok(answer)
    }

    /// Asks until this is the answer, and gives the time of that.
    pub fn await_answer(&mut self, wanted: &str, pause: Duration) -> Result<Instant> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            if self.poll()?.is_some_and(|answer| answer == wanted) {
                return Ok(Instant::now());
            }
            ensure!(start.elapsed() < FOR_A_BUILD, "no answer is `{wanted}` within {FOR_A_BUILD:?}");
            if !self.asked && !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection that asks"),
            Ok(count) => self.heard.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("reading an answer"),
        }
        Ok(())
    }

    /// The next text of what was heard; others are dropped.
    fn take_text(&mut self) -> Result<Option<String>> {
        while let [first, length, rest @ ..] = self.heard.as_slice() {
            ensure!(*length <= LONGEST, "an answer is longer than {LONGEST} bytes");
            let Some(payload) = rest.get(..usize::from(*length)) else { return Ok(None) };
            let text = (*first == TEXT).then(|| String::from_utf8_lossy(payload).into_owned());
            self.heard.drain(..2 + usize::from(*length));
            if text.is_some() {
                return Ok(text);
            }
        }
        Ok(None)
    }
}

impl Drop for Probe {
    /// Says goodbye; whether the server still listens does not matter.
    fn drop(&mut self) {
        let _ = self.socket.write(&frames::client_close());
    }
}
