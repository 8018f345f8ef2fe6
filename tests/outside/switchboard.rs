//! The binary under test: where it lies, and a server that runs it.
//!
//! It is the one that `cargo build` makes beside this test, in the same profile; it is brought up to date once in a run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::program::{Finished, Program};

/// For what compiles Rust on a busy machine.
pub const PATIENCE_WITH_BUILDS: Duration = Duration::from_secs(900);

/// A server that listens.
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
}

impl Server {
    /// `serve` on a free port.
    pub fn serve(project: &Path) -> Self {
        Self::start("serve", project, "127.0.0.1:0")
    }

    /// `dev` on a free port.
    pub fn dev(project: &Path) -> Self {
        Self::start("dev", project, "127.0.0.1:0")
    }

    pub fn start(command: &str, project: &Path, listen: &str) -> Self {
        Self::run(switchboard(command, project).args(["--listen", listen]))
    }

    /// What a command of one's own starts.
    pub fn run(command: &mut Command) -> Self {
        Self::run_at(command, "listening on http://")
    }

    /// The same, at the address that the first line with this text names.
    pub fn run_at(command: &mut Command, listening: &str) -> Self {
        let mut program = Program::start(command);
        let line = program.expect_within(listening, PATIENCE_WITH_BUILDS);
        let address = line.rsplit('/').next().unwrap_or_default();
        let address = address.parse().unwrap_or_else(|error| panic!("`{line}` names no address: {error}"));
        Self { program, address }
    }

    pub fn url(&self, target: &str) -> String {
        format!("ws://{}{target}", self.address)
    }
}

/// One command of the binary on a project.
pub fn switchboard(command: &str, project: &Path) -> Command {
    let mut line = bare();
    line.arg(command).arg(project);
    line
}

/// The binary without arguments.
pub fn bare() -> Command {
    let mut line = Command::new(binary());
    // A developer's own settings are no part of a test.
    line.env_remove("RUST_LOG").current_dir(repository());
    line
}

/// Runs it to its end.
pub fn run(line: &mut Command) -> Finished {
    Program::start(line).finish()
}

/// One of the examples. The first call builds all their plugins.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| ["echo", "chat", "files", "middleware", "stocks", "auth"].into_iter().for_each(build_example));
    repository().join("examples").join(name)
}

/// The component of an example's plugin.
pub fn example_component(plugin: &str) -> PathBuf {
    example("echo");
    repository().join(format!("target/guests/wasm32-wasip2/guest/{plugin}.wasm"))
}

fn build_example(name: &str) {
    let folder = repository().join("examples").join(name);
    let built = Program::start(&mut switchboard("build", &folder)).finish_within(PATIENCE_WITH_BUILDS);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
}

/// The repository's folder.
pub fn repository() -> &'static Path {
    let outside = Path::new(env!("CARGO_MANIFEST_DIR"));
    outside.ancestors().nth(2).expect("this package lies in tests/outside")
}

/// Where this test and what it makes lie.
pub fn target() -> PathBuf {
    profile().parent().expect("a profile's folder lies in the target folder").to_owned()
}

/// `target/debug`, for a test in `target/debug/deps`.
fn profile() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("cargo puts tests into `deps`").to_owned()
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // Without `--package`, since the dependencies would be compiled once more with fewer features.
        build.args(["build", "--quiet", "--bin", "switchboard", "--target-dir"]).arg(target());
        if profile().ends_with("release") {
            build.arg("--release");
        }
        let built = Program::start(build.current_dir(repository())).finish_within(PATIENCE_WITH_BUILDS);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        profile().join("switchboard")
    })
}
