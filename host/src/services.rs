//! Services: plugins that run by themselves, once for the server.
//!
//! Each has a task on the first worker, which calls `start`, then `tick` as often as the service asks for, and `stop` when
//! the server stops or another generation takes over. What a call asks for is committed like any event's.
//! Invariant: of each service one generation runs at a time; the old one has been told to stop before the new one starts.

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::SlowPolicy;
use crate::engine::fault::{Fault, brief};
use crate::engine::generation::Generation;
use crate::engine::instance::Instance;
use crate::engine::plugin::Plugin;
use crate::engine::registry::{Plugins, Registry};
use crate::engine::ticker::Activity;
use crate::event::{Call, Event, Interface, Kept, Reply, Scope, Subject};
use crate::fairness::Shares;
use crate::hub::commit::{Commit, Joins};
use crate::hub::local::LocalHub;
use crate::hub::mailbox::{Bounds, Mailbox};
use crate::id::ConnectionId;
use crate::transaction::Transaction;

/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// All services of a server.
pub struct Services {
    runners: BTreeMap<Arc<str>, Running>,
    /// Those of plugins that were removed, until they have ended.
    ending: BTreeMap<Arc<str>, Task>,
    home: Home,
}

/// What services have of their worker.
#[derive(Clone)]
pub struct Home {
    /// Whose generations they follow, and where faults go.
    pub registry: Arc<Registry>,
    /// Where what they ask for is carried out.
    pub local: Rc<LocalHub>,
    /// Told of calls that run.
    pub activity: Rc<Activity>,
    /// What their calls count to, like those of their tenant's connections.
    pub shares: Rc<Shares>,
}

/// A plugin's task, and the word that ends it.
struct Running {
    task: Task,
    stopping: watch::Sender<bool>,
}

/// A task that is ended where it stands once nobody waits for it any more.
struct Task(JoinHandle<()>);

