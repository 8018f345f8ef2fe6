//! From the file as it is written to the configuration as it is meant.
//!
//! Routers are flattened: prefixes are joined, middleware is gathered from the outermost level inwards. All that is
//! wrong is gathered too, so that one run of `check` shows everything.
//! Invariant: what comes out without a problem needs no further checks, plugin files apart.

pub(super) mod plugins;
mod server;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::raw::{self, Text};
use super::{
    CapacityConfig, CompressionConfig, Config, Fixed, Keys, PluginConfig, Problem, RoomConfig, RouteConfig,
    StaticConfig, WhenFull, line_of, rooms, tenants,
};
use crate::handshake::RouteNames;
use crate::id::TenantId;
use crate::limits::RouteLimits;
use crate::path::pattern::Pattern;
use crate::transaction::MAX_NAME;

/// The state folder of a configuration without one.
const STATE: &str = ".switchboard";
/// The control socket in the state folder, of a configuration without one.
const CONTROL: &str = "control.sock";
/// The file in the state folder that holds a store on disk.
const STORE: &str = "store.redb";
/// The most plugins in one chain: a connection notes in a word of 64 bits which gates it passed.
const MAX_MIDDLEWARE: usize = 63;
/// The longest name of a route or router: it is part of a room's name.
const MAX_ROUTE_NAME: usize = MAX_NAME - "@router/".len();

/// In which file and on which line each pattern's shape was seen first.
pub(super) type Shapes = HashMap<String, (PathBuf, usize)>;

/// What one file has of a tenant's: its own of the main file, the unnamed one's.
#[derive(Default)]
pub(super) struct Found {
    pub(super) plugins: BTreeMap<String, PluginConfig>,
    pub(super) routes: Vec<RouteConfig>,
    pub(super) rooms: Vec<RoomConfig>,
    pub(super) problems: Vec<Problem>,
}

/// The levels of a file that routes lie in, outermost first.
pub(super) struct Outermost<'a> {
    pub(super) prefix: String,
    pub(super) middleware: &'a [Text],
    pub(super) origins: Option<&'a [Text]>,
}

/// What the routers around a route add to it.
#[derive(Clone, Default)]
struct Scope {
    prefix: String,
    routers: Vec<String>,
    middleware: Vec<String>,
    origins: Vec<String>,
}

pub(super) struct Resolver<'a> {
    text: &'a str,
    file: &'a Path,
    folder: PathBuf,
    pub(super) tenant: TenantId,
    /// Whose signature the files of its plugins need.
    keys: Keys,
    pub(super) plugins: BTreeMap<String, PluginConfig>,
    pub(super) routes: Vec<RouteConfig>,
    /// Where each pattern's shape was seen first, under the hosts that this file's routes are found by.
    pub(super) shapes: Shapes,
    /// On which line each name was seen first.
    names: HashMap<String, usize>,
    /// What a route without its own has.
    pub(super) idle_ms: u64,
    pub(super) problems: Vec<Problem>,
}

