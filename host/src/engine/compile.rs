//! From a file to a generation: every check that a plugin file has to pass.
//!
//! In this order: the file is there and of a bearable size, it is a component, it compiles, it fits the contract and
//! where it is used, and one instance of it starts. Slow, so it runs on threads of its own, never on a worker.
//! Invariant: whatever is wrong ends in a [`LoadError`] of one sentence, and nothing that serves is changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Component;

use super::cache::{self, Cache};
use super::compiler::child::ChildError;
use super::compiler::{CompileError, Outdated};
use super::fault::brief;
use super::generation::{Generation, Grants, Identity};
use super::instance::Instance;
use super::output::LogQuota;
use super::signature::{self, NotSigned};
use super::{CONTRACT, Engine};
use crate::config::{Grant, Granted, Keys, MismatchPolicy, ReusePolicy, Targets};
use crate::event::Interface;
use crate::id::TenantId;

/// Where a plugin comes from and where it is used.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the configuration, its tenant's included.
    pub name: Arc<str>,
    /// Whose it is.
    pub tenant: TenantId,
    /// The component's file.
    pub path: PathBuf,
    /// What the guest reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// The folder that the guest may read.
    pub files: Option<PathBuf>,
    /// Whose signature the file needs.
    pub keys: Keys,
    /// What it may call.
    pub grants: Granted,
    /// Where it may send HTTP requests.
    pub http: Targets,
    /// Which events one instance may take.
    pub reuse: ReusePolicy,
    /// What becomes of a connection whose state does not fit.
    pub on_state_mismatch: MismatchPolicy,
    /// Whether a route has it as its handler.
    pub handler: bool,
    /// Whether a chain has it as middleware.
    pub middleware: bool,
    /// The share of the connections that takes a new generation first, in percent; none for all at once.
    pub canary: Option<u8>,
    /// The time after which a canary is promoted by itself; none leaves that to somebody.
    pub canary_time: Option<Duration>,
}

/// What a component is given beside its connections.
type Given<'a> = (&'a BTreeMap<String, String>, &'a Option<PathBuf>, Granted, &'a Targets, ReusePolicy);

impl Source {
    /// All that a component gets and that another one, or the same at another time, may get otherwise.
    pub(super) fn given(&self) -> Given<'_> {
        (&self.config, &self.files, self.grants, &self.http, self.reuse)
    }
}

/// Why a plugin file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not there.
    #[error("plugin {0}: {1} does not exist; build it with `switchboard build`, or correct `path`")]
    Missing(Arc<str>, String),
    /// It is a folder or something else that is no file.
    #[error("plugin {0}: {1} is not a file; `path` must name a WebAssembly component")]
    NotAFile(Arc<str>, String),
    /// It cannot be read.
    #[error("plugin {0}: {1} cannot be read: {2}")]
    Unreadable(Arc<str>, String, io::Error),
    /// It was written to while it was read.
    #[error("plugin {0}: {1} is being written; it is read again once it is quiet, or by the next command")]
    Changing(Arc<str>, String),
    /// It is over the limit.
    #[error("plugin {0}: {1} has {2} bytes, the limit `plugin-bytes` is {3}")]
    TooLarge(Arc<str>, String, u64, usize),
    /// Nobody who may has signed it.
    #[error("plugin {0}: {1} is not taken: {2}")]
    NotSigned(Arc<str>, String, NotSigned),
    /// It does not begin like WebAssembly.
    #[error(
        "plugin {0}: {1} is not WebAssembly; `path` must name a component, as `cargo build --target wasm32-wasip2` makes"
    )]
    NotWasm(Arc<str>, String),
    /// It is a core module.
    #[error("plugin {0}: {1} is a core module, not a component; build it for the target wasm32-wasip2")]
    CoreModule(Arc<str>, String),
    /// It does not compile.
    #[error("plugin {0}: {1} does not compile, it may be damaged or incomplete: {2}")]
    Invalid(Arc<str>, String, String),
    /// Compiling it passed a limit, or the process that compiles failed.
    #[error("plugin {0}: {1} was not compiled: {2}")]
    Compiler(Arc<str>, String, ChildError),
    /// The file changed meanwhile, and whoever noticed it takes what it holds now.
    #[error("plugin {0}: {1} changed while it was compiled; the newer one is taken in its place")]
    Outdated(Arc<str>, String),
    /// Its compiled code does not load.
    #[error("plugin {0}: the compiled code of {1} cannot be loaded; the log says why")]
    Code(Arc<str>, String),
    /// It was built against another version of the contract.
    #[error("plugin {0}: {1} uses {2}, which this host does not have; rebuild it against switchboard:ws@{CONTRACT}")]
    Version(Arc<str>, String, String),
    /// It imports something that is not linked.
    #[error(
        "plugin {0}: {1} does not fit this host, which offers switchboard:ws@{CONTRACT}, WASI 0.2 and wasi:config: {2}"
    )]
    Import(Arc<str>, String, String),
    /// It does not export what it is used for.
    #[error("plugin {0}: {1} is used as {2}, but exports {3}; it must export {4}")]
    Role(Arc<str>, String, &'static str, String, &'static str),
    /// Its first instance faulted.
    #[error("plugin {0}: {1} faults as it starts: {2}")]
    Start(Arc<str>, String, String),
    /// It was rolled back at an earlier time, with the same `config`, `files` and grants; its hash, and why.
    #[error(
        "plugin {0}: {1} was rejected before, because {3}; change it, or what the plugin is given, as its `config` or `files`; to try it all the same: `switchboard reload {0} --force`"
    )]
    Rejected(Arc<str>, String, String, String),
}

