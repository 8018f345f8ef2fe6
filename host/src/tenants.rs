//! Tenants while the server runs: what each may use, and what it uses.
//!
//! Made and changed by `app` from the configuration; whoever enforces a limit asks the tenant whose it is. What the main
//! configuration has belongs to the unnamed one, whose limits are the server's.
//! Invariant: one tenant is one object for as long as anything of it lives, so what it uses is counted in one place.

pub mod rates;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use crate::id::TenantId;
use crate::limits::Limits;
use crate::slot::{Slot, Taken};
use rates::Rates;

/// All tenants of a server.
pub struct Tenants {
    known: ArcSwap<HashMap<TenantId, Arc<Tenant>>>,
}

/// One tenant.
pub struct Tenant {
    id: TenantId,
    limits: ArcSwap<Limits>,
    suspended: AtomicBool,
    /// How fast its messages may come and go.
    pub rates: Rates,
    connections: Arc<Taken>,
    instances: Arc<Taken>,
    /// Outgoing HTTP requests that are on their way.
    requests: Arc<Taken>,
    /// Told when an instance ends.
    ended: Notify,
    /// How many events wait for that.
    short: AtomicUsize,
    /// How many rooms it has, implicit ones apart.
    pub rooms: AtomicUsize,
    /// Bytes of what its rooms keep, and of what slow readers still hold of it.
    pub kept: Arc<AtomicUsize>,
}

/// What a configuration says of a tenant.
pub struct Terms {
    /// Whose they are.
    pub id: TenantId,
    /// What it may use.
    pub limits: Limits,
    /// Whether it takes no connections.
    pub suspended: bool,
}

/// One live instance among those that a tenant may have. Dropped, it is given back, and who waits for one is told.
#[derive(Debug)]
pub struct Live {
    /// There until then.
    slot: Option<Slot>,
    tenant: Arc<Tenant>,
}

impl Tenants {
    /// The unnamed one, with the server's limits.
    pub fn new(limits: &Limits) -> Arc<Self> {
        let unnamed = Tenant::new(Terms { id: TenantId::UNNAMED, limits: limits.clone(), suspended: false });
        Arc::new(Self { known: ArcSwap::from_pointee(HashMap::from([(TenantId::UNNAMED, unnamed)])) })
    }

    /// The limits of the server as a whole, which are those of the unnamed one, for use now and not for keeping.
    pub fn server_limits(&self) -> Guard<Arc<Limits>> {
        self.of(TenantId::UNNAMED).limits()
    }

    /// A tenant; one that no configuration has any more may use what the server's own may.
    pub fn of(&self, id: TenantId) -> Arc<Tenant> {
        let known = self.known.load();
        let tenant = known.get(&id).or_else(|| known.get(&TenantId::UNNAMED));
        tenant.expect("the unnamed tenant is always there").clone()
    }

    /// Makes those known that are not, and changes nothing for others: their plugins are about to be loaded.
    pub fn introduce(&self, terms: Vec<Terms>) {
        let mut next = HashMap::clone(&self.known.load());
        for terms in terms {
            next.entry(terms.id).or_insert_with(|| Tenant::new(terms));
        }
        self.known.store(Arc::new(next));
    }

    /// Has these terms apply from here on. A tenant that is not among them stays for as long as anything of it lives.
    pub fn change(&self, terms: impl IntoIterator<Item = Terms>) {
        let mut next = HashMap::clone(&self.known.load());
        next.retain(|id, tenant| *id == TenantId::UNNAMED || Arc::strong_count(tenant) > 2 || tenant.is_used());
        for terms in terms {
            match next.get(&terms.id) {
                Some(tenant) => tenant.change(terms),
                None => drop(next.insert(terms.id, Tenant::new(terms))),
            }
        }
        self.known.store(Arc::new(next));
    }
}

impl Tenant {
    fn new(terms: Terms) -> Arc<Self> {
        let (rates, suspended) = (Rates::new(&terms.limits), AtomicBool::new(terms.suspended));
        let limits = ArcSwap::from_pointee(terms.limits);
        let (connections, requests, instances, ended, short, rooms, kept) = Default::default();
        Arc::new(Self {
            id: terms.id,
            limits,
            suspended,
            rates,
            connections,
            requests,
            instances,
            ended,
            short,
            rooms,
            kept,
        })
    }

    fn change(&self, terms: Terms) {
        self.rates.change(&terms.limits);
        self.limits.store(Arc::new(terms.limits));
        self.suspended.store(terms.suspended, Ordering::Relaxed);
    }

    /// Its id, and with it its name.
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// What it may use, for use now and not for keeping.
    pub fn limits(&self) -> Guard<Arc<Limits>> {
        self.limits.load()
    }

    /// Whether it takes no connections.
    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }

    /// A place for one more connection; none where it has as many as it may.
    pub fn take_place(&self) -> Option<Slot> {
        Slot::take(&self.connections, self.limits().tenant_connections)
    }

    /// A place for one more outgoing request; none where as many are on their way as may be.
    pub fn take_request(&self) -> Option<Slot> {
        Slot::take(&self.requests, self.limits().http_requests)
    }

    /// Room for one more live instance, where there is some now.
    pub fn try_live(self: &Arc<Self>) -> Option<Live> {
        let slot = Slot::take(&self.instances, self.limits().tenant_instances)?;
        Some(Live { slot: Some(slot), tenant: self.clone() })
    }

    /// Room for one more live instance, as soon as there is some.
    pub async fn live(self: &Arc<Self>) -> Live {
        let _short = Short::count(&self.short);
        loop {
            let ended = self.ended.notified();
            match self.try_live() {
                Some(live) => return live,
                None => ended.await,
            }
        }
    }

    /// Whether events wait for instances to end.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed) > 0
    }

    fn is_used(&self) -> bool {
        self.connections.load(Ordering::Relaxed) > 0
            || self.requests.load(Ordering::Relaxed) > 0
            || self.rooms.load(Ordering::Relaxed) > 0
            || self.kept.load(Ordering::Relaxed) > 0
    }
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tenant({:?})", self.id.name())
    }
}

/// Counts an event that waits, until it is dropped.
struct Short<'a>(&'a AtomicUsize);

impl<'a> Short<'a> {
    fn count(short: &'a AtomicUsize) -> Self {
        short.fetch_add(1, Ordering::Relaxed);
        Self(short)
    }
}

impl Drop for Short<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Given back first: who is told looks at once.
        drop(self.slot.take());
        self.tenant.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(tenant_connections: usize) -> Terms {
        let limits = Limits { tenant_connections, ..Limits::default() };
        Terms { id: TenantId::named("terms"), limits, suspended: false }
    }

    #[test]
    fn a_tenant_counts_on_under_its_next_terms_and_while_it_is_away() {
        let tenants = Tenants::new(&Limits::default());
        tenants.change([terms(2)]);
        let id = TenantId::named("terms");
        let first = tenants.of(id).take_place().expect("there are two");
        tenants.change([]);
        tenants.change([terms(1)]);
        assert!(tenants.of(id).take_place().is_none(), "the first still has its place");
        drop(first);
        assert!(tenants.of(id).take_place().is_some());
    }

    #[test]
    fn one_that_nothing_is_left_of_is_forgotten() {
        let tenants = Tenants::new(&Limits::default());
        tenants.change([terms(1)]);
        assert_eq!(tenants.of(TenantId::named("terms")).id(), TenantId::named("terms"));
        tenants.change([]);
        assert_eq!(tenants.of(TenantId::named("terms")).id(), TenantId::UNNAMED);
    }
}
