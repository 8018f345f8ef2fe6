//! The pool: the instances that one worker has of one plugin.
//!
//! An event leases an instance and gives it back; the most recently used is taken first, because its memory is warm.
//! Where all are leased the event waits its turn. Instances of generations that serve no more are dropped when they are in
//! the way, so a swap needs no step of its own here.
//! Invariant: no more than `limits.instances` are live, and a poisoned one never comes back.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Engine;
use super::fault::{Cause, Fault};
use super::generation::Generation;
use super::instance::{Instance, Step};
use super::plugin::{Plugin, Serving};
use super::ticker::Activity;
use crate::event::{Event, Reply};
use crate::id::{ConnectionId, TenantId};
use crate::transaction::Transaction;

/// One worker's instances of one plugin.
pub struct Pool {
    plugin: Arc<Plugin>,
    engine: Arc<Engine>,
    activity: Rc<Activity>,
    turns: Semaphore,
    /// How many turns there are, and so how many instances may lie idle.
    bound: usize,
    // Boxed because a store is large, and moves with every lease.
    #[allow(clippy::vec_box)]
    idle: RefCell<Vec<Box<Instance>>>,
    /// All of its worker, itself included.
    known: Rc<Known>,
}

/// The pools of one worker, of which those live that a chain has.
#[derive(Default)]
struct Known(RefCell<Vec<Weak<Pool>>>);

impl Known {
    fn live(&self) -> Vec<Rc<Pool>> {
        self.0.borrow().iter().filter_map(Weak::upgrade).collect()
    }
}

/// One worker's pools. A pool lives as long as a chain has it, and a plugin has one however many chains do.
pub struct Pools {
    engine: Arc<Engine>,
    activity: Rc<Activity>,
    known: Rc<Known>,
}

/// The right to call an instance until dropped.
pub struct Lease<'a> {
    pool: &'a Pool,
    instance: Option<Box<Instance>>,
    _turn: SemaphorePermit<'a>,
}

impl Pool {
    /// An empty pool.
    fn new(plugin: Arc<Plugin>, (engine, activity): (Arc<Engine>, Rc<Activity>), known: Rc<Known>) -> Self {
        let bound = engine.abilities().limits().instances;
        Self { plugin, engine, activity, turns: Semaphore::new(bound), bound, idle: RefCell::default(), known }
    }