/// Checks and flattens.
pub fn resolve(raw: raw::File, text: &str, file: &Path) -> Result<Config, Vec<Problem>> {
    let server = raw.server;
    let mut resolver = Resolver::new((text, file), TenantId::UNNAMED);
    let (workers, limits) = resolver.server(&server);
    let (listen, tls) = resolver.listen(&server);
    resolver.idle_ms = limits.idle_ms;
    let outermost = Outermost { prefix: String::new(), middleware: &raw.middleware, origins: raw.origins.as_deref() };
    resolver.signers(&server.keys);
    resolver.plugins(raw.plugins);
    resolver.routes(&outermost, raw.router, raw.route);
    let rooms = resolver.rooms(&raw.room);
    let statics = raw.statics.iter().map(|entry| resolver.static_files(entry)).collect();
    let proxies = resolver.proxies(&server);
    let watch = resolver.watch(&server);
    let state = resolver.folder.join(server.state.as_deref().unwrap_or(STATE));
    let control =
        server.control.as_deref().map_or_else(|| state.join(CONTROL), |control| resolver.folder.join(control));
    let store = resolver.is_on_disk(server.store.as_ref()).then(|| state.join(STORE));
    let tenants_folder = resolver.tenants_folder(server.tenants.as_ref());
    let Resolver { folder, plugins, routes, problems, shapes, .. } = resolver;
    let mut found = Found { plugins, routes, rooms, problems };
    let tenants = tenants::resolve(tenants_folder.as_deref(), (&limits, shapes), &mut found);
    let Found { plugins, routes, rooms, problems } = found;
    if !problems.is_empty() {
        return Err(problems);
    }
    let fixed = Fixed::new((&listen, tls.as_ref()), workers, [&state, &control], (watch, store.is_some()), &limits);
    let (file, removed_routes) = (file.to_owned(), server.removed_routes);
    Ok(Config {
        file,
        folder,
        listen,
        tls,
        workers,
        state,
        control,
        watch,
        store,
        proxies,
        limits,
        fixed,
        removed_routes,
        tenants,
        tenants_folder,
        plugins,
        routes,
        rooms,
        statics,
    })
}

/// The folder that paths in the file are relative to.
fn folder_of(file: &Path) -> PathBuf {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    std::path::absolute(&folder).unwrap_or(folder)
}

impl<'a> Resolver<'a> {
    /// Of a file, nothing so far. What is in it belongs to this tenant.
    pub(super) fn new((text, file): (&'a str, &'a Path), tenant: TenantId) -> Self {
        let (keys, plugins, routes, shapes, names, idle_ms, problems) = Default::default();
        let folder = folder_of(file);
        Self { text, file, folder, tenant, keys, plugins, routes, shapes, names, idle_ms, problems }
    }

    pub(super) fn problem<T>(&mut self, at: &Spanned<T>, key: &str, message: impl Into<String>) {
        let (file, line) = (self.file.to_owned(), line_of(self.text, &at.span()));
        self.problems.push(Problem { file, line, key: key.to_owned(), message: message.into() });
    }

    /// All routes of the file, in whatever routers they lie.
    pub(super) fn routes(&mut self, outermost: &Outermost<'_>, routers: Vec<raw::Router>, routes: Vec<raw::Route>) {
        let middleware = self.middleware(outermost.middleware);
        let origins = self.origins(&Scope::default(), outermost.origins);
        let scope = Scope { prefix: outermost.prefix.clone(), middleware, origins, ..Scope::default() };
        self.level(routers, routes, &scope);
    }

    /// A plugin's name beside those of other tenants.
    fn full_name(&self, name: &str) -> String {
        match self.tenant.name() {
            "" => name.to_owned(),
            tenant => format!("{tenant}/{name}"),
        }
    }

    fn level(&mut self, routers: Vec<raw::Router>, routes: Vec<raw::Route>, scope: &Scope) {
        for route in &routes {
            self.route(route, scope);
        }
        for router in routers {
            let inner = self.router(&router, scope);
            self.level(router.router, router.route, &inner);
        }
    }

    /// What a router adds. Its mount path, where it has one, stands in place of its prefix.
    fn router(&mut self, router: &raw::Router, outer: &Scope) -> Scope {
        self.name(&router.name, "router");
        let (key, own) = match (&router.mount, &router.prefix) {
            (Some(mount), _) => ("mount", Some(mount)),
            (None, prefix) => ("prefix", prefix.as_ref()),
        };
        let mut inner = outer.clone();
        if let Some(own) = own {
            inner.prefix.push_str(&self.prefix(own, key));
        }
        inner.routers.push(router.name.as_ref().clone());
        inner.middleware.extend(self.middleware(&router.middleware));
        inner.origins = self.origins(outer, router.origins.as_deref());
        inner
    }

    fn prefix(&mut self, prefix: &Text, key: &str) -> String {
        let text = prefix.as_ref().trim_end_matches('/');
        if !text.is_empty() && !text.starts_with('/') {
            self.problem(prefix, key, format!("`{text}` must begin with '/'"));
        }
        text.to_owned()
    }

