//! The tidy test: what the house style asks of every file, checked by a machine.
//!
//! Directions of imports, one door per dependency, sizes of files, and a header for each module. A failure names the file
//! and what to do; a rule that turns out wrong is changed here, in one place, together with ARCHITECTURE.md.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the host, lowest first: each may use itself and what stands before it.
const ORDER: [&str; 27] = [
    "id",
    "message",
    "handshake",
    "state",
    "clock",
    "metrics",
    "limits",
    "slot",
    "tenants",
    "fairness",
    "timers",
    "store",
    "event",
    "transaction",
    "path",
    "config",
    "hub",
    "engine",
    "routes",
    "chain",
    "services",
    "server",
    "admin",
    "app",
    "cli",
    "lib",
    "main",
];

/// A dependency, and the only places that may name it.
const DOORS: [(&str, &[&str]); 21] = [
    ("wasmtime", &["engine"]),
    ("wasmparser", &["engine/compiler"]),
    ("wasmtime_wasi", &["engine"]),
    ("tokio_tungstenite", &["server"]),
    ("wasmtime_wasi_http", &["engine"]),
    ("hyper", &["server", "engine/http"]),
    ("tokio_rustls", &["engine/http/tls", "server/tls"]),
    ("rustls_native_certs", &["engine/http/tls"]),
    ("flate2", &["server/deflate"]),
    ("notify", &["engine/watcher", "cli/dev"]),
    ("clap", &["cli"]),
    ("anyhow", &["cli", "app", "main"]),
    ("matchit", &["routes"]),
    ("toml", &["config"]),
    ("ipnet", &["config"]),
    ("redb", &["store/disk"]),
    ("ring", &["engine/signature"]),
    ("socket2", &["server/acceptor", "server/listener"]),
    ("listenfd", &["app/listening"]),
    ("libc", &["main"]),
    ("rustix", &["engine/compiler", "admin/descriptors", "cli/dev/job"]),
];

/// Lines before the tests of a file.
const MAX_LINES: usize = 400;
/// Lines of a module's header.
const HEADER: std::ops::RangeInclusive<usize> = 3..=12;

struct File {
    path: PathBuf,
    text: String,
}

#[test]
fn imports_go_downwards_only() {
    let mut wrong = Vec::new();
    for file in host() {
        let own = module(&file.path);
        let rank = rank(&own);
        for (line, used) in file.lines().filter_map(|(line, text)| Some((line, imported(text)?))) {
            if self::rank(used) > rank {
                wrong.push(format!("{}:{line}: `{own}` must not use `{used}`, which is above it", file.path.display()));
            }
        }
    }
    none(wrong);
}

#[test]
fn each_dependency_has_one_door() {
    let mut wrong = Vec::new();
    for file in host() {
        let place = place(&file.path);
        for (dependency, doors) in DOORS {
            let named = file.lines().find(|(_, text)| names(text, dependency));
            let allowed = doors.iter().any(|door| place == *door || place.starts_with(&format!("{door}/")));
            if let (Some((line, _)), false) = (named, allowed) {
                wrong.push(format!(
                    "{}:{line}: `{dependency}` is used only in {}",
                    file.path.display(),
                    doors.join(", ")
                ));
            }
        }
    }
    none(wrong);
}

#[test]
fn files_are_of_a_size_that_one_can_read() {
    let long = |file: &File| {
        let lines = file.code().count();
        let message = format!("{}: {lines} lines before its tests; is it one noun?", file.path.display());
        (lines > MAX_LINES).then_some(message)
    };
    none(all().iter().filter_map(long).collect());
}

#[test]
fn every_module_opens_with_a_header() {
    let bare = |file: &File| {
        let lines = file.text.lines().take_while(|line| line.starts_with("//!")).count();
        let wanted = if is_small(file) { lines > 0 } else { HEADER.contains(&lines) };
        let message = format!("{}: its header has {lines} lines, it should have {HEADER:?}", file.path.display());
        (!wanted).then_some(message)
    };
    none(all().iter().filter_map(bare).collect());
}

/// A file of a few lines needs no long introduction.
fn is_small(file: &File) -> bool {
    file.code().count() < 40
}

impl File {
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| *line != "#[cfg(test)]")
    }

    /// Lines of code, counted from 1, comments left out.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.code().enumerate().map(|(index, line)| (index + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// The module that a line imports from, if it does.
fn imported(line: &str) -> Option<&str> {
    let rest = &line[line.find("crate::")? + "crate::".len()..];
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    ORDER.contains(&&rest[..end]).then_some(&rest[..end])
}

fn names(line: &str, dependency: &str) -> bool {
    let path = format!("{dependency}::");
    line.match_indices(&path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':'))
}

fn rank(module: &str) -> usize {
    let found = ORDER.iter().position(|known| *known == module);
    found.unwrap_or_else(|| panic!("module `{module}` has no place in the order of the tidy test"))
}

/// `host/src/hub/room.rs` is in the place `hub/room`.
fn place(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("host/src")).expect("a file of the host");
    relative.with_extension("").to_string_lossy().into_owned()
}

fn module(path: &Path) -> String {
    place(path).split('/').next().unwrap_or_default().to_owned()
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn host() -> Vec<File> {
    files(&root().join("host/src"))
}

/// All Rust of the project.
fn all() -> Vec<File> {
    ["host", "guest-sdk", "plugins", "examples", "tests", "bench", "fuzz"]
        .iter()
        .flat_map(|folder| files(&root().join(folder)))
        .collect()
}

fn files(folder: &Path) -> Vec<File> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let skipped = path.file_name().is_some_and(|name| name == "target" || name == "node_modules");
        if path.is_dir() && !skipped {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            found.push(File { path, text });
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace").to_owned()
}
