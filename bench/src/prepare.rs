//! Getting the servers ready: Switchboard from this workspace, with the component of `examples/echo` built, and Bun
//! from npm below `target/`. What comes out are two `Program`s; nothing runs yet.
//!
//! Both are told to listen on a free port of the loopback. What cargo and npm print goes to stderr, because stdout
//! belongs to the tables.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::peer::Program;

/// The package, its binary, and the name in the tables.
const PACKAGE: &str = "switchboard";
const ECHO: &str = "examples/echo";

/// Switchboard: the binary at `server`, or the one that this workspace builds.
pub fn switchboard(server: Option<&Path>) -> Result<Program> {
    let root = workspace_root()?;
    let path = binary(server)?;
    build(&path, Path::new(ECHO))?;
    Ok(Program {
        name: PACKAGE,
        version: version_of(&path)?,
        arguments: ["serve", ECHO, "--listen", "127.0.0.1:0"].map(Into::into).to_vec(),
        directory: root,
        path,
    })
}

/// A command of Switchboard on a project, with a free port of the loopback.
pub fn switchboard_on(path: &Path, command: &str, project: &Path) -> Result<Program> {
    let arguments = [command.as_ref(), project.as_os_str(), "--listen".as_ref(), "127.0.0.1:0".as_ref()];
    Ok(Program {
        name: PACKAGE,
        version: version_of(path)?,
        arguments: arguments.map(Into::into).to_vec(),
        directory: workspace_root()?,
        path: path.to_owned(),
    })
}

/// The server's binary: the one that was named, or the one that this workspace builds.
pub fn binary(server: Option<&Path>) -> Result<PathBuf> {
    match server {
        Some(path) => path.canonicalize().with_context(|| format!("no server at {}", path.display())),
        None => build_server(&workspace_root()?),
    }
}

/// Has the server build the plugins of a project, whose folder is below the workspace's.
pub fn build(server: &Path, project: &Path) -> Result<()> {
    run(Command::new(server).arg("build").arg(project).current_dir(workspace_root()?))
}

/// Has cargo do something in this workspace, with these variables in its environment.
pub fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    run(Command::new("cargo").args(arguments).envs(variables.iter().copied()).current_dir(workspace_root()?))
}

/// The folder for what is needed below `target/`, made if it is not there.
pub fn bench_folder() -> Result<PathBuf> {
    let folder = target_folder(&workspace_root()?).join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A folder below `target/` without what an earlier run left, so that no server finds anything in its cache.
pub fn empty_folder(name: &str) -> Result<PathBuf> {
    let all = bench_folder()?.join("sites");
    fs::create_dir_all(&all)?;
    for left in fs::read_dir(&all)? {
        let left = left?.path();
        let own = left.file_stem().is_some_and(|stem| Path::new(stem).with_extension("") == Path::new(name));
        if own && left.is_dir() {
            fs::remove_dir_all(left)?;
        } else if own {
            fs::remove_file(left)?;
        }
    }
    let folder = all.join(name);
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// Bun, installed on first use; removing the folder gets the newest release of its major.
pub fn bun() -> Result<Program> {
    bun_with("bun-echo.js")
}

/// Bun with a script of `bench/peers`.
pub fn bun_with(script: &str) -> Result<Program> {
    let root = workspace_root()?;
    let script = root.join("bench/peers").join(script);
    let folder = target_folder(&root).join("bench");
    let path = folder.join("node_modules/.bin/bun");
    if !path.exists() {
        install_peers(&root.join("bench/peers/package.json"), &folder)?;
    }
    Ok(Program { name: "bun", version: version_of(&path)?, arguments: vec![script.into()], directory: folder, path })
}

pub fn workspace_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().context("the workspace this was built from is gone")
}

fn target_folder(root: &Path) -> PathBuf {
    // A relative CARGO_TARGET_DIR is relative to where cargo was called, and so are we.
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    std::path::absolute(&folder).unwrap_or(folder)
}

/// Asks cargo where the binary is, since a profile, a target or a configuration can each move it.
fn build_server(root: &Path) -> Result<PathBuf> {
    let arguments = ["build", "--release", "-p", PACKAGE, "--message-format=json-render-diagnostics"];
    let messages = output(Command::new("cargo").args(arguments).current_dir(root))?;
    executable_in(&messages).context("cargo built no binary `switchboard`")
}

/// Cargo says one JSON object a line; of the artifacts only binaries have an executable.
fn executable_in(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == PACKAGE)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

fn install_peers(manifest: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::copy(manifest, folder.join("package.json"))?;
    run(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(folder))
}

/// The last word of what `--version` prints: `switchboard 0.1.0` and `1.2.3` are both in use.
pub fn version_of(path: &Path) -> Result<String> {
    let printed = output(Command::new(path).arg("--version"))?;
    Ok(printed.split_whitespace().last().unwrap_or("unknown").to_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let printed = output(command)?;
    eprint!("{printed}");
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().with_context(|| format!("running `{shown}`"))?;
    ensure!(output.status.success(), "`{shown}` failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words: Vec<&OsStr> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_what_cargo_says() {
        let messages = r#"
            {"reason":"compiler-artifact","target":{"name":"anyhow"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"switchboard"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
            {"reason":"compiler-artifact","target":{"name":"switchboard"},"executable":"/t/switchboard"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable_in(messages), Some("/t/switchboard".into()));
        assert_eq!(executable_in("warning: not JSON"), None);
    }
}