    fn route(&mut self, route: &raw::Route, scope: &Scope) {
        let whole = format!("{}{}", scope.prefix, route.path.as_ref());
        let pattern = match Pattern::parse(&whole) {
            Ok(pattern) => pattern,
            Err(reason) => return self.problem(&route.path, "path", reason),
        };
        self.unique(&route.path, pattern.shape());
        if let Some(name) = &route.name {
            self.name(name, "route");
        }
        let name = route.name.as_ref().map_or(&whole, |name| name.as_ref());
        let mut middleware = scope.middleware.clone();
        middleware.extend(self.middleware(&route.middleware));
        if middleware.len() > MAX_MIDDLEWARE {
            self.problem(&route.path, "middleware", format!("a chain has at most {MAX_MIDDLEWARE} plugins"));
        }
        let names = RouteNames { tenant: self.tenant, route: name.clone(), routers: scope.routers.clone() };
        let handler = self.plugin(&route.handler, "handler");
        let origins = self.origins(scope, route.origins.as_deref());
        let capacity = self.capacity(route);
        let idle = route.idle_ms.unwrap_or(self.idle_ms);
        let idle = (idle > 0).then(|| Duration::from_millis(idle));
        let (compression, limits) = (self.compression(route), self.route_limits(route));
        self.routes.push(RouteConfig {
            names: Arc::new(names),
            pattern,
            middleware,
            handler,
            origins,
            idle,
            capacity,
            slow: route.slow,
            compression,
            limits,
        });
    }

    fn route_limits(&mut self, route: &raw::Route) -> RouteLimits {
        let Some(limits) = &route.limits else { return RouteLimits::default() };
        if let Some((key, reason)) = limits.as_ref().over(&Arc::default()).problem() {
            self.problem(limits, key, reason);
        }
        limits.as_ref().clone()
    }

    fn capacity(&mut self, route: &raw::Route) -> Option<CapacityConfig> {
        let when_full = route.when_full.as_ref().map(|value| self.when_full(value)).unwrap_or_default();
        match (&route.max_connections, &route.when_full) {
            (Some(most), _) if *most.as_ref() == 0 => {
                self.problem(most, "max-connections", "must be at least 1; leave it out for as many as come");
            }
            (None, Some(value)) => self.problem(value, "when-full", "has no meaning without `max-connections`"),
            _ => {}
        }
        route.max_connections.as_ref().map(|most| CapacityConfig { connections: *most.as_ref(), when_full })
    }

    fn compression(&mut self, route: &raw::Route) -> Option<CompressionConfig> {
        let value = route.compression.as_ref()?;
        CompressionConfig::read(value.as_ref()).unwrap_or_else(|reason| {
            self.problem(value, "compression", reason);
            None
        })
    }

    fn when_full(&mut self, value: &Spanned<toml::Value>) -> WhenFull {
        WhenFull::read(value.as_ref()).unwrap_or_else(|reason| {
            self.problem(value, "when-full", reason);
            WhenFull::default()
        })
    }

    fn unique(&mut self, path: &Text, shape: String) {
        let line = line_of(self.text, &path.span());
        match self.shapes.get(&shape) {
            Some((file, first)) => {
                let elsewhere = if file == self.file { String::new() } else { format!(" of {}", file.display()) };
                let message = format!(
                    "the route on line {first}{elsewhere} has the same pattern; a path can lead to one route only"
                );
                self.problem(path, "path", message);
            }
            None => drop(self.shapes.insert(shape, (self.file.to_owned(), line))),
        }
    }

    fn name(&mut self, name: &Text, of: &str) {
        let text = name.as_ref();
        if text.is_empty() || text.len() > MAX_ROUTE_NAME {
            self.problem(name, "name", format!("a name has 1 to {MAX_ROUTE_NAME} bytes"));
        }
        let line = line_of(self.text, &name.span());
        if let Some(first) = self.names.insert(format!("{of}/{text}"), line) {
            self.problem(name, "name", format!("the {of} on line {first} has the same name, and so the same room"));
        }
    }

