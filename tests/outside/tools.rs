//! What these tests need besides Rust, and what happens where it is missing.
//!
//! A developer without it is told so in one line and goes on; where CI is set, the test fails, so that nothing is left
//! out there without anyone noticing. The line goes past the test harness, which shows a passing test's output to nobody.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::switchboard::target;

/// Python with `websockets`, ready for a script of `python/`.
pub fn python(script: &str) -> Option<Command> {
    let python = target().join("outside/python/bin/python");
    let there = python.exists().then(|| with_script(&python, "python", script));
    there.or_else(|| missing("Python with the package `websockets`"))
}

/// Python as it is, ready for a script of `python/`.
pub fn plain_python(script: &str) -> Option<Command> {
    find("python3").map(|python| with_script(&python, "python", script)).or_else(|| missing("Python"))
}

/// Node with a package, ready for a script of `node/`.
pub fn node(script: &str, package: &str) -> Option<Command> {
    let installed = folder("node").join("node_modules").join(package).is_dir();
    let node = find("node").filter(|_| installed);
    let there = node.map(|node| with_script(&node, "node", script));
    there.or_else(|| missing(&format!("Node with the package `{package}`")))
}

/// curl, with HTTP/2.
pub fn curl() -> Option<PathBuf> {
    find("curl").or_else(|| missing("curl"))
}

/// Chromium, whatever the system calls it.
pub fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find_map(find).or_else(|| missing("Chromium"))
}

fn with_script(interpreter: &Path, language: &str, script: &str) -> Command {
    let mut line = Command::new(interpreter);
    line.arg(folder(language).join(script));
    line
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn missing<T>(what: &str) -> Option<T> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test} is left out: {what} is missing; `tests/outside/install` installs it");
    assert!(std::env::var_os("CI").is_none(), "{line}");
    let _ = writeln!(std::io::stderr(), "{line}");
    None
}
