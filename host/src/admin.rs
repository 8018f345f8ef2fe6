//! The control socket: what an operator asks of a running server.
//!
//! A Unix socket that only the server's own user may open. A client sends one line of JSON, a [`Request`], and gets one
//! line, an [`Answer`]; `cli/control` is that client. All but the hand-over is done by the registry; here it is only put into words.
//! Each conversation has a thread of its own, so that one can look while another waits for a reload.
//! Invariant: nothing that is sent here can stop the server, keep a thread for longer than [`PATIENCE`] and a reload, or more
//! threads than `MOST_AT_ONCE`.

pub mod descriptors;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::plugin::Report;
use crate::engine::registry::{Order, Registry, Rejected, Reload};
use crate::server::Shared;

/// How long a client may take to send its line, and to read the answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// So many conversations at the same time; more wait.
const MOST_AT_ONCE: usize = 16;
/// The most bytes of a request's line.
const MAX_LINE: u64 = 64 * 1024;

/// What asks for the listening sockets: they follow the answer, and then the server ends, and with it the connection.
pub const HAND_OVER: &str = "\"hand-over\"";

/// What can be asked beside that.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What all plugins are doing.
    Plugins,
    /// To read a plugin's file again.
    Reload {
        /// Which plugin.
        plugin: String,
        /// The share of the connections that takes it first, in percent; none for what the configuration says.
        canary: Option<u8>,
        /// Whether a file that was rejected before is tried again.
        #[serde(default)]
        force: bool,
    },
    /// To go back to the generation before.
    Rollback {
        /// Which plugin.
        plugin: String,
    },
    /// To end a roll-out well.
    Promote {
        /// Which plugin.
        plugin: String,
    },
}

/// What comes back.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done: one sentence.
    Done(String),
    /// It is not, and why.
    Refused(String),
    /// All plugins.
    Plugins(Vec<Report>),
}

/// The socket of a running server; dropped, it is gone.
pub struct Admin {
    path: PathBuf,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens at this path. A socket that a server left behind which is gone is replaced; that of one that lives is not.
    pub fn start(path: &Path, server: Weak<Shared>) -> std::io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another server listens there"));
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let _ = std::fs::remove_file(path);
        let listener = bind(path)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new().name("control".into()).spawn({
            let stopping = stopping.clone();
            move || tracing::dispatcher::with_default(&log, || serve(&listener, &server, &stopping))
        })?;
        Ok(Self { path: path.to_owned(), stopping, thread: Some(thread) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is to end.
        let woken = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Made under another name, so that nobody can open it before it is private.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

fn serve(listener: &UnixListener, server: &Weak<Shared>, stopping: &AtomicBool) {
    let (ends, ended) = sync_channel(MOST_AT_ONCE);
    let mut open = 0;
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let (Ok(stream), Some(server)) = (stream, server.upgrade()) else { continue };
        open -= ended.try_iter().count();
        if open == MOST_AT_ONCE && ended.recv().is_ok() {
            open -= 1;
        }
        let (log, ends) = (tracing::dispatcher::get_default(Clone::clone), ends.clone());
        let talk = move || {
            tracing::dispatcher::with_default(&log, || converse(stream, &server));
            // Nobody counts any more once the server stops.
            let _ = ends.send(());
        };
        // Not waited for: a server that stops does not wait for a reload.
        if std::thread::Builder::new().name("command".into()).spawn(talk).is_ok() {
            open += 1;
        }
    }
}

fn converse(stream: UnixStream, server: &Shared) {
    if let Err(error) = answer_one(stream, server) {
        tracing::debug!("a client of the control socket was lost: {error}");
    }
}

fn answer_one(mut stream: UnixStream, server: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_LINE)).read_line(&mut line)?;
    if line.trim_end() == HAND_OVER {
        return hand_over(stream, server);
    }
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(request, &server.registry),
        Err(error) => Answer::Refused(format!("this is no request: {error}")),
    };
    tell(&mut stream, &answer)
}

fn tell(mut stream: impl Write, answer: &Answer) -> std::io::Result<()> {
    let mut text = serde_json::to_string(answer)?;
    text.push('\n');
    stream.write_all(text.as_bytes())
}

/// Hands the sockets on behind the answer, if they are still here. What ends with this process is said.
fn hand_over(mut stream: UnixStream, server: &Shared) -> std::io::Result<()> {
    let handed = server.succession.hand_on(stream.try_clone()?, |mut stream, listeners| {
        tell(&mut stream, &Answer::Done("the sockets follow".to_owned()))?;
        descriptors::send(stream, listeners)
    })?;
    if !handed {
        let reason = "the server is stopping, or another process is taking over already".to_owned();
        return tell(&mut stream, &Answer::Refused(reason));
    }
    let rooms = server.registry.engine().abilities().hub.rooms().count();
    tracing::info!(rooms, "another process takes over; what rooms keep, and a store in memory, ends with this one");
    Ok(())
}

fn answer(request: Request, registry: &Registry) -> Answer {
    match request {
        Request::Plugins => Answer::Plugins(registry.plugins().values().map(|plugin| plugin.report()).collect()),
        Request::Reload { plugin, canary, force } => {
            let rejected = if force { Rejected::Forgive } else { Rejected::Refuse };
            reload(registry, &plugin, Order { by: "command", canary, rejected })
        }
        Request::Rollback { plugin } => registry.roll_back(&plugin).map_or_else(
            |error| Answer::Refused(error.to_string()),
            |(from, to)| Answer::Done(format!("plugin {plugin}: generation {to} serves again in place of {from}")),
        ),
        Request::Promote { plugin } => registry.promote(&plugin).map_or_else(
            |error| Answer::Refused(error.to_string()),
            |generation| Answer::Done(format!("plugin {plugin}: generation {generation} takes all connections")),
        ),
    }
}

fn reload(registry: &Registry, plugin: &str, order: Order) -> Answer {
    match registry.reload(plugin, order) {
        None => Answer::Refused(registry.unknown(plugin).to_string()),
        Some(Err(error)) => Answer::Refused(error.to_string()),
        Some(Ok(Reload::Shared { generation, canary })) => Answer::Done(format!(
            "plugin {plugin}: generation {generation} was rolled out already and takes {canary} % of the connections now"
        )),
        Some(Ok(Reload::Unchanged)) => Answer::Done(format!("plugin {plugin}: the file holds what serves already")),
        Some(Ok(Reload::Swapped { generation, took, canary, .. })) => {
            let share = if canary < 100 { format!(" takes {canary} % of the connections") } else { " serves".into() };
            Answer::Done(format!("plugin {plugin}: generation {generation}{share}, after {} ms", took.as_millis()))
        }
    }
}
