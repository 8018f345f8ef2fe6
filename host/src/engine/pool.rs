//! The pool: the instances that one worker has of one plugin.
//!
//! An event leases an instance and gives it back; the most recently used is taken first, because its memory is warm.
//! Where all are leased the event waits its turn. An instance of a generation that is no longer current is dropped when
//! it comes back, so a swap needs no step of its own here.
//! Invariant: no more than `limits.instances` are live, and a poisoned one never comes back.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Engine;
use super::fault::Fault;
use super::generation::Generation;
use super::instance::{Instance, Step};
use super::plugin::Plugin;
use super::ticker::Activity;
use crate::event::{Event, Reply};
use crate::transaction::Transaction;

/// One worker's instances of one plugin.
pub struct Pool {
    plugin: Arc<Plugin>,
    engine: Arc<Engine>,
    activity: Rc<Activity>,
    turns: Semaphore,
    // Boxed because a store is large, and moves with every lease.
    #[allow(clippy::vec_box)]
    idle: RefCell<Vec<Box<Instance>>>,
}

/// One worker's pools. A pool lives as long as a chain has it, and a plugin has one however many chains do.
pub struct Pools {
    engine: Arc<Engine>,
    activity: Rc<Activity>,
    pools: RefCell<Vec<Weak<Pool>>>,
}

/// The right to call an instance until dropped.
pub struct Lease<'a> {
    pool: &'a Pool,
    instance: Option<Box<Instance>>,
    _turn: SemaphorePermit<'a>,
}

impl Pool {
    /// An empty pool.
    fn new(plugin: Arc<Plugin>, engine: Arc<Engine>, activity: Rc<Activity>) -> Self {
        let turns = Semaphore::new(engine.abilities().limits().instances);
        Self { plugin, engine, activity, turns, idle: RefCell::default() }
    }

    /// The plugin whose instances these are.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Takes an instance of the current generation, waiting for a turn where all are leased.
    pub async fn lease(&self) -> Result<Lease<'_>, Box<Fault>> {
        let turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => self.wait().await,
        };
        self.activity.begin();
        let mut lease = Lease { pool: self, instance: None, _turn: turn };
        let idle = self.take_idle(&self.plugin.current());
        lease.instance = match idle {
            Some(instance) => Some(instance),
            None => Some(self.create().await?),
        };
        Ok(lease)
    }

    /// Drops the idle instances of generations that are no longer current.
    pub fn sweep(&self) {
        let current = self.plugin.current();
        self.idle.borrow_mut().retain(|instance| self.keep(instance, &current));
    }

    async fn wait(&self) -> SemaphorePermit<'_> {
        self.engine.abilities().metrics.instance_waits.inc();
        self.turns.acquire().await.expect("the semaphore is never closed")
    }

    fn take_idle(&self, current: &Arc<Generation>) -> Option<Box<Instance>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(instance) = idle.pop() {
            if self.keep(&instance, current) {
                return Some(instance);
            }
        }
        None
    }

    async fn create(&self) -> Result<Box<Instance>, Box<Fault>> {
        let generation = self.plugin.current().clone();
        // Boxed, since it is rare and large, and every idle connection would have room for it.
        let instance = Box::pin(Instance::create(&self.engine, &generation)).await?;
        self.engine.abilities().metrics.instances.inc();
        Ok(instance)
    }

    /// Whether the instance may stay; counts it out where it may not.
    fn keep(&self, instance: &Instance, current: &Arc<Generation>) -> bool {
        let keep = Arc::ptr_eq(instance.generation(), current);
        if !keep {
            self.engine.abilities().metrics.instances.dec();
        }
        keep
    }

    fn give_back(&self, instance: Box<Instance>) {
        let reusable = self.engine.reuses() && !instance.is_poisoned();
        if reusable {
            self.idle.borrow_mut().push(instance);
        } else {
            self.engine.abilities().metrics.instances.dec();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().len();
        self.engine.abilities().metrics.instances.dec_by(i64::try_from(idle).unwrap_or_default());
    }
}

impl Pools {
    /// None yet.
    pub fn new(engine: Arc<Engine>, activity: Rc<Activity>) -> Self {
        Self { engine, activity, pools: RefCell::default() }
    }

    /// The plugin's pool.
    pub fn of(&self, plugin: &Arc<Plugin>) -> Rc<Pool> {
        if let Some(pool) = self.live().find(|pool| Arc::ptr_eq(&pool.plugin, plugin)) {
            return pool;
        }
        let pool = Rc::new(Pool::new(plugin.clone(), self.engine.clone(), self.activity.clone()));
        self.pools.borrow_mut().push(Rc::downgrade(&pool));
        pool
    }

    /// Sweeps all pools, and forgets those that no chain has any more.
    pub fn sweep(&self) {
        self.live().for_each(|pool| pool.sweep());
        self.pools.borrow_mut().retain(|pool| pool.strong_count() > 0);
    }

    fn live(&self) -> impl Iterator<Item = Rc<Pool>> {
        self.pools.borrow().iter().filter_map(Weak::upgrade).collect::<Vec<_>>().into_iter()
    }
}

impl Lease<'_> {
    /// Tells the instance an event.
    pub async fn call(&mut self, transaction: Box<Transaction>, event: Event<'_>) -> Step<Reply> {
        self.instance.as_mut().expect("a lease has an instance").call(transaction, event).await
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