    /// The plugin whose instances these are.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Takes an instance of the generation that this connection's events run on, waiting for a turn where all are leased.
    /// `avoided` are those on which the event has faulted before.
    pub async fn lease(&self, connection: ConnectionId, avoided: &[u64]) -> Result<Lease<'_>, Box<Fault>> {
        let turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => self.wait().await,
        };
        self.activity.begin();
        let mut lease = Lease { pool: self, instance: None, _turn: turn };
        let idle = self.take_idle(&self.plugin.serving(), connection, avoided);
        lease.instance = match idle {
            Ok(instance) => Some(instance),
            Err(generation) => Some(self.create(&generation).await?),
        };
        Ok(lease)
    }

    /// Drops the idle instances of generations that serve no more, and all where the tenant's events wait for room.
    pub fn sweep(&self) {
        let serving = self.plugin.serving();
        if serving.generation.identity.tenant.is_short() {
            return self.clear();
        }
        self.idle.borrow_mut().retain(|instance| self.keep(instance, &serving));
    }

    fn clear(&self) {
        let idle = self.idle.take();
        // Counted out before they go, since others may take their place at once.
        self.engine.abilities().metrics.instances.dec_by(i64::try_from(idle.len()).unwrap_or_default());
    }

    async fn wait(&self) -> SemaphorePermit<'_> {
        self.engine.abilities().metrics.instance_waits.inc();
        self.turns.acquire().await.expect("the semaphore is never closed")
    }

    /// The warmest idle instance of the generation that is wanted, or that generation. Others that serve stay idle.
    fn take_idle(
        &self,
        serving: &Serving,
        connection: ConnectionId,
        avoided: &[u64],
    ) -> Result<Box<Instance>, Arc<Generation>> {
        let wanted = serving.choose(connection, avoided);
        let mut idle = self.idle.borrow_mut();
        // Usually the last one is wanted; others lie here only during a roll-out and just after a swap.
        if idle.last().is_some_and(|last| !Arc::ptr_eq(last.generation(), wanted)) {
            idle.retain(|instance| self.keep(instance, serving));
        }
        let fits = |instance: &Instance| Arc::ptr_eq(instance.generation(), wanted) && instance.may_serve(connection);
        if let Some(index) = idle.iter().rposition(|instance| fits(instance)) {
            return Ok(idle.remove(index));
        }
        let leased = self.bound - self.turns.available_permits();
        if idle.len() + leased > self.bound {
            // All there are wait for other connections, or are of another generation: the one that waited longest goes.
            idle.remove(0);
            self.engine.abilities().metrics.instances.dec();
        }
        Err(wanted.clone())
    }

    async fn create(&self, generation: &Arc<Generation>) -> Result<Box<Instance>, Box<Fault>> {
        // Boxed, since it is rare and large, and every idle connection would have room for it.
        let instance = Box::pin(self.create_in_room(generation)).await?;
        self.engine.abilities().metrics.instances.inc();
        Ok(instance)
    }

    /// Creates an instance once its tenant has room for one, and the machine. Idle ones of this worker make room for it.
    async fn create_in_room(&self, generation: &Arc<Generation>) -> Result<Box<Instance>, Box<Fault>> {
        let tenant = &generation.identity.tenant;
        let live = match tenant.try_live().or_else(|| self.make_room(Some(tenant.id())).then(|| tenant.try_live())?) {
            Some(live) => live,
            None => {
                self.engine.abilities().metrics.instance_waits.inc();
                tenant.live().await
            }
        };
        let created = match Instance::create(&self.engine, generation).await {
            Err(fault) if fault.cause == Cause::Load && self.make_room(None) => {
                Instance::create(&self.engine, generation).await
            }
            created => created,
        };
        created.map(|instance| instance.counted(live))
    }

    /// Drops all idle instances of this worker, of one tenant or of all; whether there were any.
    fn make_room(&self, tenant: Option<TenantId>) -> bool {
        let meant = |pool: &Rc<Self>| tenant.is_none_or(|id| pool.plugin.current().identity.tenant.id() == id);
        let pools = self.known.live().into_iter().filter(meant).filter(|pool| !pool.idle.borrow().is_empty());
        pools.map(|pool| pool.clear()).count() > 0
    }

    /// Whether the instance may stay; counts it out where it may not.
    fn keep(&self, instance: &Instance, serving: &Serving) -> bool {
        let keep = serving.includes(instance.generation());
        if !keep {
            self.engine.abilities().metrics.instances.dec();
        }
        keep
    }

    fn give_back(&self, instance: Box<Instance>) {
        let wanted = !instance.generation().identity.tenant.is_short();
        let reusable = wanted && self.engine.reuses() && instance.is_reusable();
        if reusable {
            self.idle.borrow_mut().push(instance);
        } else {
            self.engine.abilities().metrics.instances.dec();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Pools {
    /// None yet.
    pub fn new(engine: Arc<Engine>, activity: Rc<Activity>) -> Self {
        Self { engine, activity, known: Rc::default() }
    }

    /// The plugin's pool.
    pub fn of(&self, plugin: &Arc<Plugin>) -> Rc<Pool> {
        if let Some(pool) = self.known.live().into_iter().find(|pool| Arc::ptr_eq(&pool.plugin, plugin)) {
            return pool;
        }
        let of = (self.engine.clone(), self.activity.clone());
        let pool = Rc::new(Pool::new(plugin.clone(), of, self.known.clone()));
        self.known.0.borrow_mut().push(Rc::downgrade(&pool));
        pool
    }

    /// Sweeps all pools, and forgets those that no chain has any more.
    pub fn sweep(&self) {
        self.known.live().iter().for_each(|pool| pool.sweep());
        self.known.0.borrow_mut().retain(|pool| pool.strong_count() > 0);
    }
}

impl Lease<'_> {
    /// Tells the instance an event. During a roll-out it is timed and counted.
    pub async fn call(&mut self, mut transaction: Box<Transaction>, event: Event<'_>) -> Step<Reply> {
        let instance = self.instance.as_mut().expect("a lease has an instance");
        let trial = {
            let serving = self.pool.plugin.serving();
            if serving.is_settled(instance.generation()) {
                transaction.promote_state(instance.generation().state_version);
            }
            let trial = serving.trial(instance.generation()).filter(|_| !event.is_farewell());
            trial.map(|trial| (trial, Instant::now()))
        };
        let (transaction, reply) = instance.call(transaction, event).await;
        if let (Some((trial, began)), Ok(_)) = (trial, &reply) {
            self.pool.plugin.note_event(&trial, began.elapsed(), self.pool.engine.abilities().clock.now());
        }
        (transaction, reply)
    }

    /// The generation that is called.
    pub fn generation(&self) -> &Arc<Generation> {
        self.instance.as_ref().expect("a lease has an instance").generation()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.pool.activity.end();
        if let Some(instance) = self.instance.take() {
            self.pool.give_back(instance);
        }
    }
}
