//! The composition root: from a configuration to a running server.
//!
//! Everything is made here, in order, and handed to whoever needs it; nothing reaches back up.
//! Invariant: the listener is bound last, so a server that accepts is a server that works.

mod changes;
pub mod listening;
pub mod settings;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::watch;

use self::settings::Settings;
use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::{Address, Config, ListenConfig, PluginConfig, WatchConfig};
use crate::engine::compile::{LoadError, Source};
use crate::engine::compiler::Compiler;
use crate::engine::registry::{Order, Plugins, Registry, Reload};
use crate::engine::signature;
use crate::engine::watcher::{Change, Watch};
use crate::engine::{Abilities, Engine, Reuse, terms};
use crate::hub::Hub;
use crate::hub::history::Memory;
use crate::metrics::Metrics;
use crate::server::Shared;
use crate::server::acceptor::Server;
use crate::server::listener::Listener;
use crate::server::plan::Plan;
use crate::server::succession::Succession;
use crate::server::tls::Tls;
use crate::store::Store;
use crate::tenants::Tenants;

/// What is not in the configuration.
pub struct Options {
    /// The server's time.
    pub clock: Clock,
    /// Whether instances take more than one event.
    pub reuse: Reuse,
    /// Whether the configuration and plugin files are watched.
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
    // Dropped first, so that nothing is reloaded while the server stops; the settings end with their watcher.
    _admin: Option<Admin>,
    settings: Arc<Settings>,
    server: Server,
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    routes: Vec<String>,
}

/// Everything up to the point where sockets are needed.
pub struct Loaded {
    registry: Arc<Registry>,
    plan: Plan,
    inboxes: Vec<crate::hub::inbox::Received>,
}

impl Loaded {
    /// Loads all plugins and builds the routes.
    pub fn new(config: &Config, options: &Options) -> Result<Self> {
        check_serves(config)?;
        let workers = config.workers.unwrap_or_else(cores);
        let metrics = Arc::new(Metrics::default());
        let (clock, limits) = (options.clock.clone(), config.limits.clone());
        let tenants = Tenants::new(&limits);
        tenants.introduce(terms(&limits, &config.tenants));
        let memory = Memory::new(&config.rooms, &clock, &tenants, &metrics);
        let (hub, inboxes) = Hub::new(workers, &limits, &metrics, memory);
        let store = Store::new(&tenants, &clock, &metrics);
        let abilities = Abilities { clock, tenants, metrics, hub, store };
        let engine = Engine::new(abilities, options.reuse, options.compiler.clone());
        let engine = engine.map_err(|error| anyhow!("{error:?}"))?;
        let registry = Registry::load(engine, sources(config), &config.state)?;
        let plan = plan(config, (&registry, registry.plugins()), None)?;
        Ok(Self { registry: Arc::new(registry), plan, inboxes })
    }

    /// The plugins.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// One line for each route: its pattern, its handler, and its middleware, outermost first.
    pub fn table(&self) -> Vec<String> {
        let patterns: Vec<_> = self.plan.routes.all().iter().map(|route| route.pattern()).collect();
        let width = patterns.iter().map(|pattern| pattern.chars().count()).max().unwrap_or_default();
        let behind = |middleware: &[String]| match middleware {
            [] => String::new(),
            chain => format!("  behind {}", chain.join(" > ")),
        };
        let routes = patterns.iter().zip(self.plan.routes.all());
        routes.map(|(path, route)| format!("{path:width$}  {}{}", route.handler, behind(&route.middleware))).collect()
    }
}

impl App {
    /// Loads, binds and serves.
    pub fn start(config: &Config, options: &Options) -> Result<Self> {
        Self::start_on(config, options, listening::bind)
    }

