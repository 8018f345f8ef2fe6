//! The configuration: what `switchboard.toml` means.
//!
//! A file is read whole, checked whole and used whole. [`Config`] is what everything else sees: paths are absolute,
//! routers are flattened into routes, and every plugin that a route names exists.
//! Invariant: a `Config` is valid; whatever is wrong in the file is a [`ConfigError`] with file, line and key.

mod capacity;
mod compression;
mod fixed;
mod grants;
mod keys;
mod listen;
mod proxies;
mod raw;
mod resolve;
mod rooms;
mod targets;
mod tenants;
mod watch;

pub use capacity::{CapacityConfig, WhenFull};
pub use compression::CompressionConfig;
pub use fixed::Fixed;
pub use grants::{Grant, Granted};
pub use keys::Keys;
pub use listen::{Address, ListenConfig, TlsConfig};
pub use proxies::{ForwardedHeader, ProxiesConfig, parse_network};
pub use rooms::{Keep, RoomConfig, RoomPattern};
pub use targets::{Destination, Target, Targets};
pub use tenants::TenantConfig;
pub use watch::WatchConfig;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::handshake::RouteNames;
use crate::id::TenantId;
use crate::limits::{Limits, RouteLimits};
use crate::path::pattern::Pattern;

/// The file's name in a folder.
pub const FILE_NAME: &str = "switchboard.toml";

/// What the server is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// The folder that its paths and commands are relative to.
    pub folder: PathBuf,
    /// Where to listen; one place at least.
    pub listen: Vec<ListenConfig>,
    /// What the server proves itself with.
    pub tls: Option<TlsConfig>,
    /// How many workers; none means one per core.
    pub workers: Option<usize>,
    /// The folder for compiled code and the last good components.
    pub state: PathBuf,
    /// How changes of plugin files are noticed.
    pub watch: WatchConfig,
    /// The Unix socket that commands reach the running server by.
    pub control: PathBuf,
    /// Whose word on a client's address is taken.
    pub proxies: ProxiesConfig,
    /// The file that holds the store; none where it is in memory only.
    pub store: Option<PathBuf>,
    /// All limits.
    pub limits: Limits,
    /// What a running server cannot change, as the file has it.
    pub fixed: Fixed,
    /// What becomes of the connections of a route that another configuration has no more.
    pub removed_routes: RemovedRoutes,
    /// All but the unnamed one, by name.
    pub tenants: Vec<TenantConfig>,
    /// The folder that holds a file for each tenant; none where there are none.
    pub tenants_folder: Option<PathBuf>,
    /// By name; that of a tenant's plugin begins with the tenant's, as in `acme/chat`.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// In the order of the files.
    pub routes: Vec<RouteConfig>,
    /// What rooms keep; a room that none of them means keeps nothing.
    pub rooms: Vec<RoomConfig>,
    /// In the order of the file.
    pub statics: Vec<StaticConfig>,
}

/// `[plugins.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// Whose it is.
    pub tenant: TenantId,
    /// The component's file.
    pub path: PathBuf,
    /// The folder of the file that it stands in.
    pub folder: PathBuf,
    /// The command that makes it, run by a shell in that folder.
    pub build: Option<String>,
    /// Files and folders whose change makes `dev` build again.
    pub watch: Vec<PathBuf>,
    /// The folder that the guest may read, as the root of all that it sees; none means that it sees no files.
    pub files: Option<PathBuf>,
    /// Whose signature its file needs.
    pub keys: Keys,
    /// What it may call.
    pub grants: Granted,
    /// Where it may send HTTP requests.
    pub http: Targets,
    /// Which events one instance may take.
    pub reuse: ReusePolicy,
    /// What becomes of a connection whose state does not fit.
    pub on_state_mismatch: MismatchPolicy,
    /// What the guest reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// The share of the connections that takes a new generation first, in percent; none for all at once.
    pub canary: Option<u8>,
    /// The time after which a canary is promoted by itself; none leaves that to somebody.
    pub canary_time: Option<Duration>,
}

