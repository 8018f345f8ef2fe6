//! Routes: from the path of a request to a route and what its pattern captured.
//!
//! Built from the configuration, read by `server/upgrade`; knows nothing of sockets and plugins.
//! Invariant: a path leads to one route, the most specific one, whatever the order in the file.

pub mod capacity;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use self::capacity::Capacity;
use crate::config::{CompressionConfig, RouteConfig, SlowPolicy, TenantConfig};
use crate::handshake::RouteNames;
use crate::id::TenantId;
use crate::limits::{Limits, RouteLimits};
use crate::path::pattern::Pattern;
use crate::slot::Taken;
use crate::tenants::{Tenant, Tenants};

/// Which route: an index into the list of all.
pub type RouteIndex = usize;

/// What a pattern captured, decoded: names and values in the pattern's order.
pub type Captures = Vec<(String, String)>;

/// A route as the server uses it.
#[derive(Debug)]
pub struct Route {
    /// Its place in the list of all.
    pub index: RouteIndex,
    /// Whose it is, and so whose limits apply.
    pub tenant: Arc<Tenant>,
    /// Names for rooms and logs.
    pub names: Arc<RouteNames>,
    /// Names of plugins, outermost first.
    pub middleware: Vec<String>,
    /// The plugin that handles it.
    pub handler: String,
    /// Origins that may connect beside the server's own host.
    pub origins: Vec<String>,
    /// The time without a message after which a connection is closed; none for never.
    pub idle: Option<Duration>,
    /// Its slots.
    pub capacity: Capacity,
    /// What happens when one of its clients reads too slowly.
    pub slow: SlowPolicy,
    /// How messages are compressed, with clients that can.
    pub compression: Option<CompressionConfig>,
    limits: RouteLimits,
    pattern: Pattern,
}

impl Route {
    /// What a connection of it that is opened now may do: its own limits, and for the rest its tenant's.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.over(&self.tenant.limits())
    }
}

/// All routes.
pub struct Routes {
    routes: Vec<Arc<Route>>,
    /// By route, those included that were removed and may still have connections.
    counters: HashMap<RouteKey, Weak<Taken>>,
    /// The tenant that has a host to itself.
    hosts: HashMap<String, TenantId>,
    /// Those of tenants that have hosts, and under the unnamed one all others.
    matchers: HashMap<TenantId, Matcher>,
}

/// A route's name, and whose it is.
type RouteKey = (TenantId, String);

type Matcher = matchit::Router<Vec<RouteIndex>>;

impl Routes {
    /// Builds the table.
    /// A route that the table before had under the same name goes on counting its connections.
    pub fn new(
        configs: &[RouteConfig],
        (known, tenants): (&Tenants, &[TenantConfig]),
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let mut counters = before.map(|before| before.counters.clone()).unwrap_or_default();
        counters.retain(|_, taken| taken.strong_count() > 0);
        let taken = |config: &RouteConfig| {
            let key = (config.names.tenant, config.names.route.clone());
            counters.get(&key).and_then(Weak::upgrade).unwrap_or_default()
        };
        let routes = configs.iter().enumerate();
        let routes = routes.map(|(index, config)| route(index, config, (known.of(config.names.tenant), taken(config))));
        let routes: Vec<_> = routes.collect();
        let counted = |route: &Arc<Route>| (route.key(), Arc::downgrade(route.capacity.taken()));
        counters.extend(routes.iter().map(counted));
        let hosts = tenants.iter().flat_map(|tenant| tenant.hosts.iter().map(|host| (host.clone(), tenant.id)));
        let hosts: HashMap<_, _> = hosts.collect();
        let mut apart: HashMap<TenantId, Vec<&Arc<Route>>> =
            hosts.values().map(|tenant| (*tenant, Vec::new())).collect();
        let mut shared = Vec::new();
        for route in &routes {
            apart.get_mut(&route.tenant.id()).unwrap_or(&mut shared).push(route);
        }
        apart.insert(TenantId::UNNAMED, shared);
        let matchers = apart.into_iter().map(|(tenant, own)| Ok((tenant, matcher(&own)?)));
        let matchers = matchers.collect::<Result<_, String>>()?;
        Ok(Self { routes, counters, hosts, matchers })
    }

