//! The server's side of a compiling process: starts it, feeds it, and ends it when its time is up.
//!
//! Everything that comes from it is bounded. What it says on stderr is for the log, never for a client.
//! Invariant: when [`compile`] returns, the process that it started is gone, and nothing but a whole artifact was taken.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{CompileError, Order, Outdated, SUBCOMMAND, artifact, inside};

/// So much is kept of what it says, in bytes.
const SAID: u64 = 4096;
/// How often a process is looked at that has closed its pipes and is ending.
const LOOK: Duration = Duration::from_millis(1);
/// How often it is asked whether the component is outdated.
const ASK: Duration = Duration::from_millis(10);
/// What the allocator, the system and the thread pool say where there is no memory.
const NO_MEMORY: [&str; 3] = ["memory allocation of", "os error 12", "os error 11"];

/// Why a compiling process gave no code, where the component need not be invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChildError {
    /// Its CPU time is used up.
    #[error("compiling takes more CPU time than the limit `compile-cpu-ms`, {0}")]
    Cpu(u64),
    /// Its memory is.
    #[error("compiling takes more memory than the limit `compile-memory-bytes`, {0}")]
    Memory(usize),
    /// It took too long.
    #[error("compiling takes longer than the limit `compile-wall-ms`, {0}")]
    Wall(u128),
    /// A newer component is to be compiled.
    #[error("there is a newer one")]
    Outdated,
    /// It could not be started.
    #[error("the compiling process {0} cannot be started: {1}")]
    Spawn(String, String),
    /// It crashed, was killed by somebody else, or could not do its work.
    #[error("the compiling process ended with {0}: {1}")]
    Ended(String, String),
    /// It ended well, but what it wrote is not compiled code.
    #[error("the compiling process wrote something else than compiled code")]
    Garbage,
}

impl ChildError {
    /// Whether one of our limits ended it.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Cpu(_) | Self::Memory(_) | Self::Wall(_))
    }
}

/// What was seen of a process from its start to its end.
struct Run {
    made: Option<Vec<u8>>,
    said: String,
    /// None where it had to be ended.
    status: Option<ExitStatus>,
}

/// Has a component compiled by this program's subcommand. Blocks for at most the order's wall time, and not once it is
/// outdated.
pub fn compile(
    program: &Path,
    order: &Order,
    (component, outdated): (&[u8], &Outdated),
) -> Result<Vec<u8>, CompileError> {
    let refused =
        |error: io::Error| CompileError::Child(ChildError::Spawn(program.display().to_string(), error.to_string()));
    let child = command(program, order).spawn().map_err(refused)?;
    if order.is_large() {
        tracing::info!(pid = child.id(), bytes = component.len(), "compiling a large component; the old code goes on");
    }
    let run = attend(child, order, (component, outdated)).map_err(refused)?;
    if outdated.is_set() && run.status.is_none() {
        return Err(ChildError::Outdated.into());
    }
    judge(run, order)
}

/// In a group of its own, so that an interrupt from the terminal lets the server end it.
fn command(program: &Path, order: &Order) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("switchboard")
        .arg(SUBCOMMAND)
        .args(["--engine", &order.engine.to_string()])
        .args(["--cpu-ms", &order.cpu_ms.to_string()])
        .args(["--memory-bytes", &order.memory_bytes.to_string()])
        .args(["--nice", &order.nice.to_string()])
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(threads) = order.threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    command
}

/// Feeds it, listens to it, and sees it end.
fn attend(mut child: Child, order: &Order, (component, outdated): (&[u8], &Outdated)) -> io::Result<Run> {
    let deadline = Instant::now() + order.wall;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (closed, closing) = channel();
    thread::scope(|scope| {
        let also_closed = closed.clone();
        scope.spawn(move || feed(input, component));
        let made = scope.spawn(move || {
            let made = output.map(|pipe| artifact::read(pipe, order.memory_bytes));
            // Fails where nobody waits any more because the time is up.
            let _ = closed.send(());
            made.and_then(Result::ok).flatten()
        });
        let said = scope.spawn(move || {
            let said = listen(errors);
            let _ = also_closed.send(());
            said
        });
        let is_over = || outdated.is_set() || Instant::now() >= deadline;
        for _both in 0..2 {
            wait(&closing, is_over);
        }
        let status = end(&mut child, is_over)?;
        let made = made.join().unwrap_or_default();
        Ok(Run { made, said: said.join().unwrap_or_default(), status })
    })
}

/// A process that ends early reads no more, which its exit status tells better than the pipe.
fn feed(input: Option<impl Write>, component: &[u8]) {
    let _ = input.map(|mut pipe| pipe.write_all(component));
}