/// A component that may become a generation, with the hash of its content.
pub struct Candidate {
    /// The file's content.
    pub bytes: Vec<u8>,
    /// Its hash, in hexadecimal: the name of this content in the cache and the archive.
    pub hash: String,
    /// Told where there is a newer one.
    pub outdated: Outdated,
}

impl From<Vec<u8>> for Candidate {
    fn from(bytes: Vec<u8>) -> Self {
        Self { hash: blake3::hash(&bytes).to_string(), bytes, outdated: Outdated::default() }
    }
}

/// Reads a plugin file whole.
pub fn read(source: &Source, limit: usize) -> Result<Candidate, LoadError> {
    let (name, file) = (source.name.clone(), shown(&source.path));
    let found = fs::metadata(&source.path);
    let metadata = match found {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LoadError::Missing(name, file)),
        Err(error) => return Err(LoadError::Unreadable(name, file, error)),
    };
    if !metadata.is_file() {
        return Err(LoadError::NotAFile(name, file));
    }
    if metadata.len() > limit as u64 {
        return Err(LoadError::TooLarge(name, file, metadata.len(), limit));
    }
    let bytes = match fs::read(&source.path) {
        Ok(bytes) => bytes,
        Err(error) => return Err(LoadError::Unreadable(name, file, error)),
    };
    if let Err(error) = signature::check(&source.path, &bytes, &source.keys) {
        return Err(LoadError::NotSigned(name, file, error));
    }
    let is_same = |now: &fs::Metadata| stamp(now) == stamp(&metadata) && now.len() == bytes.len() as u64;
    match fs::metadata(&source.path) {
        Ok(now) if is_same(&now) => Ok(Candidate::from(bytes)),
        _ => Err(LoadError::Changing(name, file)),
    }
}

/// What a rejection goes by: the hash of a content, with all that the plugin is given beside it and the host's version. The
/// same content may be good with another `config`, with other files, or on another host.
pub fn key(source: &Source, hash: &str) -> String {
    let given = (hash, env!("CARGO_PKG_VERSION"), source.given());
    // Written as Rust would, so that no two of them look the same.
    blake3::hash(format!("{given:?}").as_bytes()).to_string()
}

/// What differs if a file was written or replaced meanwhile.
fn stamp(metadata: &fs::Metadata) -> (i64, i64, u64) {
    (metadata.mtime(), metadata.mtime_nsec(), metadata.ino())
}