    /// The same with listeners that are got in another way, once all is loaded.
    pub fn start_on(
        config: &Config,
        options: &Options,
        listeners: impl FnOnce(&Config) -> Result<Vec<Listener>>,
    ) -> Result<Self> {
        // Before the files are read, so that no change falls between what is read and what is watched.
        let watch = options.watch.then(|| watch_files(config)).transpose()?.flatten();
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let loaded = Loaded::new(config, options)?;
        let routes = loaded.table();
        let Loaded { registry, plan, inboxes } = loaded;
        let listeners = listeners(config)?;
        let succession = Succession::new(&listeners).context("the listeners cannot be shared")?;
        if let Some(file) = &config.store {
            registry.engine().abilities().store.keep_in(file)?;
        }
        let plans = watch::Sender::new(Arc::new(plan));
        let (serving, stopping) = (watch::Sender::new(false), watch::Sender::new(false));
        let (registry_there, door) = (registry.clone(), Arc::default());
        let shared = Shared { registry: registry_there, plans, tls, door, serving, succession, stopping };
        let shared = Arc::new(shared);
        let settings = Settings::new(config, &shared);
        if let Some(watch) = watch {
            settings.follow(watch)?;
        }
        let server = Server::start(shared.clone(), listeners, inboxes).context("the workers cannot be started")?;
        let admin = options.control.then(|| control(&config.control, &shared)).flatten();
        Ok(Self { _admin: admin, settings, server, shared, registry, routes })
    }

    /// Where it listens.
    pub fn places(&self) -> &[ListenConfig] {
        self.server.places()
    }

    /// The first address that it listens at; none where there are only Unix sockets.
    pub fn address(&self) -> Option<SocketAddr> {
        self.places().iter().find_map(|place| match place.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        })
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
        self.registry.reload(plugin, Order::by("command"))
    }

    /// The plugins, and what is done with their generations.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The configuration in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Waits until another process has taken the listeners over; this one is to stop then.
    pub async fn succeeded(&self) {
        self.shared.succession.begun().await;
    }

    /// Takes no more connections, closes the open ones with 1012, waits for their end and writes what is left of the store.
    pub fn stop(&mut self) {
        self.server.stop();
        self.registry.engine().abilities().store.close();
    }
}

/// A server without anything to serve is a mistake in its file.
fn check_serves(config: &Config) -> Result<()> {
    if config.routes.is_empty() && config.statics.is_empty() {
        bail!("{}: there is no [[route]] and no [[static]], so nothing would be served", config.file.display());
    }
    Ok(())
}

fn plan(config: &Config, (registry, plugins): (&Registry, Plugins), before: Option<&Plan>) -> Result<Plan> {
    let tenants = &registry.engine().abilities().tenants;
    Plan::new(config, (tenants, plugins), before).map_err(|error| anyhow!("{}: {error}", config.file.display()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(crate::id::MAX_WORKERS)
}

/// The control socket; a server without one serves all the same.
fn control(path: &Path, server: &Arc<Shared>) -> Option<Admin> {
    let admin = Admin::start(path, Arc::downgrade(server));
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
        tenant: plugin.tenant,
        path: plugin.path.clone(),
        config: plugin.config.clone(),
        files: plugin.files.clone(),
        keys: plugin.keys.clone(),
        grants: plugin.grants,
        http: plugin.http.clone(),
        reuse: plugin.reuse,
        on_state_mismatch: plugin.on_state_mismatch,
        handler: config.routes.iter().any(|route| route.handler == *name),
        middleware: config.routes.iter().any(|route| route.middleware.contains(name)),
        canary: plugin.canary,
        canary_time: plugin.canary_time,
    };
    config.plugins.iter().map(source).collect()
}

/// Begins to watch the configuration and all plugin files, where it wants that.
pub fn watch_files(config: &Config) -> Result<Option<Watch>> {
    if config.watch == WatchConfig::Off {
        return Ok(None);
    }
    let watch = Watch::begin(watched(config), config.watch.interval());
    watch.map(Some).context("files cannot be watched; `watch = \"poll\"` in [server] does it without events")
}

/// The files of the configuration, the folder that tenants come and go in, the files of the plugins with signatures, and the
/// certificate with its key.
fn watched(config: &Config) -> BTreeSet<PathBuf> {
    let plugins = config.plugins.values().map(|plugin| plugin.path.clone());
    let signed = config.plugins.values().filter(|plugin| !plugin.keys.is_empty());
    let signatures = signed.map(|plugin| signature::file_of(&plugin.path));
    let tls = config.tls.iter().flat_map(|tls| [tls.certificate.clone(), tls.key.clone()]);
    configured(config).cloned().chain(plugins).chain(signatures).chain(tls).collect()
}

/// What the configuration is read from.
fn configured(config: &Config) -> impl Iterator<Item = &PathBuf> {
    let tenants = config.tenants.iter().map(|tenant| &tenant.file);
    std::iter::once(&config.file).chain(&config.tenants_folder).chain(tenants)
}

/// Says that a watched file, or its whole folder, is gone or back.
fn report_presence(file: &Path, change: Change) {
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
