//! A worker: one thread with its own runtime, connections and instances.
//!
//! Sockets come from the acceptor, mail from other workers; both are served by tasks of this thread, which share what
//! is here without locks.
//! Invariant: a connection and all instances that it leases stay on one thread for their whole life.

mod drain;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::Guard;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::alarms::Alarms;
use super::listener::Accepted;
use super::plan::{Layout, Plan};
use super::{Shared, http};
use crate::clock::Clock;
use crate::engine::Abilities;
use crate::engine::pool::Pools;
use crate::engine::ticker::Activity;
use crate::fairness::Shares;
use crate::hub::inbox::Received;
use crate::hub::local::LocalHub;
use crate::id::{ConnectionIds, WorkerIndex};
use crate::limits::Limits;
use crate::metrics::{Failure, Metrics};
use crate::services::{Home, Services};

/// How many accepted sockets may wait for a worker.
const HANDED: usize = 1024;
/// How often what is over is looked for: instances of generations that are gone, values, and kept messages.
const SWEEP: Duration = Duration::from_secs(1);

/// What the tasks of one worker share.
pub struct Worker {
    /// Its side of the hub.
    pub local: Rc<LocalHub>,
    /// Names for its connections.
    pub ids: ConnectionIds,
    /// When its connections are to be woken.
    pub alarms: Alarms,
    /// Who gets how much of its time.
    pub shares: Rc<Shares>,
    shared: Arc<Shared>,
    /// The plan that was looked at last.
    layout: RefCell<Rc<Layout>>,
    pools: Pools,
    activity: Rc<Activity>,
    load: Arc<AtomicUsize>,
    /// Set once a drain took too long.
    cut: watch::Sender<bool>,
}

/// The acceptor's end of a worker.
pub struct Handle {
    sockets: mpsc::Sender<Handed>,
    load: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// A socket on its way to its worker, counted already: else all that come at once would go to the same one.
type Handed = (Accepted, Load);

/// Counts a socket as part of its worker's load until the last clone is dropped.
#[derive(Clone)]
pub struct Load {
    _counted: Arc<Counted>,
}

struct Counted(Arc<AtomicUsize>);

impl Load {
    /// How many clones there are, this one included.
    pub fn clones(&self) -> usize {
        Arc::strong_count(&self._counted)
    }
}

impl Handle {
    /// How many sockets the worker has.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Hands a socket over; one that does not fit is dropped, which the client sees as a lost connection.
    pub fn hand_over(&self, socket: Accepted) -> bool {
        self.sockets.try_send((socket, Load::count(&self.load))).is_ok()
    }

    /// Waits for the thread to end.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker panicked");
        }
    }
}

/// Starts a worker's thread.
pub fn start(shared: Arc<Shared>, index: WorkerIndex, inbox: Received) -> std::io::Result<Handle> {
    let (sender, sockets) = mpsc::channel(HANDED);
    let load = Arc::new(AtomicUsize::new(0));
    let log = tracing::dispatcher::get_default(Clone::clone);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn({
        let load = load.clone();
        move || tracing::dispatcher::with_default(&log, || run(shared, index, (sockets, inbox), load))
    })?;
    Ok(Handle { sockets: sender, load, thread: Some(thread) })
}

type Incoming = (mpsc::Receiver<Handed>, Received);

fn run(shared: Arc<Shared>, index: WorkerIndex, (sockets, inbox): Incoming, load: Arc<AtomicUsize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made where a thread could");
    let local = LocalSet::new();
    let stopping = shared.stopping.subscribe();
    let worker = Rc::new(Worker::new(shared, index, inbox, load));
    // A task like all others, since what is given to `block_on` itself is polled with each of them.
    let serving = local.spawn_local(worker.serve(sockets, stopping));
    local.block_on(&runtime, serving).expect("it does not panic, and nobody ends it");
}

impl Worker {
    fn new(shared: Arc<Shared>, index: WorkerIndex, inbox: Received, load: Arc<AtomicUsize>) -> Self {
        let engine = shared.registry.engine();
        let activity = Rc::new(engine.ticker().activity());
        let abilities = engine.abilities();
        let local = LocalHub::new(abilities.hub.clone(), index, abilities.metrics.clone(), inbox);
        let pools = Pools::new(engine.clone(), activity.clone());
        let plan = shared.plans.borrow().clone();
        let layout = RefCell::new(Rc::new(Layout::new(plan, &shared.registry, |plugin| pools.of(plugin))));
        let (ids, alarms) = (ConnectionIds::new(index), Alarms::new(abilities.clock.clone()));
        let shares = Rc::<Shares>::default();
        shares.share(layout.borrow().plan.has_tenants());
        let (local, cut) = (Rc::new(local), watch::Sender::new(false));
        Self { local, ids, alarms, shares, shared, layout, pools, activity, load, cut }
    }

