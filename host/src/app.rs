//! The composition root: from a configuration to a running server.
//!
//! Everything is made here, in order, and handed to whoever needs it; nothing reaches back up.
//! Invariant: the listener is bound last, so a server that accepts is a server that works.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Weak};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::watch;

use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::{Config, PluginConfig, WatchConfig};
use crate::engine::compile::{LoadError, Source};
use crate::engine::compiler::Compiler;
use crate::engine::registry::{Order, Registry, Reload};
use crate::engine::watcher::{Change, Watch, Watcher};
use crate::engine::{Abilities, Engine, Reuse};
use crate::hub::Hub;
use crate::hub::history::Memory;
use crate::metrics::Metrics;
use crate::routes::Routes;
use crate::server::Shared;
use crate::server::acceptor::Server;
use crate::store::Store;

/// What is not in the configuration.
pub struct Options {
    /// The server's time.
    pub clock: Clock,
    /// Whether instances take more than one event.
    pub reuse: Reuse,
    /// Whether plugin files are watched.
    pub watch: bool,
    /// Where components are compiled: in this process, unless its binary is one that can do so in a child.
    pub compiler: Compiler,
    /// Whether commands are taken on the control socket.
    pub control: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::system(), reuse: Reuse::Always, watch: true, control: true, compiler: Compiler::InProcess }
    }
}

/// A running server; dropped, it stops.
pub struct App {
    // Dropped first, so that nothing is reloaded while the server stops.
    _admin: Option<Admin>,
    _watcher: Option<Watcher>,
    server: Server,
    registry: Arc<Registry>,
    routes: Vec<String>,
}

/// Everything up to the point where sockets are needed.
pub struct Loaded {
    registry: Arc<Registry>,
    routes: Routes,
    inboxes: Vec<crate::hub::inbox::Received>,
}

impl Loaded {
    /// Loads all plugins and builds the routes.
    pub fn new(config: &Config, options: &Options) -> Result<Self> {
        if config.routes.is_empty() && config.statics.is_empty() {
            bail!("{}: there is no [[route]] and no [[static]], so nothing would be served", config.file.display());
        }
        let workers = config.workers.unwrap_or_else(cores);
        let metrics = Arc::new(Metrics::default());
        let (clock, limits) = (options.clock.clone(), config.limits.clone());
        let memory = Memory::new(&config.rooms, &clock, &limits, &metrics);
        let (hub, inboxes) = Hub::new(workers, &limits, &metrics, memory);
        let store = Store::new(&limits, &clock, &metrics);
        let abilities = Abilities { clock, limits, metrics, hub, store };
        let engine = Engine::new(abilities, options.reuse, options.compiler.clone());
        let engine = engine.map_err(|error| anyhow!("{error:?}"))?;
        let registry = Registry::load(engine, sources(config), &config.state)?;
        let routes = Routes::new(&config.routes).map_err(|error| anyhow!("{}: {error}", config.file.display()))?;
        Ok(Self { registry: Arc::new(registry), routes, inboxes })
    }

    /// The plugins.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// One line for each route: its pattern, its handler, and its middleware, outermost first.
    pub fn table(&self) -> Vec<String> {
        let patterns: Vec<_> = self.routes.all().iter().map(|route| route.pattern()).collect();
        let width = patterns.iter().map(|pattern| pattern.chars().count()).max().unwrap_or_default();
        let behind = |middleware: &[String]| match middleware {
            [] => String::new(),
            chain => format!("  behind {}", chain.join(" > ")),
        };
        let routes = patterns.iter().zip(self.routes.all());
        routes.map(|(path, route)| format!("{path:width$}  {}{}", route.handler, behind(&route.middleware))).collect()
    }
}

