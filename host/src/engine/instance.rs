//! An instance: a live store with an instantiated component, and how it is called.
//!
//! One event at a time. The transaction is put into the store, the export is called, and the transaction is taken out
//! again, whether the call ended well or not. After a fault an instance is poisoned, and whoever holds it drops it.
//! Invariant: a call is bounded in CPU and wall time, and a call that is given up leaves an instance that is not used again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::{Store, Trap};

use super::exports::Calls;
use super::fault::{Cause, Fault};
use super::generation::Generation;
use super::guest::Guest;
use super::{Abilities, CONTRACT, Engine, migration};
use crate::clock::Clock;
use crate::config::ReusePolicy;
use crate::event::{Event, Reply};
use crate::id::ConnectionId;
use crate::limits::Limits;
use crate::tenants::{Live, Tenant};
use crate::transaction::Transaction;

/// What all host calls of one event may carry beyond one message of the limit.
const HOSTCALL_SLACK: usize = 8 * 1024 * 1024;

/// What comes back from a guest: the transaction in any case, and the reply or the fault.
pub type Step<T> = (Box<Transaction>, Result<T, Box<Fault>>);

/// A live instance.
pub struct Instance {
    store: Store<Guest>,
    calls: Calls,
    abilities: Arc<Abilities>,
    generation: Arc<Generation>,
    /// Set while a call runs, and for good once one was given up or faulted.
    poisoned: bool,
    /// Whose events it took last, for one that may take those of one connection only.
    owner: ConnectionId,
    /// Among those that its tenant may have, where it is of a pool.
    _live: Option<Live>,
}

impl Instance {
    /// Instantiates a generation, within the budget of an event.
    pub async fn create(engine: &Engine, generation: &Arc<Generation>) -> Result<Box<Self>, Box<Fault>> {
        let abilities = &engine.abilities;
        let guest = Guest::new(abilities.clone(), generation.identity.clone(), generation.grants.clone());
        let mut store = prepare(Store::new(&engine.engine, guest));
        let bound = (&abilities.clock, &*generation.identity.tenant);
        let outcome = within(bound, pin!(Self::instantiate(&mut store, generation))).await;
        match outcome.unwrap_or_else(|| Err(wasmtime::format_err!("it took too long to start"))) {
            Ok(calls) => Ok(Box::new(Self {
                store,
                calls,
                abilities: abilities.clone(),
                generation: generation.clone(),
                poisoned: false,
                owner: ConnectionId::NONE,
                _live: None,
            })),
            Err(error) => Err(fault(&mut store, "instantiation", &error)),
        }
    }

    async fn instantiate(store: &mut Store<Guest>, generation: &Generation) -> wasmtime::Result<Calls> {
        store.set_epoch_deadline(1);
        let instance = generation.pre.instantiate_async(&mut *store).await?;
        let unfit = |error: wasmtime::Error| {
            let cause = error.root_cause();
            wasmtime::format_err!("its exports have other types than those of switchboard:ws@{CONTRACT}: {cause}")
        };
        generation.exports.load(store, &instance).map_err(unfit)
    }

    /// Counts it among those that its tenant may have, until it is dropped.
    pub fn counted(mut self: Box<Self>, live: Live) -> Box<Self> {
        self._live = Some(live);
        self
    }

    /// Whether it may take an event of this connection.
    pub fn may_serve(&self, connection: ConnectionId) -> bool {
        self.generation.grants.reuse == ReusePolicy::Always || self.owner == connection
    }

    /// Whether it may take any further event.
    pub fn is_reusable(&self) -> bool {
        !self.poisoned && self.generation.grants.reuse != ReusePolicy::Never
    }

    /// Which version of the plugin it runs.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Tells the guest an event. The transaction comes back whatever happened.
    pub async fn call(&mut self, mut transaction: Box<Transaction>, event: Event<'_>) -> Step<Reply> {
        let name = event.name();
        self.owner = transaction.subject.connection;
        let outdated = transaction.read_as(self.generation.state_version);
        self.begin(Some(transaction));
        let outcome = {
            let bound = (&self.abilities.clock, &*self.generation.identity.tenant);
            let told = async {
                if outdated {
                    Box::pin(migration::carry_over(&self.calls, &mut self.store, &self.generation)).await?;
                }
                self.calls.tell(&mut self.store, event).await
            };
            within(bound, pin!(told)).await
        };
        let outcome = outcome.unwrap_or_else(|| Err(out_of_time(&mut self.store)));
        let reply = match outcome {
            Ok(reply) => Ok(self.finish(reply)),
            Err(error) => Err(fault(&mut self.store, name, &error)),
        };
        let transaction = self.store.data_mut().end();
        (transaction.expect("the transaction lies in the store while the event runs"), reply)
    }