    /// Serves until the order to stop came and all connections are gone, or the time for that is over.
    async fn serve(self: Rc<Self>, sockets: mpsc::Receiver<Handed>, mut stopping: watch::Receiver<bool>) {
        // They end with the worker's thread.
        self.keep_up(Self::deliver);
        self.keep_up(Self::ring);
        self.keep_up(Self::let_on);
        self.keep_up(Self::sweep);
        self.keep_up(Self::sweep_shared);
        // From before the services start, so that no plan falls between.
        let plans = self.shared.plans.subscribe();
        let mut services = self.start_services().await;
        let mut taking = pin!(self.take(sockets));
        tokio::select! {
            () = taking.as_mut() => {}
            () = self.follow(plans, services.as_mut()) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        tokio::select! {
            () = self.drain(services) => {}
            // Those that the acceptor took last are told to come again.
            () = taking => {}
        }
    }

    /// Starts a task of the worker's own, without which its connections could not go on, and again should it ever panic.
    fn keep_up<F: Future<Output = ()> + 'static>(self: &Rc<Self>, task: fn(Rc<Self>) -> F) {
        let worker = self.clone();
        tokio::task::spawn_local(async move {
            while tokio::task::spawn_local(task(worker.clone())).await.is_err_and(|error| error.is_panic()) {
                worker.metrics().count(Failure::Panic);
                tracing::error!(
                    whose = Failure::Panic.whose(),
                    "a worker's own task panicked and is begun anew; this is a bug of the server"
                );
            }
        });
    }

    /// Runs a task for one client, with the panic counted that may end it: a bug of the host, which ends nothing else.
    pub async fn counted<F: Future>(&self, mut task: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            let _panics = Panics(self.metrics());
            task.as_mut().poll(cx)
        })
        .await
    }

    /// The first worker has them all; once they were told to start, the server accepts.
    async fn start_services(&self) -> Option<Services> {
        if self.local.worker() != 0 {
            return None;
        }
        let plugins = self.plan().plan.plugins.clone();
        let (registry, local) = (self.shared.registry.clone(), self.local.clone());
        let home = Home { registry, local, activity: self.activity.clone(), shares: self.shares.clone() };
        let services = Services::start(&plugins, home).await;
        self.shared.serving.send_replace(true);
        Some(services)
    }

    /// Serves the sockets that are handed over; ends only with the acceptor.
    async fn take(self: &Rc<Self>, mut sockets: mpsc::Receiver<Handed>) {
        while let Some((socket, load)) = sockets.recv().await {
            let worker = self.clone();
            tokio::task::spawn_local(async move {
                let mut serving = Box::pin(http::serve(worker.clone(), socket, load));
                worker.counted(serving.as_mut()).await;
            });
        }
    }

    /// Does what another plan asks for at once; ends with the server.
    async fn follow(&self, mut plans: watch::Receiver<Arc<Plan>>, mut services: Option<&mut Services>) {
        while plans.changed().await.is_ok() {
            plans.mark_unchanged();
            let layout = self.plan();
            let tenants = &self.abilities().tenants;
            self.local.close_routes(|tenant, route| layout.plan.closes(&tenants.of(tenant), route));
            if let Some(services) = &mut services {
                services.follow(&layout.plan.plugins);
            }
        }
    }

    async fn deliver(self: Rc<Self>) {
        self.local.serve(|tenant| self.shares.measure(tenant)).await;
    }

    async fn let_on(self: Rc<Self>) {
        self.shares.serve().await;
    }

    async fn ring(self: Rc<Self>) {
        self.alarms.serve().await;
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.pools.sweep();
        }
    }

    /// What all workers share is swept by one for all, in the server's time.
    async fn sweep_shared(self: Rc<Self>) {
        while self.local.worker() == 0 {
            self.clock().sleep(SWEEP).await;
            self.abilities().store.sweep();
            self.local.hub().rooms().sweep();
        }
    }

    /// The plan in force. Chains of the one before live on in the connections that have them.
    pub fn plan(&self) -> Rc<Layout> {
        let plan = self.shared.plans.borrow().clone();
        let mut layout = self.layout.borrow_mut();
        if !Arc::ptr_eq(&layout.plan, &plan) {
            self.shares.share(plan.has_tenants());
            *layout = Rc::new(Layout::new(plan, &self.shared.registry, |plugin| self.pools.of(plugin)));
        }
        layout.clone()
    }

    /// What all workers share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What guests and connections reach alike.
    pub fn abilities(&self) -> &Abilities {
        self.shared.registry.engine().abilities()
    }

    /// All limits, for use now and not for keeping.
    pub fn limits(&self) -> Guard<Arc<Limits>> {
        self.abilities().limits()
    }

    /// The server's clock.
    pub fn clock(&self) -> &Clock {
        &self.abilities().clock
    }

    /// The server's counters.
    pub fn metrics(&self) -> &Metrics {
        &self.abilities().metrics
    }
}

/// Counts a panic that unwinds past it.
struct Panics<'a>(&'a Metrics);

impl Drop for Panics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.count(Failure::Panic);
        }
    }
}

impl Load {
    fn count(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self { _counted: Arc::new(Counted(load.clone())) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
