//! A whole server for one test, in a folder of its own.
//!
//! The server is the real one, with all of its threads; only what would make tests depend on the machine is set here: a
//! free port, two workers, a fresh instance for each event, and a clock that the test may drive. When a test fails, what
//! its server logged is printed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard::app::{App, Options};
use switchboard::clock::Clock;
use switchboard::config::{Address, Config, FILE_NAME, ListenConfig};
use switchboard::engine::Reuse;
use switchboard::engine::compile::LoadError;
use switchboard::engine::compiler::Compiler;
use switchboard::engine::registry::Reload;
use switchboard::metrics::Metrics;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::components::Components;
use crate::deadline::within;
use crate::log::{Log, Record};
use crate::request::Request;
use crate::response::Response;

/// How many workers a server has whose configuration does not say: enough for members of a room to sit apart.
const WORKERS: usize = 2;
/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(2);

/// A server that is still to be started.
pub struct Setup {
    components: Components,
    toml: String,
    /// File names and contents, of tenants.
    tenants: Vec<(String, String)>,
    clock: Clock,
    reuse: Reuse,
    watch: bool,
    compiler: Compiler,
}

impl Setup {
    /// A server with this configuration; a plugin's `path = "echo.wasm"` is the component `echo`.
    pub fn new(components: &Components, toml: &str) -> Self {
        let (components, toml) = (components.clone(), toml.to_owned());
        Self {
            components,
            toml,
            tenants: Vec::new(),
            clock: Clock::system(),
            reuse: Reuse::Never,
            watch: false,
            compiler: Compiler::InProcess,
        }
    }

    /// Adds a tenant of this name, with this file; its plugins' paths are like those of the server's own.
    pub fn tenant(mut self, name: &str, toml: &str) -> Self {
        self.tenants.push((name.to_owned(), toml.to_owned()));
        self
    }

    /// Gives the server, its timers and its guests this clock; see [`TestServer::advance`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Whether instances take more than one event; they do not unless it is said here.
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.reuse = reuse;
        self
    }

    /// Watches plugin files, as `switchboard serve` does.
    pub fn watch(mut self) -> Self {
        self.watch = true;
        self
    }

    /// Where components are compiled: in the test's own process unless it is said here.
    pub fn compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = compiler;
        self
    }

    /// Starts it. Panics where the server would not start.
    pub fn start(self) -> TestServer {
        self.try_start().unwrap_or_else(|error| panic!("the server does not start: {error}"))
    }

    /// Starts it, or says what `switchboard serve` would say.
    pub fn try_start(self) -> Result<TestServer, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        for (name, toml) in &self.tenants {
            write_tenant(folder.path(), name, toml);
        }
        let config = configure(&self.toml, folder.path())?;
        self.copy_components(&config);
        let log = Log::new();
        let config = Mutex::new(config);
        let mut server = TestServer { app: None, setup: self, config, log, folder };
        server.boot()?;
        Ok(server)
    }

    /// One that is not among the components is left out, and missed by the server. A file that is there stays as it is.
    fn copy_components(&self, config: &Config) {
        for plugin in config.plugins.values().filter(|plugin| !plugin.path.exists()) {
            let name = plugin.path.file_stem().unwrap_or_default().to_string_lossy();
            if let Some(file) = self.components.find(&name) {
                std::fs::copy(file, &plugin.path).expect("a component can be copied");
            }
        }
    }

    fn options(&self) -> Options {
        Options {
            clock: self.clock.clone(),
            reuse: self.reuse,
            watch: self.watch,
            control: false,
            compiler: self.compiler.clone(),
        }
    }
}

/// A running server. Dropped, it stops; drop its clients first, or it waits for them to answer its close.
pub struct TestServer {
    app: Option<Arc<App>>,
    setup: Setup,
    config: Mutex<Config>,
    log: Log,
    // Last, since the server writes into it until it has stopped.
    folder: TempDir,
}

impl TestServer {
    /// Starts a server with this configuration. See [`Setup`] for what can be said beside it.
    pub fn start(components: &Components, toml: &str) -> Self {
        Setup::new(components, toml).start()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.app().address().expect("it listens at an address")
    }

    /// The server itself.
    pub fn app(&self) -> &App {
        self.app.as_ref().expect("the server runs")
    }

    /// Its counters.
    pub fn metrics(&self) -> &Metrics {
        self.app().metrics()
    }

    /// The folder of its configuration, its plugins and its state.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file of a plugin.
    pub fn file(&self, plugin: &str) -> PathBuf {
        let config = self.config();
        let plugin = config.plugins.get(plugin);
        plugin.expect("the configuration has a plugin of this name").path.clone()
    }

    /// Connects; the server must accept.
    pub async fn connect(&self, target: &str) -> Client {
        self.request(target).connect().await
    }

    /// A request for a WebSocket, to which headers, subprotocols and an Origin can be added.
    pub fn request(&self, target: &str) -> Request {
        Request::new(self.address(), target)
    }

    /// Sends bytes to a socket of their own and reads one HTTP response.
    pub async fn http(&self, request: impl AsRef<[u8]>) -> Response {
        let mut stream = self.tcp().await;
        stream.write_all(request.as_ref()).await.expect("a request can be written");
        let (response, _) = within("an HTTP response", Response::read(&mut stream)).await.expect("a response comes");
        response
    }

