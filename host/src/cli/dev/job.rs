//! One running build of one plugin: its processes, what they print, and how it ends.
//!
//! A build runs in a process group of its own, so that all that its shell started can be ended together. What it prints
//! is kept, and shown as it comes where somebody waits for the first build.
//! Invariant: only a group whose leader was not reaped yet is killed, so never one that somebody else has by now.

use std::collections::BTreeSet;
use std::io::{PipeReader, Read, Write, pipe, stderr};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use super::report::has_colors;
use crate::cli::build;

/// How often a build is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How long the rest of what a build printed is waited for; something that it left running may hold its output open.
const REST: Duration = Duration::from_millis(200);
/// So much of what a build prints is kept.
const MAX_OUTPUT: usize = 1024 * 1024;
/// Tells tools that they write to a terminal with colors, though through a pipe.
const COLORS: [(&str, &str); 3] = [("CARGO_TERM_COLOR", "always"), ("CLICOLOR_FORCE", "1"), ("FORCE_COLOR", "1")];
/// Has cargo build for somebody who waits: what changed alone, in pieces, and nothing optimized across crates. That is for
/// the profiles that plugins are built with, cargo's own and the `guest` of this project; both are asked for by name only.
const FAST: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_GUEST_INCREMENTAL", "true"),
    ("CARGO_PROFILE_GUEST_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_GUEST_LTO", "off"),
];

/// Whether what a build prints is shown while it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// As it comes.
    Live,
    /// Not before its end is known.
    Later,
}

/// A running build; dropped, it is cancelled.
pub struct Job {
    /// What it was started for.
    pub files: BTreeSet<String>,
    /// When it was started.
    pub started: Instant,
    child: Arc<Mutex<Child>>,
    cancelled: bool,
}

/// How a build ended.
pub struct Ended {
    /// None where the system lost it.
    pub status: Option<ExitStatus>,
    /// What it printed to both outputs, in order.
    pub output: Vec<u8>,
}

impl Job {
    /// Starts a build command; `ended` is called on another thread.
    pub fn start(
        mut command: std::process::Command,
        files: BTreeSet<String>,
        show: Show,
        ended: impl FnOnce(Ended) + Send + 'static,
    ) -> Result<Self> {
        let (reader, writer) = pipe().context("there is no pipe for what a build prints")?;
        command.process_group(0).stdout(writer.try_clone()?).stderr(writer);
        let colors = if has_colors() { &COLORS[..] } else { &[] };
        // What somebody set is meant so.
        let unset = |(name, _): &&(&str, &str)| std::env::var_os(name).is_none();
        command.envs(FAST.iter().chain(colors).filter(unset).copied());
        let child = Arc::new(Mutex::new(build::spawn(&mut command)?));
        // It holds the pipe's other end, which would never be closed.
        drop(command);
        let printed = collect(reader, show);
        let there = child.clone();
        thread::spawn(move || {
            let status = wait(&there);
            let output = gather(&printed);
            ended(Ended { status, output });
        });
        Ok(Self { files, started: Instant::now(), child, cancelled: false })
    }

    /// Kills all processes of the build; its end is told as always.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // Fails where all of them have just ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Whether its result is of no interest any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancel();
    }
}

fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    loop {
        // Released between two looks, for whoever cancels.
        match child.lock().unwrap_or_else(PoisonError::into_inner).try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => {}
            Err(_) => return None,
        }
        thread::sleep(LOOK);
    }
}

/// Reads what a build prints, piece by piece.
fn collect(mut reader: PipeReader, show: Show) -> Receiver<Vec<u8>> {
    let (sender, pieces) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        let mut kept = 0;
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            let piece = &buffer[..length];
            if show == Show::Live {
                // A closed stderr is no reason to end the build.
                let _ = stderr().write_all(piece);
            }
            let room = MAX_OUTPUT.saturating_sub(kept).min(length);
            kept += room;
            // Nobody wants it once the build's end was told.
            let _ = sender.send(piece[..room].to_vec());
        }
    });
    pieces
}

/// All that was printed, once the build has ended.
fn gather(pieces: &Receiver<Vec<u8>>) -> Vec<u8> {
    let deadline = Instant::now() + REST;
    let mut output = Vec::new();
    while let Ok(piece) = pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        output.extend(piece);
    }
    output
}
