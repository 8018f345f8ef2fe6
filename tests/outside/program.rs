//! A program that a test started: what it prints, how it ends.
//!
//! Both outputs are read on threads, so that nothing blocks the program, and come to the test line by line.
//! Invariant: a program does not outlive its test; dropped, it is killed by its own process id.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything is waited for that takes no build.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often something is looked at that nobody tells of.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for what can only be looked at.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        thread::sleep(LOOK);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// A running program.
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<(Stream, String)>,
    /// All lines so far, for the message of a test that fails.
    seen: Vec<(Stream, String)>,
}

/// What is left of a program.
pub struct Finished {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let (sender, lines) = channel();
        forward(child.stdout.take().expect("it is piped"), Stream::Out, sender.clone());
        forward(child.stderr.take().expect("it is piped"), Stream::Err, sender);
        Self { name, child, lines, seen: Vec::new() }
    }

    /// Writes a line to its input.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{} reads no more: {error}", self.name));
    }

    /// The next line that holds this text; those before it are passed over.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, PATIENCE)
    }

    /// As `expect`, for what has its own measure.
    pub fn expect_within(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let Some(line) = self.next_until(deadline, text) else {
                panic!("{} ended, without `{text}`:\n{}", self.name, self.all_seen());
            };
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end.
    pub fn finish(self) -> Finished {
        self.finish_within(PATIENCE)
    }

    /// As `finish`, for what has its own measure.
    pub fn finish_within(mut self, patience: Duration) -> Finished {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + patience;
        // Once both outputs are closed, it is ending.
        while self.next_until(deadline, "its end").is_some() {}
        let code = self.child.wait().expect("it is this test's child").code();
        Finished { code, stdout: self.text_of(Stream::Out), stderr: self.text_of(Stream::Err) }
    }

    /// Sends a signal by its short name.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &line]).status().expect("there is a shell");
        assert!(sent.success(), "{line}: {sent}");
    }

    /// The bytes of memory that it holds now.
    pub fn memory(&self) -> u64 {
        1024 * self.status("VmRSS:").trim_end_matches(" kB").parse::<u64>().expect("it is a number")
    }

    /// The threads that it has now.
    pub fn threads(&self) -> u64 {
        self.status("Threads:").parse().expect("it is a number")
    }

    /// What the kernel says of it in this file or folder, line by line or entry by entry.
    pub fn proc(&self, name: &str) -> Vec<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        if let Ok(entries) = std::fs::read_dir(&path) {
            return entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        }
        std::fs::read_to_string(path).expect("it runs").lines().map(str::to_owned).collect()
    }

    fn status(&self, key: &str) -> String {
        let lines = self.proc("status");
        let value = lines.iter().find_map(|line| line.strip_prefix(key)).expect("Linux says it");
        value.trim().to_owned()
    }

    /// Everything that it printed so far, whether it was waited for or not.
    pub fn seen(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.all_seen()
    }

    /// Ends it without a warning, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is this test's child");
    }

    /// The next line; none once both outputs are closed.
    fn next_until(&mut self, deadline: Instant, awaited: &str) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line.1)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{}: `{awaited}` did not come, but:\n{}", self.name, self.all_seen())
            }
        }
    }

    fn all_seen(&self) -> String {
        self.seen.iter().map(|(_, line)| format!("  {line}\n")).collect()
    }

    fn text_of(&self, stream: Stream) -> String {
        self.seen.iter().filter(|(from, _)| *from == stream).map(|(_, line)| format!("{line}\n")).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails where it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(output: impl Read + Send + 'static, stream: Stream, lines: Sender<(Stream, String)>) {
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send((stream, line)).is_err() {
                return;
            }
        }
    });
}
