//! A server under measurement: a program that can be started, and the process that it then is.
//!
//! Whatever it prints is read to the end, so that it never blocks on a full pipe; the first `127.0.0.1:PORT` in it is
//! taken for its address.
//! Invariant: a `Peer` ends its own process, by its id, whenever it is dropped, and no other process is touched.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cores::Cores;
use crate::interrupt;

const TO_LISTEN: Duration = Duration::from_secs(60);
const TO_SAY: Duration = Duration::from_secs(30);
const TO_STOP: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(20);
const HOST: &str = "127.0.0.1:";

/// How to start a server, and what it is called in the tables.
pub struct Program {
    pub name: &'static str,
    pub version: String,
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    pub directory: PathBuf,
}

pub struct Peer {
    process: Process,
    address: SocketAddr,
    /// What it printed since, line by line.
    lines: Receiver<String>,
}

impl Program {
    /// Starts the server and waits until it has said where it listens.
    pub fn start(&self, cores: &Cores) -> Result<Peer> {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = cores.spawn(&mut command).with_context(|| format!("starting {}", self.path.display()))?;
        let lines = lines_of(&mut child);
        let mut process = Process { child, grace: TO_STOP };
        let address = await_address(&mut process, &lines).context(self.name)?;
        Ok(Peer { process, address, lines })
    }
}

impl Peer {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// From here on what it prints is read and thrown away.
    pub fn ignore_lines(&mut self) {
        self.lines = mpsc::channel().1;
    }

    /// Waits for a line that holds these words, and gives it; those before it are dropped.
    pub fn expect(&self, words: &str) -> Result<String> {
        let start = Instant::now();
        while start.elapsed() < TO_SAY {
            interrupt::check()?;
            match self.lines.recv_timeout(GLANCE) {
                Ok(line) if line.contains(words) => return Ok(line),
                Ok(_) | Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => bail!("the server ended without a line with `{words}`"),
            }
        }
        bail!("the server printed no line with `{words}` within {TO_SAY:?}")
    }
}

/// The guard: owns the child and ends it, with SIGTERM and, after a time of grace, SIGKILL.
struct Process {
    child: Child,
    grace: Duration,
}

impl Process {
    fn has_ended(&mut self) -> bool {
        // An error means that there is no such child, which is an end too.
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn ask_to_end(&self) {
        // The child was not waited for yet, so its id cannot belong to another process.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        self.ask_to_end();
        let start = Instant::now();
        while start.elapsed() < self.grace {
            if self.has_ended() {
                return;
            }
            thread::sleep(GLANCE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, sender);
    }
    receiver
}

/// Goes on reading when nobody wants the lines any more.
fn forward(pipe: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

fn await_address(process: &mut Process, lines: &Receiver<String>) -> Result<SocketAddr> {
    let mut said = String::new();
    let start = Instant::now();
    while start.elapsed() < TO_LISTEN {
        interrupt::check()?;
        match lines.recv_timeout(GLANCE) {
            Ok(line) => match address_in(&line) {
                Some(address) => return Ok(address),
                None => said = said + "\n  " + &line,
            },
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) if process.has_ended() => {
                bail!("it ended, saying:{said}")
            }
            Err(RecvTimeoutError::Disconnected) => thread::sleep(GLANCE),
        }
    }
    bail!("it printed no `{HOST}PORT` within {TO_LISTEN:?}, only:{said}")
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.match_indices(HOST).find_map(|(start, _)| {
        let after = &line[start + HOST.len()..];
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        // A server that was told port 0 may print that first.
        let port = after[..digits].parse().ok().filter(|port| *port != 0)?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn cores() -> Cores {
        Cores::divide().unwrap()
    }

    fn shell(script: &str) -> Program {
        Program {
            name: "shell",
            version: String::new(),
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: "/".into(),
        }
    }

    #[test]
    fn an_address_is_found_in_any_line() {
        let port = |line| address_in(line).map(|address| address.port());
        assert_eq!(port("listening on http://127.0.0.1:8080/ws (4 workers)"), Some(8080));
        assert_eq!(port("\u{1b}[2maddr\u{1b}[0m=127.0.0.1:41234\u{1b}[0m"), Some(41234));
        assert_eq!(port("asked for 127.0.0.1:0, got 127.0.0.1:9"), Some(9));
        assert_eq!(port("127.0.0.1:"), None);
        assert_eq!(port("127.0.0.1:99999"), None);
    }

    fn is_gone(pid: u32) -> bool {
        !Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_peer_has_ended() {
        let peer = shell("echo 127.0.0.1:1; exec sleep 60").start(&cores()).unwrap();
        let pid = peer.pid();
        assert!(!is_gone(pid));
        drop(peer);
        assert!(is_gone(pid));
    }

    #[test]
    fn a_peer_that_does_not_want_to_end_is_killed() {
        let script = "trap '' TERM; echo 127.0.0.1:1; while :; do sleep 0.1; done";
        let mut peer = shell(script).start(&cores()).unwrap();
        peer.process.grace = Duration::from_millis(50);
        let pid = peer.pid();
        drop(peer);
        assert!(is_gone(pid));
    }

    #[test]
    fn a_server_that_ends_at_once_is_quoted() {
        let error = shell("echo no such deployment >&2").start(&cores()).err().unwrap();
        assert!(format!("{error:#}").contains("no such deployment"), "{error:#}");
    }
}