    /// Asks which version of the state it writes, within the budget of an event.
    pub async fn state_version(&mut self) -> Result<u32, Box<Fault>> {
        self.begin(None);
        let bound = (&self.abilities.clock, &*self.generation.identity.tenant);
        let outcome = within(bound, pin!(self.calls.state_version(&mut self.store))).await;
        let outcome = outcome.unwrap_or_else(|| Err(out_of_time(&mut self.store)));
        self.poisoned = outcome.is_err();
        outcome.map_err(|error| fault(&mut self.store, "state-version", &error))
    }

    fn begin(&mut self, transaction: Option<Box<Transaction>>) {
        self.poisoned = true;
        self.store.data_mut().begin(transaction);
        let fuel = fuel(&self.store.data().identity.tenant.limits());
        self.store.set_hostcall_fuel(fuel);
        self.store.set_epoch_deadline(1);
    }

    /// The call ended well: the instance may be used again, and what it printed goes to the log.
    fn finish(&mut self, reply: Reply) -> Reply {
        self.poisoned = false;
        let printed = self.store.data().output.take();
        for line in printed.lines() {
            self.store.data_mut().write_line("info", line);
        }
        reply
    }
}

/// Sets every bound that a store has.
fn prepare(mut store: Store<Guest>) -> Store<Guest> {
    store.limiter(|guest| &mut guest.memory);
    let fuel = fuel(&store.data().identity.tenant.limits());
    store.set_hostcall_fuel(fuel);
    store.set_max_component_handles(1000);
    store.epoch_deadline_callback(Guest::tick);
    store
}

/// What all host calls of one event may carry.
fn fuel(limits: &Limits) -> usize {
    limits.message_bytes + limits.effects_bytes + HOSTCALL_SLACK
}

/// Runs a call within the wall time of an event. The timer is only made for a call that waits. Pinned by the caller, since a
/// future that is handed on by value is stored twice.
async fn within<T>((clock, tenant): (&Clock, &Tenant), mut call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => timed(clock, tenant.limits().event_wall(), call).await,
    }
}

async fn timed<T>(clock: &Clock, limit: Duration, call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    tokio::select! {
        biased;
        outcome = call => Some(outcome),
        () = clock.sleep(limit) => None,
    }
}

/// Notes that a call was given up after the wall time of an event.
fn out_of_time(store: &mut Store<Guest>) -> wasmtime::Error {
    let guest = store.data_mut();
    guest.cause = Some(Cause::Deadline);
    wasmtime::format_err!("it took more than {} ms of wall time", guest.identity.tenant.limits().event_wall_ms)
}

/// What happened, out of wasmtime's error and what the host noted on the way.
fn fault(store: &mut Store<Guest>, event: &'static str, error: &wasmtime::Error) -> Box<Fault> {
    let guest = store.data_mut();
    let (mut message, backtrace) = Fault::describe(error);
    let noted = guest.cause.or(guest.memory.refused.then_some(Cause::Memory));
    let load = error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().map(|_| Cause::Load);
    let cause = noted.or(load).unwrap_or(Cause::Trap);
    let limits = guest.identity.tenant.limits();
    match cause {
        Cause::Memory => {
            message = format!("{message}, after it asked for more than {} bytes", limits.guest_memory_bytes)
        }
        Cause::Deadline if error.is::<Trap>() => message = format!("it ran for more than {} ms", limits.event_cpu_ms),
        _ => {}
    }
    let (plugin, generation) = (guest.identity.plugin.clone(), guest.identity.generation);
    let (printed, unfit) = (guest.output.take(), None);
    migration::blame(guest, Fault { plugin, generation, event, cause, message, printed, backtrace, unfit })
}
