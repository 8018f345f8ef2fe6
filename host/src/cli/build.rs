//! Building guests: the `build` command, and the one function that everything uses which builds a plugin.
//!
//! A build command is a shell line, run in the configuration's folder with the output of its tools untouched. Before the
//! first, the compile target of guests is looked for, and added where it is missing.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

use crate::config::{Config, PluginConfig};

/// The target that guests are compiled for.
pub const TARGET: &str = "wasm32-wasip2";

/// Builds every plugin that has a build command.
pub fn all(config: &Config) -> Result<()> {
    for (name, entry) in &config.plugins {
        plugin(name, entry)?;
    }
    note_if_nothing(config);
    Ok(())
}

/// Says so where no plugin has a build command.
pub fn note_if_nothing(config: &Config) {
    if config.plugins.values().all(|entry| entry.build.is_none()) {
        eprintln!("nothing to build: no plugin of {} has `build`", config.file.display());
    }
}

/// Builds one plugin, if it has a build command, and sees to it that its component is there.
fn plugin(name: &str, entry: &PluginConfig) -> Result<()> {
    let Some(command) = &entry.build else { return Ok(()) };
    run(name, command, &entry.folder)?;
    check_made(name, command, entry)
}

/// Says so where a build that succeeded left no component.
pub fn check_made(name: &str, command: &str, entry: &PluginConfig) -> Result<()> {
    if !entry.path.exists() {
        let path = entry.path.display();
        bail!("plugin {name}: `{command}` succeeded, but there is no {path}; correct `path`, or what `build` makes");
    }
    Ok(())
}

/// Builds one guest, and waits for it.
pub fn run(name: &str, command: &str, folder: &Path) -> Result<()> {
    let status = start(command, folder)?.wait().with_context(|| format!("the build of plugin {name} was lost"))?;
    check_status(name, command, status)
}

/// Says how a build failed, if it did.
pub fn check_status(name: &str, command: &str, status: ExitStatus) -> Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        // What shells answer for a program that is not there, and one that is none.
        Some(code @ (126 | 127)) => bail!(
            "plugin {name}: a program of `{command}` was not found or cannot be run (exit status {code}); install it, or correct `build`"
        ),
        _ => bail!("plugin {name}: `{command}` failed ({status})"),
    }
}

/// Starts the build of one guest.
pub fn start(command: &str, folder: &Path) -> Result<Child> {
    spawn(&mut prepare(command, folder)?)
}

/// A build command as it is to be run, but for its outputs.
pub fn prepare(command: &str, folder: &Path) -> Result<Command> {
    ensure_target(folder)?;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(folder).stdin(Stdio::null());
    // What an outer cargo says about the host's package means nothing for a guest's.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" || name == "RUSTFLAGS" {
            shell.env_remove(name);
        }
    }
    Ok(shell)
}

/// Starts what was prepared.
pub fn spawn(shell: &mut Command) -> Result<Child> {
    shell.spawn().with_context(|| {
        let folder = shell.get_current_dir().unwrap_or(Path::new(".")).display();
        format!("the shell for a build cannot be started in {folder}")
    })
}

/// Sees to it, once in the process, that the guests' target is installed.
fn ensure_target(folder: &Path) -> Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| add_target(folder).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn add_target(folder: &Path) -> Result<()> {
    if has_target(folder) {
        return Ok(());
    }
    eprintln!("the compile target {TARGET} is missing: adding it with `rustup target add {TARGET}`");
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`rustup target add {TARGET}` failed ({status}); guests cannot be built without it"),
        Err(error) => bail!("rustup cannot be run ({error}); install the target {TARGET} for your Rust toolchain"),
    }
}

/// Asks the compiler itself where the target's standard library lies, which works with and without rustup.
fn has_target(folder: &Path) -> bool {
    let asked =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder).output();
    asked.is_ok_and(|output| {
        let libdir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&libdir).is_dir()
    })
}
