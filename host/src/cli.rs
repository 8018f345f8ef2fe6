//! The command line: what was typed, what it means, and the exit code.
//!
//! Each command is a file in this folder; all take a folder with `switchboard.toml`, or the file.
//! Exit codes: 0 done, 1 something is wrong with the configuration, a plugin or the machine, 2 the line was mistyped.

pub mod build;
mod check;
mod compile;
mod control;
mod dev;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::admin::Request;
use crate::config::{Config, ListenConfig};
use crate::engine::compiler::SUBCOMMAND;

/// A WebSocket server whose handlers and middleware are WebAssembly components, swapped while their connections stay open.
#[derive(Parser)]
#[command(name = "switchboard", version, about)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, and reload a plugin when its file changes
    Serve {
        #[command(flatten)]
        place: Place,
        /// Take the sockets of the server of this project that runs, which then ends; no client is refused meanwhile
        #[arg(long)]
        take_over: bool,
    },
    /// Build, serve, and rebuild a plugin when its source changes
    Dev(Place),
    /// Build every plugin that has a build command
    Build(Project),
    /// Check the configuration and every plugin, and print the routes
    Check(Project),
    /// Compile a component from stdin to stdout; started by the server
    #[command(name = SUBCOMMAND, hide = true)]
    CompileComponent(compile::Line),
    /// Show what the plugins of a running server are doing
    Plugins(Project),
    /// Have a running server read a plugin's file again
    Reload {
        #[command(flatten)]
        plugin: Plugin,
        /// The share of the connections that takes it first, in percent
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
        canary: Option<u8>,
        /// Try a file again that was rejected before
        #[arg(long)]
        force: bool,
    },
    /// Have a running server go back to the generation of a plugin before
    Rollback(Plugin),
    /// Have a running server give all connections the new generation of a plugin
    Promote(Plugin),
}

#[derive(Args)]
struct Plugin {
    /// The plugin's name in the configuration
    #[arg(value_name = "PLUGIN")]
    name: String,
    #[command(flatten)]
    project: Project,
}

#[derive(Args)]
struct Project {
    /// A folder with switchboard.toml, or the file
    #[arg(default_value = ".")]
    project: PathBuf,
}

#[derive(Args)]
struct Place {
    #[command(flatten)]
    project: Project,
    /// Where to listen, in place of what is configured: ADDRESS:PORT or unix:PATH; port 0 takes a free one; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
}

/// Runs the command that was typed.
pub fn run() -> ExitCode {
    let line = Line::parse();
    log_to_stderr();
    let outcome = match line.command {
        Command::Serve { place, take_over } => place.config().and_then(|config| serve::run(&config, take_over)),
        Command::Dev(place) => place.config().and_then(|config| dev::run(&config)),
        Command::Build(project) => project.config().and_then(|config| build::all(&config)),
        Command::Check(project) => project.config().and_then(|config| check::run(&config)),
        Command::CompileComponent(order) => return compile::run(&order),
        Command::Plugins(project) => ask(&project, Request::Plugins),
        Command::Reload { plugin, canary, force } => {
            ask(&plugin.project, Request::Reload { plugin: plugin.name, canary, force })
        }
        Command::Rollback(plugin) => ask(&plugin.project, Request::Rollback { plugin: plugin.name }),
        Command::Promote(plugin) => ask(&plugin.project, Request::Promote { plugin: plugin.name }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn ask(project: &Project, request: Request) -> Result<()> {
    control::run(&project.config()?, &request)
}

impl Project {
    fn config(&self) -> Result<Config> {
        Ok(Config::read(&self.project)?)
    }
}

impl Place {
    fn config(&self) -> Result<Config> {
        let mut config = self.project.config()?;
        if !self.listen.is_empty() {
            let (folder, tls) = (std::env::current_dir()?, config.tls.is_some());
            let listen = self.listen.iter().map(|listen| ListenConfig::parse(listen, &folder, tls));
            config.listen = listen.collect::<Result<_, _>>().map_err(|error| anyhow!("--listen: {error}"))?;
        }
        Ok(config)
    }
}

/// The log goes to stderr, so that stdout holds only what was asked for. `RUST_LOG` says what is kept.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(dev::has_colors()).init();
}
