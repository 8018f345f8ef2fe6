//! The components of the tests, `tests/guests`, for the real binary; and builds of them that are other files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::program::Program;
use crate::switchboard::{PATIENCE_WITH_BUILDS, repository, target};

/// The content of a component. The first call builds them all.
pub fn guest(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let guests = target().join("guests");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--examples", "--package", "switchboard-test-guests"]);
        build.args(["--target", "wasm32-wasip2", "--profile", "guest", "--target-dir"]).arg(&guests);
        let built = Program::start(build.current_dir(repository())).finish_within(PATIENCE_WITH_BUILDS);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        guests.join("wasm32-wasip2/guest/examples")
    });
    let file = folder.join(format!("{name}.wasm"));
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A component that does the same and is another file, by a custom section at its end. The same number gives the same file.
pub fn rebuilt(component: &[u8], number: usize) -> Vec<u8> {
    let number = u32::try_from(number).expect("nobody builds as often");
    [component, &[0, 6, 1, b'v'], &number.to_be_bytes()].concat()
}