/// The first of what it says, in one line; the rest is read and dropped, so that it never waits for us.
fn listen(errors: Option<impl Read>) -> String {
    let Some(mut pipe) = errors else { return String::new() };
    let mut said = Vec::new();
    let _ = pipe.by_ref().take(SAID).read_to_end(&mut said);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until one of its outputs is closed, or it is over anyway.
fn wait(closing: &Receiver<()>, is_over: impl Fn() -> bool) {
    while !is_over() && closing.recv_timeout(ASK) == Err(RecvTimeoutError::Timeout) {}
}

/// How it ended; none where it had to be killed because it is over.
fn end(child: &mut Child, is_over: impl Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if is_over() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// What came of it.
fn judge(run: Run, order: &Order) -> Result<Vec<u8>, CompileError> {
    let Some(status) = run.status else { return Err(ChildError::Wall(order.wall.as_millis()).into()) };
    if status.success() {
        return run.made.ok_or(ChildError::Garbage.into());
    }
    if status.signal() == Some(Signal::XCPU.as_raw()) {
        return Err(ChildError::Cpu(order.cpu_ms).into());
    }
    if NO_MEMORY.iter().any(|text| run.said.contains(text)) {
        return Err(ChildError::Memory(order.memory_bytes).into());
    }
    if status.code() == Some(inside::INVALID.into()) {
        return Err(CompileError::Invalid(run.said));
    }
    let said = if run.said.is_empty() { "it said nothing".to_owned() } else { run.said };
    let unable = status.code() == Some(inside::UNABLE.into());
    let how = if unable { "a refusal".to_owned() } else { status.to_string() };
    Err(ChildError::Ended(how, said).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Stands in for the binary: what a compiling process may do that the real one is not seen to do.
    struct Program(tempfile::TempDir);

    impl Program {
        /// Written by a shell, since a file that this process has open for writing could not be run by it.
        fn new(script: &str) -> Self {
            let program = Self(tempfile::tempdir().expect("a temporary folder"));
            let written = Command::new("/bin/sh")
                .args(["-c", "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 700 \"$0\""])
                .arg(program.path())
                .arg(script)
                .status();
            assert!(written.expect("there is a shell").success());
            program
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("program")
        }

        fn compile(&self, wall: Duration) -> Result<Vec<u8>, String> {
            let order = Order { engine: 1, cpu_ms: 1000, memory_bytes: 1 << 20, nice: 0, threads: None, wall };
            // More than a pipe holds, so that whoever does not read it is noticed.
            let component = vec![7; 1 << 20];
            compile(&self.path(), &order, (&component, &Outdated::default())).map_err(|error| error.to_string())
        }
    }

    fn outcome(script: &str) -> Result<Vec<u8>, String> {
        Program::new(script).compile(Duration::from_secs(60))
    }

    fn refusal(script: &str) -> String {
        outcome(script).expect_err("there is no compiled code")
    }

    #[test]
    fn what_is_no_artifact_is_not_taken() {
        let garbage = "the compiling process wrote something else than compiled code";
        for script in ["", "cat", "echo hello", "printf '\\377\\377\\377\\377\\377\\377\\377\\377 and a bit'"] {
            assert_eq!(refusal(script), garbage, "{script}");
        }
    }

    #[test]
    fn an_artifact_is_taken_from_a_process_that_ended_well_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("artifact");
        let mut pipe = Vec::new();
        artifact::write(&mut pipe, b"compiled").expect("memory takes it");
        std::fs::write(&file, pipe).expect("it can be written");
        let script = format!("/bin/cat > /dev/null; /bin/cat '{}'", file.display());
        assert_eq!(outcome(&script).as_deref(), Ok(&b"compiled"[..]));
        assert!(refusal(&format!("{script}; exit 1")).contains("exit status: 1"));
        assert!(refusal(&format!("{script}; kill -KILL $$")).contains("signal: 9"));
    }

    #[test]
    fn each_end_has_its_sentence() {
        let says = |script, words: &str| assert!(refusal(script).contains(words), "{script}: {}", refusal(script));
        says("kill -XCPU $$", "the limit `compile-cpu-ms`, 1000");
        says(
            "echo memory allocation of 9 bytes failed >&2; kill -ABRT $$",
            "the limit `compile-memory-bytes`, 1048576",
        );
        says("kill -SEGV $$", "ended with signal: 11");
        says("echo no such import >&2; exit 10", "no such import");
        says("echo of another version >&2; exit 11", "ended with a refusal: of another version");
        says("exit 2", "ended with exit status: 2: it said nothing");
    }

    #[test]
    fn one_that_never_ends_is_ended() {
        let spinning = Program::new("while :; do :; done");
        let refused = spinning.compile(Duration::from_millis(300)).expect_err("its time is up");
        assert_eq!(refused, "compiling takes longer than the limit `compile-wall-ms`, 300");
        let closed = Program::new("exec <&- >&- 2>&-; while :; do :; done");
        assert!(closed.compile(Duration::from_millis(300)).is_err(), "it closed its pipes and goes on");
    }

    #[test]
    fn one_that_is_outdated_is_ended() {
        let (spinning, outdated) = (Program::new("while :; do :; done"), Outdated::default());
        let wall = Duration::from_secs(600);
        let order = Order { engine: 1, cpu_ms: 1000, memory_bytes: 1 << 20, nice: 0, threads: None, wall };
        let refused = thread::scope(|scope| {
            let compiling = scope.spawn(|| compile(&spinning.path(), &order, (&[], &outdated)));
            outdated.set();
            compiling.join().expect("it does not panic").expect_err("it never ends by itself")
        });
        assert!(matches!(refused, CompileError::Child(ChildError::Outdated)), "{refused}");
    }

    #[test]
    fn one_that_talks_without_end_is_cut_short() {
        let refused = refusal("i=0; while [ $i -lt 20000 ]; do echo 'a line of it' >&2; i=$((i+1)); done; exit 1");
        assert!(refused.len() < 2 * SAID as usize, "{} bytes were kept", refused.len());
    }

    #[test]
    fn a_binary_that_is_gone_is_named() {
        let program = Program::new("");
        std::fs::remove_file(program.path()).expect("it was written");
        let refused = program.compile(Duration::from_secs(60)).expect_err("there is nothing to start");
        let words = format!("the compiling process {} cannot be started: No such file", program.path().display());
        assert!(refused.starts_with(&words), "{refused}");
    }
}