/// Makes a generation of a component, or says why that cannot be.
pub fn load(
    engine: &Arc<Engine>,
    cache: Option<&Cache>,
    (source, candidate): (&Source, &Candidate),
    number: u64,
) -> Result<Generation, LoadError> {
    let component = component(engine, cache, source, candidate)?;
    check_contract(engine, &component, source)?;
    // The outermost error names the import, the innermost what is wrong with it.
    let unfit = |error| LoadError::Import(source.name.clone(), shown(&source.path), brief(&format_args!("{error:#}")));
    let pre = engine.linker.instantiate_pre(&component).map_err(unfit)?;
    let config = source.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let (files, http) = (source.files.clone(), source.http.clone());
    let grants = Arc::new(Grants { config, files, granted: source.grants, http, reuse: source.reuse });
    report_denied(engine, &component, source);
    let tenant = engine.abilities.tenants.of(source.tenant);
    let identity = Identity { plugin: source.name.clone(), tenant, generation: number, log: LogQuota::default() };
    let content = (candidate.hash.clone(), key(source, &candidate.hash));
    let generation = Generation::new(identity, content, (pre, grants));
    check_role(source, &generation)?;
    try_out(engine, source, generation)
}

/// Compiled code from the cache, or compiled now and put there.
fn component(
    engine: &Engine,
    cache: Option<&Cache>,
    source: &Source,
    candidate: &Candidate,
) -> Result<Component, LoadError> {
    let Candidate { bytes, hash, .. } = candidate;
    check_kind(source, bytes)?;
    if let Some(cached) = cache.and_then(|cache| cache.load(&engine.engine, hash)) {
        return Ok(cached);
    }
    let code = compile(engine, source, candidate)?;
    let component = match cache {
        Some(cache) => cache.adopt(&engine.engine, hash, &code),
        None => cache::trust(&engine.engine, &code),
    };
    component.ok_or_else(|| LoadError::Code(source.name.clone(), shown(&source.path)))
}

/// Compiled code, or a sentence on why there is none.
fn compile(
    engine: &Engine,
    source: &Source,
    Candidate { bytes, outdated, .. }: &Candidate,
) -> Result<Vec<u8>, LoadError> {
    let (tenant, metrics) = (engine.abilities.tenants.of(source.tenant), &engine.abilities.metrics);
    let limits = tenant.limits();
    let (name, file) = (source.name.clone(), shown(&source.path));
    engine.compiler.compile(&engine.engine, &limits, (bytes, outdated)).map_err(|error| match error {
        CompileError::Invalid(reason) => LoadError::Invalid(name, file, brief(&reason)),
        CompileError::Child(ChildError::Outdated) => LoadError::Outdated(name, file),
        CompileError::Child(error) => {
            if error.is_limit() {
                metrics.compile_limits.inc();
            }
            LoadError::Compiler(name, file, error)
        }
    })
}

/// The first eight bytes say whether it is WebAssembly, and of which kind (component model, binary format).
fn check_kind(source: &Source, bytes: &[u8]) -> Result<(), LoadError> {
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule(source.name.clone(), shown(&source.path))),
        _ => Err(LoadError::NotWasm(source.name.clone(), shown(&source.path))),
    }
}

/// Names of `switchboard:ws` in another version than this host's are found here, with a better word than "missing".
fn check_contract(engine: &Engine, component: &Component, source: &Source) -> Result<(), LoadError> {
    let foreign = |name: &&String| {
        name.strip_prefix("switchboard:ws/")
            .is_some_and(|rest| rest.split_once('@').is_none_or(|(_, version)| !is_compatible(version)))
    };
    match interfaces(engine, component).iter().find(foreign) {
        None => Ok(()),
        Some(name) => Err(LoadError::Version(source.name.clone(), shown(&source.path), brief(name))),
    }
}

/// Names the imports that are not granted. Calls of these are denied; that a component imports them need not mean that it
/// calls them.
fn report_denied(engine: &Engine, component: &Component, source: &Source) {
    let types = component.component_type();
    let imports = types.imports(&engine.engine);
    let mut denied: Vec<_> = imports.filter_map(|(name, _)| denied(source, name)).collect();
    denied.sort_unstable();
    if !denied.is_empty() {
        let denied = denied.join(", ");
        tracing::info!(plugin = %source.name, denied, "imports what it is not granted; calls of it are denied");
    }
}