impl App {
    /// Loads, binds and serves.
    pub fn start(config: &Config, options: &Options) -> Result<Self> {
        // Before the files are read, so that no change falls between what is read and what is watched.
        let watch = options.watch.then(|| watch_files(config)).transpose()?.flatten();
        let loaded = Loaded::new(config, options)?;
        let routes = loaded.table();
        let Loaded { registry, routes: table, inboxes } = loaded;
        if let Some(file) = &config.store {
            registry.engine().abilities().store.keep_in(file)?;
        }
        let watcher = watch.map(|watch| reload_changed(watch, &registry)).transpose()?;
        let listener = bind(config.listen)?;
        let (serving, stopping) = (watch::Sender::new(false), watch::Sender::new(false));
        let shared = Shared {
            registry: registry.clone(),
            routes: table,
            statics: config.statics.clone(),
            proxies: config.proxies.clone(),
            serving,
            stopping,
        };
        let server = Server::start(Arc::new(shared), listener, inboxes).context("the workers cannot be started")?;
        let admin = options.control.then(|| control(&config.control, &registry)).flatten();
        Ok(Self { _admin: admin, _watcher: watcher, server, registry, routes })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// One line for each route.
    pub fn routes(&self) -> &[String] {
        &self.routes
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.registry.engine().abilities().metrics
    }

    /// How many rooms have members or kept messages, implicit ones included.
    pub fn rooms(&self) -> usize {
        self.registry.engine().abilities().hub.rooms().count()
    }

    /// Reads a plugin's file again; none where there is no such plugin.
    pub fn reload(&self, plugin: &str) -> Option<Result<Reload, LoadError>> {
        self.registry.reload(plugin, Order { by: "command", canary: None })
    }

    /// The plugins, and what is done with their generations.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Takes no more connections, closes the open ones with 1012, waits for their end and writes what is left of the store.
    pub fn stop(&mut self) {
        self.server.stop();
        self.registry.engine().abilities().store.close();
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(crate::id::MAX_WORKERS)
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("{address} is in use; stop the other server, or take another address with `--listen` (port 0 takes a free one)")
        }
        _ => anyhow!("cannot listen on {address}: {error}; change `listen` in [server], or give `--listen`"),
    })
}

/// The control socket; a server without one serves all the same.
fn control(path: &Path, registry: &Arc<Registry>) -> Option<Admin> {
    let admin = Admin::start(path, Arc::downgrade(registry));
    let warn = |error: &std::io::Error| {
        tracing::warn!(
            "no commands can be taken at {}: {error}; name another path with `control` in [server]",
            path.display()
        );
    };
    admin.inspect_err(warn).ok()
}

/// Where the plugins come from, and what they are used as.
fn sources(config: &Config) -> Vec<Source> {
    let source = |(name, plugin): (&String, &PluginConfig)| Source {
        name: name.as_str().into(),
        path: plugin.path.clone(),
        config: plugin.config.clone(),
        files: plugin.files.clone(),
        on_state_mismatch: plugin.on_state_mismatch,
        handler: config.routes.iter().any(|route| route.handler == *name),
        middleware: config.routes.iter().any(|route| route.middleware.contains(name)),
        canary: plugin.canary,
        canary_time: plugin.canary_time,
    };
    config.plugins.iter().map(source).collect()
}

/// Begins to watch all plugin files, where the configuration wants it.
pub fn watch_files(config: &Config) -> Result<Option<Watch>> {
    if config.watch == WatchConfig::Off {
        return Ok(None);
    }
    let files: BTreeSet<_> = config.plugins.values().map(|plugin| plugin.path.clone()).collect();
    let watch = Watch::begin(files, config.watch.interval());
    watch.map(Some).context("plugin files cannot be watched; `watch = \"poll\"` in [server] does it without events")
}

/// Reloads each plugin whose file changed. Holds the registry weakly, so that it does not outlive the server.
fn reload_changed(watch: Watch, registry: &Arc<Registry>) -> Result<Watcher> {
    let log = tracing::dispatcher::get_default(Clone::clone);
    let registry = Arc::downgrade(registry);
    let changed = move |file: &Path, change: Change| {
        tracing::dispatcher::with_default(&log, || match change {
            Change::Complete => reload_file(&registry, file),
            Change::Gone | Change::Back => report_presence(file, change),
        });
    };
    watch.tell(changed).context("there is no thread for the watcher")
}

/// Says that a plugin file, or its whole folder, is gone or back.
pub fn report_presence(file: &Path, change: Change) {
    let folder = file.parent().unwrap_or(Path::new("/"));
    match change {
        Change::Back => tracing::info!("{} is back", file.display()),
        _ if folder.is_dir() => {
            tracing::warn!("{} is gone; its code goes on, and the file is taken once it is back", file.display());
        }
        _ => {
            let (folder, file) = (folder.display(), file.display());
            tracing::warn!("the folder {folder} is gone; the code goes on, and {file} is taken once it is back");
        }
    }
}

fn reload_file(registry: &Weak<Registry>, file: &Path) {
    let Some(registry) = registry.upgrade() else { return };
    let names: Vec<_> = registry.sources().filter(|source| source.path == file).map(|s| s.name.clone()).collect();
    for name in names {
        let _reported = registry.reload(&name, Order { by: "file", canary: None });
    }
}
