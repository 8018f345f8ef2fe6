//! Routes: from the path of a request to a route and what its pattern captured.
//!
//! Built from the configuration, read by `server/upgrade`; knows nothing of sockets and plugins.
//! Invariant: a path leads to one route, the most specific one, whatever the order in the file.

pub mod capacity;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use self::capacity::{Capacity, Taken};
use crate::config::{RouteConfig, SlowPolicy};
use crate::handshake::RouteNames;
use crate::path::pattern::Pattern;

/// Which route: an index into the list of all.
pub type RouteIndex = usize;

/// What a pattern captured, decoded: names and values in the pattern's order.
pub type Captures = Vec<(String, String)>;

/// A route as the server uses it.
#[derive(Debug)]
pub struct Route {
    /// Its place in the list of all.
    pub index: RouteIndex,
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
    pattern: Pattern,
}

/// All routes.
pub struct Routes {
    routes: Vec<Arc<Route>>,
    /// By route, those included that were removed and may still have connections.
    counters: HashMap<String, Weak<Taken>>,
    matcher: matchit::Router<Vec<RouteIndex>>,
}

impl Routes {
    /// Builds the table. Patterns were checked with the configuration, so what cannot be inserted is told by its pattern.
    /// A route that the table before had under the same name goes on counting its connections.
    pub fn new(configs: &[RouteConfig], before: Option<&Self>) -> Result<Self, String> {
        let mut counters = before.map(|before| before.counters.clone()).unwrap_or_default();
        counters.retain(|_, taken| taken.strong_count() > 0);
        let taken =
            |config: &RouteConfig| counters.get(&config.names.route).and_then(Weak::upgrade).unwrap_or_default();
        let routes = configs.iter().enumerate().map(|(index, config)| route(index, config, taken(config)));
        let routes: Vec<_> = routes.collect();
        let counted = |route: &Arc<Route>| (route.names.route.clone(), Arc::downgrade(route.capacity.taken()));
        counters.extend(routes.iter().map(counted));
        let mut forms: Vec<(String, Vec<RouteIndex>)> = Vec::new();
        for route in &routes {
            let form = route.pattern.matcher();
            match forms.iter_mut().find(|(known, _)| *known == form) {
                Some((_, candidates)) => candidates.push(route.index),
                None => forms.push((form, vec![route.index])),
            }
        }
        let mut matcher = matchit::Router::new();
        for (form, mut candidates) in forms {
            candidates.sort_by_key(|index| routes[*index].pattern.kinds());
            let shown = routes[candidates[0]].pattern.to_string();
            matcher.insert(form, candidates).map_err(|error| format!("route {shown}: {error}"))?;
        }
        Ok(Self { routes, counters, matcher })
    }

    /// The route of a normalized path, with its decoded captures.
    pub fn find(&self, path: &str) -> Option<(&Arc<Route>, Captures)> {
        let found = self.matcher.at(path).ok()?;
        found.value.iter().find_map(|index| {
            let route = &self.routes[*index];
            let captures = route.pattern.captures(found.params.iter().map(|(_, value)| value))?;
            Some((route, captures))
        })
    }

    /// Whether there is a route of this name.
    pub fn has(&self, name: &str) -> bool {
        self.routes.iter().any(|route| route.names.route == name)
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
}

fn route(index: RouteIndex, config: &RouteConfig, taken: Arc<Taken>) -> Arc<Route> {
    Arc::new(Route {
        index,
        names: config.names.clone(),
        middleware: config.middleware.clone(),
        handler: config.handler.clone(),
        origins: config.origins.clone(),
        idle: config.idle,
        capacity: Capacity::new(config.capacity.clone(), taken),
        slow: config.slow,
        pattern: config.pattern.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn config(pattern: &&str) -> RouteConfig {
        RouteConfig {
            names: Arc::new(RouteNames { route: (*pattern).to_owned(), routers: Vec::new() }),
            pattern: Pattern::parse(pattern).expect("a good pattern"),
            middleware: Vec::new(),
            handler: "echo".into(),
            origins: Vec::new(),
            idle: None,
            capacity: None,
            slow: SlowPolicy::default(),
        }
    }

    fn routes(patterns: &[&str]) -> Routes {
        Routes::new(&patterns.iter().map(config).collect::<Vec<_>>(), None).expect("they fit together")
    }

    fn find(routes: &Routes, path: &str) -> Option<(String, Vec<(String, String)>)> {
        routes.find(path).map(|(route, captures)| (route.pattern(), captures))
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
        let without = Routes::new(&[config(&"/b")], Some(&first)).expect("they fit together");
        drop(first);
        let again = Routes::new(&[config(&"/b"), config(&"/a")], Some(&without)).expect("they fit together");
        assert_eq!((taken(&again, 0), taken(&again, 1)), (0, 1));
        drop(slot);
        assert_eq!(taken(&again, 1), 0);
        assert!(again.has("/a") && !without.has("/a"));
    }

    #[test]
    fn captures_are_decoded() {
        let routes = routes(&["/ws/{room}"]);
        assert_eq!(find(&routes, "/ws/caf%C3%A9").map(|f| f.1), Some(vec![("room".into(), "café".into())]));
        assert_eq!(find(&routes, "/ws/a%2Fb").map(|f| f.1), Some(vec![("room".into(), "a/b".into())]));
    }
}