/// Which events one instance of a plugin may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReusePolicy {
    /// Any, one after the other: the fast way.
    #[default]
    Always,
    /// Those of one connection.
    Connection,
    /// One.
    Never,
}

/// What becomes of a connection whose state does not fit the generation that reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MismatchPolicy {
    /// It is closed with 1012.
    #[default]
    Close,
    /// It goes on without the value that does not fit.
    Reset,
}

/// A route with all that its routers add.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// Its own name, those of its routers, and whose it is.
    pub names: Arc<RouteNames>,
    /// The whole path, prefixes included.
    pub pattern: Pattern,
    /// Names of plugins, outermost first.
    pub middleware: Vec<String>,
    /// The plugin that handles it.
    pub handler: String,
    /// Origins that may connect beside the server's own host; "*" stands for any.
    pub origins: Vec<String>,
    /// The time without a message after which a connection is closed; none for never.
    pub idle: Option<Duration>,
    /// How many connections it may have; none means as many as come.
    pub capacity: Option<CapacityConfig>,
    /// What happens when one of its clients reads too slowly.
    pub slow: SlowPolicy,
    /// How messages are compressed, with clients that can; none for not at all.
    pub compression: Option<CompressionConfig>,
    /// What it has in place of its tenant's limits.
    pub limits: RouteLimits,
}

/// What becomes of what others send to a connection whose mailbox is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowPolicy {
    /// The connection is closed with 1013.
    #[default]
    Close,
    /// What waits longest makes room.
    DropOldest,
    /// The new message is left out.
    DropNewest,
}

/// What becomes of open connections whose route was removed while the server ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovedRoutes {
    /// They stay until they end by themselves.
    #[default]
    Keep,
    /// They are closed with 1001.
    Close,
}

/// `[[static]]`
#[derive(Debug, Clone)]
pub struct StaticConfig {
    /// Where the files are found, without a slash at its end.
    pub path: String,
    /// Where they lie.
    pub folder: PathBuf,
}

/// One thing that is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Counted from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The key, as far as it is known.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// All that is wrong with a configuration; at least one thing.
#[derive(Debug)]
pub struct ConfigError(pub Vec<Problem>);

impl Config {
    /// Reads a file, or the `switchboard.toml` of a folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
        Self::parse(&text, &file)
    }

    /// Reads a configuration from a text; its paths are relative to the folder of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let raw: raw::File = toml::from_str(text).map_err(|error| ConfigError(vec![syntax((file, text), &error)]))?;
        resolve::resolve(raw, text, file).map_err(ConfigError)
    }
}

/// A file that is not there is the most frequent mistake, so it says what to do.
fn unreadable(file: &Path, error: &std::io::Error) -> ConfigError {
    let message = match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("the file does not exist; name a folder with a {FILE_NAME}, or the file itself")
        }
        _ => format!("the file cannot be read: {error}"),
    };
    ConfigError(vec![Problem { file: file.to_owned(), line: 0, key: String::new(), message }])
}

fn syntax((file, text): (&Path, &str), error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().trim().replace('\n', " ");
    let message = message.replace("unknown field", "unknown key").replace("missing field", "missing key");
    Problem { file: file.to_owned(), line: line_of(text, &span), key: key_at(text, &span), message }
}

/// The line that a place in the text is on, counted from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = &text.as_bytes()[..span.start.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The key that the line at this place begins with.
fn key_at(text: &str, span: &Range<usize>) -> String {
    let line = text.lines().nth(line_of(text, span) - 1).unwrap_or_default().trim();
    let key = line.split('=').next().unwrap_or_default().trim();
    key.trim_matches(['[', ']', '"']).to_owned()
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", problem.file.display())?;
            if problem.line > 0 {
                write!(f, ":{}", problem.line)?;
            }
            if !problem.key.is_empty() {
                write!(f, ":{}", problem.key)?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