    fn middleware(&mut self, names: &[Text]) -> Vec<String> {
        names.iter().map(|name| self.plugin(name, "middleware")).collect()
    }

    fn plugin(&mut self, name: &Text, key: &str) -> String {
        let full = self.full_name(name.as_ref());
        if !self.plugins.contains_key(&full) {
            let known: Vec<_> = self.plugins.keys().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("there is no plugin `{}`; there are: {known}", name.as_ref());
            self.problem(name, key, message);
        }
        full
    }

    /// A level that lists origins replaces what the levels around it list.
    fn origins(&mut self, outer: &Scope, own: Option<&[Text]>) -> Vec<String> {
        let Some(own) = own else { return outer.origins.clone() };
        for origin in own {
            if !is_origin(origin.as_ref()) {
                let message = format!("`{}` is not an origin; write it like `https://example.com`", origin.as_ref());
                self.problem(origin, "origins", message);
            }
        }
        own.iter().map(|origin| origin.as_ref().to_ascii_lowercase()).collect()
    }

    pub(super) fn rooms(&mut self, raw: &[raw::Room]) -> Vec<RoomConfig> {
        let (rooms, wrong) = rooms::resolve((self.tenant, raw), |span| line_of(self.text, span));
        let problem = |(span, key, message): rooms::Wrong| Problem {
            file: self.file.to_owned(),
            line: line_of(self.text, &span),
            key: key.into(),
            message,
        };
        self.problems.extend(wrong.into_iter().map(problem));
        rooms
    }

    fn static_files(&mut self, entry: &raw::Static) -> StaticConfig {
        let path = self.prefix(&entry.path, "path");
        StaticConfig { path, folder: self.folder(&entry.folder, "folder") }
    }

    /// A folder that has to be there.
    fn folder(&mut self, folder: &Text, key: &str) -> PathBuf {
        let path = self.folder.join(folder.as_ref());
        if !path.is_dir() {
            self.problem(folder, key, format!("{} is not a folder", path.display()));
        }
        path
    }
}

