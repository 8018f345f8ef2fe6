//! The plan: what one configuration has the server do, and how one worker carries it out.
//!
//! A plan is made whole by `app`, from a configuration and its plugins, and read as one snapshot: a request that began
//! under it ends under it. Each worker lays it out for itself, since chains and their pools stay on one thread.
//! Invariant: every plugin that a route names is in the plan.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::chain::Chain;
use crate::config::{Config, ProxiesConfig, RemovedRoutes, StaticConfig};
use crate::engine::plugin::Plugin;
use crate::engine::pool::Pool;
use crate::engine::registry::{Plugins, Registry};
use crate::id::TenantId;
use crate::message::{CloseFrame, close};
use crate::routes::{Route, Routes};
use crate::tenants::{Tenant, Tenants};

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
    /// Those that the configuration has.
    tenants: HashSet<TenantId>,
    /// What becomes of connections of routes that are not in this plan.
    removed_routes: RemovedRoutes,
}

impl Plan {
    /// The plan of a configuration with these plugins, in succession to another one.
    pub fn new(config: &Config, (known, plugins): (&Tenants, Plugins), before: Option<&Self>) -> Result<Self, String> {
        let tenants = (known, config.tenants.as_slice());
        Ok(Self {
            routes: Routes::new(&config.routes, tenants, before.map(|before| &before.routes))?,
            tenants: config.tenants.iter().map(|tenant| tenant.id).chain([TenantId::UNNAMED]).collect(),
            statics: config.statics.clone(),
            proxies: config.proxies.clone(),
            plugins,
            removed_routes: config.removed_routes,
        })
    }

    /// Whether there are others than the unnamed tenant.
    pub fn has_tenants(&self) -> bool {
        self.tenants.len() > 1
    }

    /// How connections that came through a route are to be closed, if they are.
    pub fn closes(&self, tenant: &Tenant, route: &str) -> Option<CloseFrame> {
        let is_removed = || self.removed_routes == RemovedRoutes::Close && !self.routes.has(tenant.id(), route);
        match () {
            () if tenant.is_suspended() => Some(close::SUSPENDED),
            () if !self.tenants.contains(&tenant.id()) || is_removed() => Some(close::ROUTE_REMOVED),
            () => None,
        }
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