    /// The tenant that has a host to itself, and the unnamed one for all other hosts. `host` is as clients write it, with or
    /// without a port.
    pub fn owner(&self, host: &str) -> TenantId {
        if self.hosts.is_empty() {
            return TenantId::UNNAMED;
        }
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let name = name.map_or(host, |(name, _)| name).trim_end_matches('.').to_ascii_lowercase();
        self.hosts.get(&name).copied().unwrap_or_default()
    }

    /// The route of a normalized path on the hosts of this owner, with its decoded captures.
    pub fn find(&self, owner: TenantId, path: &str) -> Option<(&Arc<Route>, Captures)> {
        let found = self.matchers.get(&owner)?.at(path).ok()?;
        found.value.iter().find_map(|index| {
            let route = &self.routes[*index];
            let captures = route.pattern.captures(found.params.iter().map(|(_, value)| value))?;
            Some((route, captures))
        })
    }

    /// Whether a tenant has a route of this name.
    pub fn has(&self, tenant: TenantId, name: &str) -> bool {
        self.routes.iter().any(|route| route.tenant.id() == tenant && route.names.route == name)
    }

    /// All routes, in the order of the file.
    pub fn all(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

impl Route {
    /// The pattern, as written.
    pub fn pattern(&self) -> String {
        self.pattern.to_string()
    }

    fn key(&self) -> RouteKey {
        (self.tenant.id(), self.names.route.clone())
    }
}

/// Finds the most specific of these routes. Their patterns were checked, so what cannot be inserted is told by its pattern.
fn matcher(routes: &[&Arc<Route>]) -> Result<Matcher, String> {
    let mut forms: Vec<(String, Vec<&Arc<Route>>)> = Vec::new();
    for route in routes {
        let form = route.pattern.matcher();
        match forms.iter_mut().find(|(known, _)| *known == form) {
            Some((_, candidates)) => candidates.push(route),
            None => forms.push((form, vec![route])),
        }
    }
    let mut matcher = Matcher::new();
    for (form, mut candidates) in forms {
        candidates.sort_by_key(|route| route.pattern.kinds());
        let shown = candidates[0].pattern.to_string();
        let candidates = candidates.iter().map(|route| route.index).collect();
        matcher.insert(form, candidates).map_err(|error| format!("route {shown}: {error}"))?;
    }
    Ok(matcher)
}

fn route(index: RouteIndex, config: &RouteConfig, (tenant, taken): (Arc<Tenant>, Arc<Taken>)) -> Arc<Route> {
    Arc::new(Route {
        index,
        tenant,
        names: config.names.clone(),
        middleware: config.middleware.clone(),
        handler: config.handler.clone(),
        origins: config.origins.clone(),
        idle: config.idle,
        capacity: Capacity::new(config.capacity.clone(), taken),
        slow: config.slow,
        compression: config.compression,
        limits: config.limits.clone(),
        pattern: config.pattern.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::tenants::Terms;

    fn config(pattern: &&str) -> RouteConfig {
        RouteConfig {
            names: Arc::new(RouteNames { route: (*pattern).to_owned(), ..RouteNames::default() }),
            pattern: Pattern::parse(pattern).expect("a good pattern"),
            middleware: Vec::new(),
            handler: "echo".into(),
            origins: Vec::new(),
            idle: None,
            capacity: None,
            slow: SlowPolicy::default(),
            compression: None,
            limits: RouteLimits::default(),
        }
    }

    fn routes(patterns: &[&str]) -> Routes {
        after(&patterns.iter().map(config).collect::<Vec<_>>(), None)
    }

    fn after(configs: &[RouteConfig], before: Option<&Routes>) -> Routes {
        Routes::new(configs, (&Tenants::new(&Limits::default()), &[]), before).expect("they fit together")
    }

    fn find(routes: &Routes, path: &str) -> Option<(String, Vec<(String, String)>)> {
        routes.find(TenantId::UNNAMED, path).map(|(route, captures)| (route.pattern(), captures))
    }

    #[test]
    fn the_most_specific_route_is_found_whatever_the_order() {
        let routes = routes(&["/x/{name}", "/x/{id:int}", "/x/me", "/files/{rest:path}", "/a/{b}/c", "/a/{d}/e"]);
        let pattern = |path| find(&routes, path).map(|found| found.0);
        assert_eq!(pattern("/x/42").as_deref(), Some("/x/{id:int}"));
        assert_eq!(pattern("/x/abc").as_deref(), Some("/x/{name}"));
        assert_eq!(pattern("/x/me").as_deref(), Some("/x/me"));
        assert_eq!(pattern("/a/1/e").as_deref(), Some("/a/{d}/e"));
        assert_eq!(find(&routes, "/files/a/b%20c").map(|f| f.1), Some(vec![("rest".into(), "a/b c".into())]));
    }

    #[test]
    fn what_does_not_fit_is_not_found() {
        let routes = routes(&["/x/{id:int}", "/chat"]);
        for path in ["/x/abc", "/x/", "/x", "/chatroom/x", "/chat/", "/", "/x/1/2"] {
            assert!(find(&routes, path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_route_counts_on_under_the_next_table_also_after_it_was_away() {
        let first = routes(&["/a", "/b"]);
        let slot = first.all()[0].capacity.take().expect("as many as come");
        let taken = |routes: &Routes, index: usize| routes.all()[index].capacity.taken().load(Ordering::SeqCst);
        let without = after(&[config(&"/b")], Some(&first));
        drop(first);
        let again = after(&[config(&"/b"), config(&"/a")], Some(&without));
        assert_eq!((taken(&again, 0), taken(&again, 1)), (0, 1));
        drop(slot);
        assert_eq!(taken(&again, 1), 0);
        assert!(again.has(TenantId::UNNAMED, "/a") && !without.has(TenantId::UNNAMED, "/a"));
    }

    #[test]
    fn captures_are_decoded() {
        let routes = routes(&["/ws/{room}"]);
        assert_eq!(find(&routes, "/ws/caf%C3%A9").map(|f| f.1), Some(vec![("room".into(), "café".into())]));
        assert_eq!(find(&routes, "/ws/a%2Fb").map(|f| f.1), Some(vec![("room".into(), "a/b".into())]));
    }

    #[test]
    fn a_host_of_a_tenant_leads_to_its_routes_only() {
        let acme = TenantId::named("acme");
        let hosts = vec!["acme.example".to_owned()];
        let (file, limits) = (Default::default(), Limits::default());
        let tenants = [TenantConfig { id: acme, file, hosts, suspended: false, limits }];
        let known = Tenants::new(&Limits::default());
        known.introduce(vec![Terms { id: acme, limits: Limits::default(), suspended: false }]);
        let names = Arc::new(RouteNames { tenant: acme, route: "/ws".into(), ..RouteNames::default() });
        let own = RouteConfig { names, ..config(&"/ws") };
        let routes = Routes::new(&[config(&"/ws"), config(&"/all"), own], (&known, &tenants), None);
        let routes = routes.expect("they fit together");
        let owner = |host, path| {
            let (route, _) = routes.find(routes.owner(host), path)?;
            Some(route.tenant.id().name())
        };
        for host in ["acme.example", "ACME.example:8080", "acme.example."] {
            assert_eq!((owner(host, "/ws"), owner(host, "/all")), (Some("acme"), None), "{host}");
        }
        for host in ["example", "x.acme.example", "", "[::1]:80"] {
            assert_eq!((owner(host, "/ws"), owner(host, "/all")), (Some(""), Some("")), "{host}");
        }
    }
}