    /// A plain TCP connection to it.
    pub async fn tcp(&self) -> TcpStream {
        within("a TCP connection", TcpStream::connect(self.address())).await.expect("the server accepts")
    }

    /// Puts another component in the place of a plugin's file, in one step. The server has not read it yet.
    pub fn replace(&self, plugin: &str, component: &str) {
        self.replace_with(plugin, &self.setup.components.bytes(component));
    }

    /// Puts any bytes in the place of a plugin's file, in one step.
    pub fn replace_with(&self, plugin: &str, bytes: &[u8]) {
        let (file, new) = (self.file(plugin), self.folder().join("new"));
        std::fs::write(&new, bytes).expect("a file can be written");
        std::fs::rename(&new, file).expect("a file can be renamed");
    }

    /// Has the server read a plugin's file now, and says what came of it. Clients of the test go on meanwhile.
    pub async fn reload(&self, plugin: &str) -> Result<Reload, LoadError> {
        let (app, log, name) = (self.app.clone(), self.log.dispatch(), plugin.to_owned());
        let app = app.expect("the server runs");
        let reload = move || tracing::dispatcher::with_default(&log, || app.reload(&name));
        let reload = within("a reload", tokio::task::spawn_blocking(reload)).await.expect("a reload does not panic");
        reload.expect("the server has a plugin of this name")
    }

    /// Puts another configuration in the place of the file, has the server apply it now, and says what is wrong with it
    /// where it is not applied. Clients of the test go on meanwhile.
    pub async fn reconfigure(&self, toml: &str) -> Result<(), String> {
        self.write_configuration(toml);
        self.reread().await
    }

    /// Puts a tenant's file there, or another one in its place, and has the server apply it like
    /// [`reconfigure`](Self::reconfigure).
    pub async fn change_tenant(&self, name: &str, toml: &str) -> Result<(), String> {
        write_tenant(self.folder(), name, toml);
        self.reread().await
    }

    /// Takes a tenant's file away, and has the server apply that.
    pub async fn remove_tenant(&self, name: &str) -> Result<(), String> {
        std::fs::remove_file(tenant_file(self.folder(), name)).expect("the tenant has a file");
        self.reread().await
    }

    async fn reread(&self) -> Result<(), String> {
        let read = configuration(self.folder());
        if let Ok(config) = &read {
            self.setup.copy_components(config);
        }
        let (app, log) = (self.app.clone().expect("the server runs"), self.log.dispatch());
        let reread = move || tracing::dispatcher::with_default(&log, || app.settings().reread());
        let reread = within("a configuration", tokio::task::spawn_blocking(reread)).await;
        reread.expect("a configuration does not panic").map_err(|error| format!("{error:#}"))?;
        *self.config() = read?;
        Ok(())
    }

    /// Puts another configuration in the place of the file, in one step. The server has not read it yet.
    pub fn write_configuration(&self, toml: &str) {
        let new = self.folder().join("new.toml");
        std::fs::write(&new, toml).expect("a file can be written");
        std::fs::rename(&new, self.folder().join(FILE_NAME)).expect("a file can be renamed");
    }

    /// Moves a manual clock on.
    pub fn advance(&self, by: Duration) {
        self.setup.clock.advance(by);
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The first record of its log, past or future, that is wanted.
    pub async fn logged(&self, wanted: impl Fn(&Record) -> bool) -> Record {
        self.log.wait_for(wanted).await
    }

    /// Waits for something that the server does not announce, such as a counter.
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        within(what, async {
            while !condition(self) {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
    }

    /// Stops it, while clients go on.
    pub async fn stop(&mut self) {
        let app = self.app.take().expect("the server runs");
        let stopped = tokio::task::spawn_blocking(move || drop(app));
        within("the server to stop", stopped).await.expect("the server stops without a panic");
    }

    /// Stops it and starts it again with the same files and state. It listens on another port then.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.boot().unwrap_or_else(|error| panic!("the server does not start again: {error}"));
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot(&mut self) -> Result<(), String> {
        let config = self.config().clone();
        let start = || App::start(&config, &self.setup.options());
        let app = tracing::dispatcher::with_default(&self.log.dispatch(), start);
        self.app = Some(Arc::new(app.map_err(|error| format!("{error:#}"))?));
        Ok(())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log.records().iter().for_each(|record| eprintln!("{record}"));
        }
    }
}

fn tenant_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("tenants").join(format!("{name}.toml"))
}

fn write_tenant(folder: &Path, name: &str, toml: &str) {
    let (file, new) = (tenant_file(folder, name), folder.join("new.toml"));
    std::fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("a folder can be made");
    std::fs::write(&new, toml).expect("a file can be written");
    std::fs::rename(&new, file).expect("a file can be renamed");
}

/// The configuration, with the file in the server's folder.
fn configure(toml: &str, folder: &Path) -> Result<Config, String> {
    std::fs::write(folder.join(FILE_NAME), toml).map_err(|error| error.to_string())?;
    configuration(folder)
}

/// What the file in the server's folder says, as a test's server has it.
fn configuration(folder: &Path) -> Result<Config, String> {
    let mut config = Config::read(folder).map_err(|error| error.to_string())?;
    config.listen.iter_mut().for_each(take_free_port);
    config.workers = config.workers.or(Some(WORKERS));
    Ok(config)
}

fn take_free_port(listen: &mut ListenConfig) {
    if let Address::Tcp(address) = &mut listen.address {
        address.set_port(0);
    }
}