impl Task {
    async fn ended(mut self) {
        if (&mut self.0).await.is_err() {
            tracing::error!("a service's task panicked");
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One plugin that is, or may become, a service.
struct Runner {
    plugin: Arc<Plugin>,
    home: Home,
    /// Stands for the connection that a service does not have: what it sends to itself falls away.
    nobody: Rc<Mailbox>,
    instance: Option<Box<Instance>>,
}

/// Why a generation's time as a service is over.
enum End {
    /// The server stops.
    Stopping,
    /// Another generation is to take over.
    Replaced,
    /// It could not start, or it faulted.
    Failed,
}

impl Services {
    /// Starts the services of all plugins. Returns when each was told to start, whatever came of it.
    pub async fn start(plugins: &Plugins, home: Home) -> Self {
        let (runners, ending) = Default::default();
        let mut services = Self { runners, ending, home };
        let started: Vec<_> = plugins.values().map(|plugin| services.begin(plugin)).collect();
        for told in started {
            // One that ended without a word has nothing more to wait for either.
            let _ = told.await;
        }
        services
    }

    /// Has the services of plugins that are no longer there stop, and starts those of new ones. Waits for nothing.
    pub fn follow(&mut self, plugins: &Plugins) {
        self.ending.retain(|_, task| !task.0.is_finished());
        let parted = self.runners.extract_if(.., |name, _| !plugins.contains_key(name));
        for (name, running) in parted {
            running.stopping.send_replace(true);
            self.ending.insert(name, running.task);
        }
        for plugin in plugins.values() {
            if !self.runners.contains_key(plugin.name()) {
                self.begin(plugin);
            }
        }
    }

    /// Starts a plugin's task. One that comes back waits until what it was before has ended.
    fn begin(&mut self, plugin: &Arc<Plugin>) -> oneshot::Receiver<()> {
        let (runner, shares) = (Runner::new(plugin.clone(), self.home.clone()), self.home.shares.clone());
        let (before, (stopping, stop)) = (self.ending.remove(plugin.name()), watch::channel(false));
        let (tell, told) = oneshot::channel();
        let task = tokio::task::spawn_local(async move {
            if let Some(before) = before {
                before.ended().await;
            }
            let tenant = runner.nobody.tenant();
            shares.run(tenant, pin!(runner.run(stop, tell))).await;
        });
        self.runners.insert(plugin.name().clone(), Running { task: Task(task), stopping });
        told
    }

    /// Has all services stop, and waits for it; those that have not when that is given up are ended where they stand.
    pub async fn stop(self) {
        for running in self.runners.values() {
            running.stopping.send_replace(true);
        }
        for task in self.runners.into_values().map(|running| running.task).chain(self.ending.into_values()) {
            task.ended().await;
        }
    }
}

impl Runner {
    fn new(plugin: Arc<Plugin>, home: Home) -> Self {
        let bounds = Bounds { bytes: 0, messages: 0, slow: SlowPolicy::Close };
        let nobody = Mailbox::new(ConnectionId::NONE, plugin.current().identity.tenant.id(), bounds);
        nobody.shut();
        Self { plugin, home, nobody, instance: None }
    }

    async fn run(mut self, mut stopping: watch::Receiver<bool>, started: oneshot::Sender<()>) {
        let mut changes = self.plugin.changes();
        let (mut pause, mut started) = (FIRST_PAUSE, Some(started));
        loop {
            changes.mark_unchanged();
            let generation = self.plugin.serving().only().clone();
            let end = match generation.exports.has(Interface::Service) {
                true => self.live(&generation, (&mut changes, &mut stopping), (&mut pause, &mut started)).await,
                false => End::Replaced,
            };
            self.retire();
            started.take();
            match end {
                End::Stopping => return,
                // What is no service may become one.
                End::Replaced if !generation.exports.has(Interface::Service) => tokio::select! {
                    _ = changes.changed() => {}
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                },
                End::Replaced => {}
                End::Failed => {
                    let (name, again) = (self.plugin.name(), self.clock().now() + pause);
                    tracing::warn!(plugin = %name, pause_ms = pause.as_millis() as u64, "the service is started again");
                    tokio::select! {
                        () = self.clock().sleep_until(again) => {}
                        _ = changes.changed() => {}
                        _ = stopping.wait_for(|stopping| *stopping) => return,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One generation, from its start to its stop or its failure.
    async fn live(
        &mut self,
        generation: &Arc<Generation>,
        (changes, stopping): (&mut watch::Receiver<u64>, &mut watch::Receiver<bool>),
        (pause, started): (&mut Duration, &mut Option<oneshot::Sender<()>>),
    ) -> End {
        match self.call(generation, Call::Start).await {
            Some(Reply::Failed(reason)) => {
                tracing::error!(plugin = %self.plugin.name(), "the service could not start: {}", brief(&reason));
                // Where the generation is new, the one before is started again.
                self.home.registry.withdraw(&self.plugin, generation, "its service could not start");
                return End::Failed;
            }
            Some(_) => drop(started.take()),
            None => return End::Failed,
        }
        let clock = self.clock().clone();
        loop {
            // Counted from the beginning of a tick, so that one which takes a while does not make all later ones late.
            let began = clock.now();
            let Some(Reply::Again(after)) = self.call(generation, Call::Tick).await else { return End::Failed };
            *pause = FIRST_PAUSE;
            let end = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => End::Stopping,
                () = self.replaced(changes, generation) => End::Replaced,
                () = clock.sleep_until(began + Duration::from_millis(after.max(1).into())) => continue,
            };
            self.call(generation, Call::Stop).await;
            return end;
        }
    }

    /// Waits until another generation is to be the service; one that only a canary takes is not yet.
    async fn replaced(&self, changes: &mut watch::Receiver<u64>, generation: &Arc<Generation>) {
        while changes.changed().await.is_ok() {
            if !Arc::ptr_eq(self.plugin.serving().only(), generation) {
                return;
            }
        }
    }

    /// Tells the service something, and carries out what it asks for; none where it faulted.
    async fn call(&mut self, generation: &Arc<Generation>, call: Call) -> Option<Reply> {
        self.home.activity.begin();
        let outcome = self.tell(generation, call).await;
        self.home.activity.end();
        outcome
    }

    async fn tell(&mut self, generation: &Arc<Generation>, call: Call) -> Option<Reply> {
        let engine = self.home.registry.engine().clone();
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => match Instance::create(&engine, generation).await {
                Ok(instance) => instance,
                Err(fault) => return self.faulted(&fault),
            },
        };
        let subject = Subject { connection: ConnectionId::NONE, tenant: self.nobody.tenant(), queued: 0 };
        let scope = Scope { plugin: self.plugin.name().clone(), interface: Interface::Service, position: 0 };
        let transaction = Transaction::new(subject, Kept { gone: true, ..Kept::default() }, scope);
        let event = Event::Service(call);
        let (transaction, reply) = instance.call(transaction, event).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(fault) => return self.faulted(&fault),
        };
        if let Some(trial) = self.plugin.serving().trial(generation).filter(|_| !event.is_farewell()) {
            self.plugin.note_event(&trial, Duration::ZERO, self.clock().now());
        }
        if engine.reuses() {
            self.instance = Some(instance);
        }
        let (mut kept, effects) = transaction.settle();
        let (local, own, kept, joins) = (&self.home.local, &self.nobody, &mut kept, &mut Joins::default());
        let committed = Commit { local, own, kept, joins }.run(effects).await;
        if committed.is_err() {
            engine.abilities().metrics.service_faults.inc();
        }
        committed.ok().map(|()| reply)
    }

    fn faulted(&self, fault: &Fault) -> Option<Reply> {
        fault.report(ConnectionId::NONE, &self.home.registry.engine().abilities().metrics);
        self.home.registry.engine().abilities().metrics.service_faults.inc();
        // Where the generation was new, the one before is current again and is started next.
        self.home.registry.fall_back(fault, ConnectionId::NONE, &[fault.generation]);
        None
    }

    fn clock(&self) -> &Clock {
        &self.home.registry.engine().abilities().clock
    }

    /// The next generation gets an instance of its own.
    fn retire(&mut self) {
        self.instance = None;
    }
}