/// The word for what an import needs and the plugin is not granted.
fn denied(source: &Source, import: &str) -> Option<&'static str> {
    match Grant::of_import(import) {
        Some(grant) => (!source.grants.has(grant)).then(|| grant.word()),
        None => (Targets::are_needed_by(import) && source.http.is_empty()).then_some("http"),
    }
}

/// Versions below 1.0 are compatible within the same minor one, as the linker sees it.
fn is_compatible(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(version) == minor(CONTRACT)
}

fn interfaces(engine: &Engine, component: &Component) -> Vec<String> {
    let types = component.component_type();
    let imports = types.imports(&engine.engine).map(|(name, _)| name.to_owned());
    let exports = types.exports(&engine.engine).map(|(name, _)| name.to_owned());
    imports.chain(exports).collect()
}

/// Whether a generation exports what it is used for.
pub fn check_role(source: &Source, generation: &Generation) -> Result<(), LoadError> {
    let exports = &generation.exports;
    let wrong = |role, needed| {
        let names = exports.names();
        let found = if names.is_empty() { "nothing of switchboard:ws".to_owned() } else { names.join(", ") };
        Err(LoadError::Role(source.name.clone(), shown(&source.path), role, found, needed))
    };
    match () {
        () if source.handler && !exports.has(Interface::Handler) => wrong("a route's handler", "handler"),
        () if source.middleware && !exports.is_middleware() => wrong("middleware", "gate, inbound or outbound"),
        () if !exports.is_plugin() => wrong("a plugin", "handler, gate, inbound, outbound or service"),
        () => Ok(()),
    }
}

/// Instantiates once, on a thread of its own since the caller may be within a runtime.
fn try_out(engine: &Arc<Engine>, source: &Source, generation: Generation) -> Result<Generation, LoadError> {
    let generation = Arc::new(generation);
    let outcome = std::thread::scope(|scope| scope.spawn(|| start_once(engine, &generation)).join());
    let outcome = outcome.unwrap_or_else(|_| Err("the host panicked while it started".into()));
    let started = outcome.map_err(|reason| LoadError::Start(source.name.clone(), shown(&source.path), reason));
    let state_version = started?;
    let mut generation = Arc::into_inner(generation).expect("the instance that shared it is gone");
    generation.state_version = state_version;
    Ok(generation)
}

/// Gives the version of the state that it writes.
fn start_once(engine: &Engine, generation: &Arc<Generation>) -> Result<u32, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|e| e.to_string())?;
    let activity = engine.ticker.activity();
    activity.begin();
    let outcome = runtime.block_on(async { Instance::create(engine, generation).await?.state_version().await });
    activity.end();
    outcome.map_err(|fault| format!("{} {}", fault.message, fault.printed.trim()).trim().to_owned())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Target;

    #[test]
    fn a_rejection_goes_by_content_config_and_files() {
        let source = |config: &[(&str, &str)], files: Option<&str>| Source {
            tenant: TenantId::UNNAMED,
            keys: Keys::default(),
            grants: Granted::ALL,
            http: Targets::default(),
            reuse: ReusePolicy::Always,
            name: "chat".into(),
            path: "chat.wasm".into(),
            config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            files: files.map(PathBuf::from),
            on_state_mismatch: MismatchPolicy::Close,
            handler: true,
            middleware: false,
            canary: None,
            canary_time: None,
        };
        let bare = key(&source(&[], None), "one");
        assert_eq!(bare, key(&Source { canary: Some(10), ..source(&[], None) }, "one"));
        let others = [
            (&[][..], None, "two"),
            (&[("a", "b")], None, "one"),
            (&[("a", "")], None, "one"),
            (&[], Some("a"), "one"),
        ];
        let listed = Targets::new(vec![Target::parse("api.example.com").expect("an entry")]);
        assert_ne!(bare, key(&Source { http: listed, ..source(&[], None) }, "one"));
        for (config, files, hash) in others {
            assert_ne!(bare, key(&source(config, files), hash), "{config:?} {files:?} {hash}");
        }
    }

    #[test]
    fn patch_versions_are_compatible_and_minor_ones_are_not() {
        assert!(is_compatible("0.1.0") && is_compatible("0.1.7"));
        assert!(!is_compatible("0.2.0") && !is_compatible("1.1.0"));
    }
}
