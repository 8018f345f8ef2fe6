//! The plan: what one configuration has the server do, and how one worker carries it out.
//!
//! A plan is made whole by `app`, from a configuration and its plugins, and read as one snapshot: a request that began
//! under it ends under it. Each worker lays it out for itself, since chains and their pools stay on one thread.
//! Invariant: every plugin that a route names is in the plan.

use std::rc::Rc;
use std::sync::Arc;

use crate::chain::Chain;
use crate::config::{Config, ProxiesConfig, RemovedRoutes, StaticConfig};
use crate::engine::plugin::Plugin;
use crate::engine::pool::Pool;
use crate::engine::registry::{Plugins, Registry};
use crate::routes::{Route, Routes};

/// What all workers do under one configuration.
pub struct Plan {
    /// The routes.
    pub routes: Routes,
    /// The files.
    pub statics: Vec<StaticConfig>,
    /// Whose word on a client's address is taken.
    pub proxies: ProxiesConfig,
    /// By name.
    pub plugins: Plugins,
    /// What becomes of connections of routes that are not in this plan.
    removed_routes: RemovedRoutes,
}

impl Plan {
    /// The plan of a configuration with these plugins, in succession to another one.
    pub fn new(config: &Config, plugins: Plugins, before: Option<&Self>) -> Result<Self, String> {
        Ok(Self {
            routes: Routes::new(&config.routes, before.map(|before| &before.routes))?,
            statics: config.statics.clone(),
            proxies: config.proxies.clone(),
            plugins,
            removed_routes: config.removed_routes,
        })
    }

    /// Whether connections that came through the route of this name are to be closed.
    pub fn closes(&self, route: &str) -> bool {
        self.removed_routes == RemovedRoutes::Close && !self.routes.has(route)
    }
}

/// A plan with the chains of one worker.
pub struct Layout {
    /// What is carried out.
    pub plan: Arc<Plan>,
    /// By route.
    chains: Vec<Rc<Chain>>,
}

impl Layout {
    /// Lays a plan out with the pools that this function finds or makes.
    pub fn new(plan: Arc<Plan>, registry: &Arc<Registry>, mut pool: impl FnMut(&Arc<Plugin>) -> Rc<Pool>) -> Self {
        let mut find = |name: &String| {
            pool(plan.plugins.get(name.as_str()).expect("a configuration names only plugins that it has"))
        };
        let mut chain = |route: &Arc<Route>| {
            let middleware = route.middleware.iter().map(&mut find).collect();
            Rc::new(Chain::new(route.clone(), middleware, find(&route.handler), registry.clone()))
        };
        let chains = plan.routes.all().iter().map(&mut chain).collect();
        Self { plan, chains }
    }

    /// The chain of a route of this plan.
    pub fn chain(&self, route: &Route) -> Rc<Chain> {
        self.chains[route.index].clone()
    }
}