fn is_origin(origin: &str) -> bool {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    origin == "*" || rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '*', ' ', '@']))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Keep, RoomPattern};
    use super::*;
    use crate::config::{ForwardedHeader, ProxiesConfig, SlowPolicy};
    use crate::message::CloseFrame;

    const PLUGINS: &str = "[plugins.echo]\npath = 'echo.wasm'\n[plugins.log]\npath = 'log.wasm'\n";

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        let parsed = Config::parse(text, Path::new("/etc/switchboard.toml"));
        parsed.map_err(|error| error.to_string().lines().map(str::to_owned).collect())
    }

    fn wrong(text: &str) -> String {
        parse(text).expect_err("it is wrong").join("\n")
    }

    #[test]
    fn the_folder_of_a_plugin_has_to_be_there() {
        let with = |files: &Path| parse(&format!("[plugins.echo]\npath = 'echo.wasm'\nfiles = '{}'", files.display()));
        let folder = std::env::temp_dir();
        assert_eq!(with(&folder).expect("it is right").plugins["echo"].files, Some(folder));
        let problem = with(Path::new("data")).expect_err("it is wrong");
        assert_eq!(problem, ["/etc/switchboard.toml:3:files: /etc/data is not a folder"]);
    }

    #[test]
    fn routers_nest_and_middleware_is_gathered_from_the_outermost_inwards() {
        let text = format!(
            "middleware = ['log']\n{PLUGINS}
            [[router]]\nname = 'api'\nprefix = '/api'\nmiddleware = ['echo']
            [[router.router]]\nname = 'v1'\nprefix = '/v1/'
            [[router.router.route]]\nname = 'ws'\npath = '/ws/{{id:int}}'\nhandler = 'echo'\nmiddleware = ['log']"
        );
        let config = parse(&text).expect("it is right");
        let route = &config.routes[0];
        assert_eq!(route.pattern.to_string(), "/api/v1/ws/{id:int}");
        assert_eq!(route.middleware, ["log", "echo", "log"]);
        assert_eq!((route.names.route.as_str(), route.names.routers.len()), ("ws", 2));
        assert_eq!(config.plugins["echo"].path, Path::new("/etc/echo.wasm"));
    }

    #[test]
    fn a_mount_path_replaces_the_prefix() {
        let text = format!(
            "{PLUGINS}[[router]]\nname = 'chat'\nprefix = '/chat'\nmount = '/v2'
            [[router.route]]\npath = '/ws'\nhandler = 'echo'"
        );
        let config = parse(&text).expect("it is right");
        assert_eq!(config.routes[0].pattern.to_string(), "/v2/ws");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = wrong("[server]\nlisten = '127.0.0.1:1'\nlisen = 'x'\n");
        assert!(error.starts_with("/etc/switchboard.toml:3:lisen: unknown key `lisen`"), "{error}");
    }

    #[test]
    fn every_problem_is_reported_with_line_and_key() {
        let text = format!(
            "{PLUGINS}[[route]]\npath = '/a'\nhandler = 'nope'\n[[route]]\npath = '/a'\nhandler = 'echo'\n[[route]]\npath = '/{{x'\nhandler = 'echo'\norigins = ['example.com']\n"
        );
        let error = wrong(&text);
        assert!(error.contains(":7:handler: there is no plugin `nope`; there are: echo, log"), "{error}");
        assert!(error.contains(":9:path: the route on line 6 has the same pattern"), "{error}");
        assert!(error.contains(":12:path:"), "{error}");
    }

    #[test]
    fn origins_of_an_inner_level_replace_those_of_the_outer() {
        let text = format!(
            "origins = ['https://a.example']\n{PLUGINS}[[route]]\npath = '/a'\nhandler = 'echo'\n[[route]]\npath = '/b'\nhandler = 'echo'\norigins = ['*']"
        );
        let config = parse(&text).expect("it is right");
        assert_eq!(config.routes[0].origins, ["https://a.example"]);
        assert_eq!(config.routes[1].origins, ["*"]);
    }

    #[test]
    fn rooms_that_could_be_kept_in_two_ways_are_refused() {
        let text = "[[room]]\nname = 'chat/*'\nkeep = 10\n[[room]]\nname = 'chat/lobby'\nkeep = 0\n[[room]]\nname = '@all'\nkeep = 1\n";
        let error = wrong(text);
        assert!(error.contains(":5:name: the room on line 2 can have the same name"), "{error}");
        assert!(error.contains(":6:keep: must be at least 1"), "{error}");
        assert!(error.contains(":8:name: rooms that begin with '@' belong to the host"), "{error}");
        let rooms =
            parse("[[room]]\nname = 'a*'\nkeep = 3\nkeep-bytes = 9\nkeep-ms = 1500").expect("it is right").rooms;
        let keep = Keep { messages: 3, bytes: 9, time: Duration::from_millis(1500) };
        assert_eq!(rooms, [RoomConfig { tenant: TenantId::UNNAMED, pattern: RoomPattern::Prefix("a".into()), keep }]);
    }

    #[test]
    fn a_route_may_be_limited_to_so_many_connections() {
        let route = format!("{PLUGINS}[[route]]\npath = '/a'\nhandler = 'echo'\n");
        let capacity = |keys: &str| parse(&format!("{route}{keys}")).expect("it is right").routes[0].capacity.clone();
        assert_eq!(capacity(""), None);
        let refused = |when_full| Some(CapacityConfig { connections: 2, when_full });
        assert_eq!(capacity("max-connections = 2"), refused(WhenFull::default()));
        let full = capacity("max-connections = 2\nwhen-full = '1008 Server at capacity'");
        assert_eq!(full, refused(WhenFull::Close(CloseFrame::new(1008, "Server at capacity"))));
        for (keys, error) in [
            ("max-connections = 0", ":8:max-connections: must be at least 1"),
            ("max-connections = -1", ":8:max-connections: "),
            ("when-full = 503", ":8:when-full: has no meaning without `max-connections`"),
            ("max-connections = 2\nwhen-full = 200", ":9:when-full: a status that refuses is 400 to 599"),
            ("max-connections = 2\nwhen-full = '1006'", ":9:when-full: the code 1006 may not be sent"),
            ("max-connections = 2\nwhen-full = []", ":9:when-full: write a status"),
        ] {
            let wrong = wrong(&format!("{route}{keys}"));
            assert!(wrong.contains(error), "{keys}: {wrong}");
        }
    }

    #[test]
    fn a_route_says_what_happens_to_slow_consumers() {
        let route = format!("{PLUGINS}[[route]]\npath = '/a'\nhandler = 'echo'\n");
        let slow = |key: &str| parse(&format!("{route}{key}")).expect("it is right").routes[0].slow;
        assert_eq!(slow(""), SlowPolicy::Close);
        assert_eq!(slow("slow = 'close'"), SlowPolicy::Close);
        assert_eq!(slow("slow = 'drop-oldest'"), SlowPolicy::DropOldest);
        assert_eq!(slow("slow = 'drop-newest'"), SlowPolicy::DropNewest);
        let error = wrong(&format!("{route}slow = 'drop'"));
        assert!(error.contains(":8:slow: ") && error.contains("drop-oldest"), "{error}");
    }

    #[test]
    fn proxies_are_trusted_by_address_and_network() {
        let proxies = |keys: &str| parse(&format!("[server]\n{keys}")).expect("it is right").proxies;
        assert_eq!(proxies(""), ProxiesConfig::default());
        let all = proxies("trusted-proxies = ['10.0.0.0/8', '::1']\nforwarded = 'none'\nproxy-protocol = true");
        assert_eq!((all.trusted.len(), all.forwarded, all.protocol), (2, ForwardedHeader::None, true));
        let default = proxies("trusted-proxies = ['127.0.0.1']");
        assert_eq!((default.forwarded, default.protocol), (ForwardedHeader::XForwardedFor, false));
        for (keys, error) in [
            ("trusted-proxies = ['::1',\n'lb.example']", ":3:trusted-proxies: `lb.example` is no address"),
            ("trusted-proxies = ['10.0.0.0/33']", ":2:trusted-proxies: `10.0.0.0/33` is no address"),
            ("proxy-protocol = true", ":2:proxy-protocol: has no meaning without `trusted-proxies`"),
            ("forwarded = 'forwarded'", ":2:forwarded: has no meaning without `trusted-proxies`"),
            ("trusted-proxies = ['::1']\nforwarded = 'via'", ":3:forwarded: unknown variant `via`"),
        ] {
            let wrong = wrong(&format!("[server]\n{keys}"));
            assert!(wrong.contains(error), "{keys}: {wrong}");
        }
    }

    #[test]
    fn limits_are_checked_as_a_whole() {
        let error = wrong("[server.limits]\neffects = 0");
        assert!(error.contains(":1:effects: must be at least 1"), "{error}");
        assert!(wrong("[server.limits]\neffect = 1").contains(":2:effect: unknown key"));
    }

    #[test]
    fn the_store_is_in_memory_unless_it_is_on_disk() {
        let file = |text| parse(text).expect("it is right").store;
        assert_eq!((file(""), file("[server]\nstore = 'memory'")), (None, None));
        let on_disk = file("[server]\nstore = 'disk'\nstate = 'kept'");
        assert_eq!(on_disk.as_deref(), Some(Path::new("/etc/kept/store.redb")));
        let error = wrong("[server]\nlisten = '127.0.0.1:1'\nstore = 'file'");
        assert_eq!(error, "/etc/switchboard.toml:3:store: `file` is no place for the store; write `memory` or `disk`");
    }

    #[test]
    fn a_bad_address_says_what_a_good_one_looks_like() {
        assert!(wrong("[server]\nlisten = 'nowhere'").contains(":2:listen: `nowhere` is not an address"));
    }
}
