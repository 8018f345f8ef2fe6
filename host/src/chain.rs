//! The chain: the middleware around a route's handler, and how an event passes it.
//!
//! Inwards from the outermost plugin to the handler, outwards the other way; each plugin is asked only for what it
//! exports. The chain leases instances and hands the transaction on; what comes out is for `server/connection` to commit.
//! Here is what all events have in common; each kind of event has a file of its own.
//! Invariants: a gate that passed gets exactly one disconnect; an event whose plugin faulted left no trace.

mod handshake;
mod notices;
mod passage;

pub use handshake::{Added, Admission, Connected};
pub use notices::Whom;
pub use passage::Verdict;

use std::rc::Rc;
use std::sync::Arc;

use crate::engine::fault::{Cause, Fault};
use crate::engine::instance::Step;
use crate::engine::pool::Pool;
use crate::engine::registry::Registry;
use crate::event::{Effect, Event, Interface, Kept, Reply, Scope, Subject};
use crate::id::ConnectionId;
use crate::message::{CloseFrame, close};
use crate::metrics::Metrics;
use crate::routes::Route;
use crate::transaction::{Avoided, Transaction, check_frame};

/// The pools of one route's plugins on one worker.
pub struct Chain {
    route: Arc<Route>,
    /// The middleware, outermost first.
    middleware: Vec<Rc<Pool>>,
    handler: Rc<Pool>,
    registry: Arc<Registry>,
}

/// Which guests took the connection, and so hear of its end: a bit for each gate, the handler's being the highest.
#[derive(Clone, Copy, Default, Debug)]
pub struct Passed(u64);

/// The bit of the handler; the configuration allows one gate less than there are bits.
const HANDLER: usize = 63;

impl Passed {
    fn note(&mut self, position: usize) {
        self.0 |= 1 << position;
    }

    /// Without the handler: its answer was no good, so for it there never was a connection.
    pub fn gates(self) -> Self {
        Self(self.0 & !(1 << HANDLER))
    }

    fn has(self, position: usize) -> bool {
        self.0 & (1 << position) != 0
    }
}

/// An event that ended.
pub struct Ended<T> {
    /// What is kept of the connection.
    pub kept: Kept,
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// What came of it, or who faulted.
    pub outcome: Result<T, Faulted>,
}

/// Who faulted, for the gates around it (WIT `fault-events`).
#[derive(Debug)]
pub struct Faulted {
    /// Its place in the chain, the outermost being 0.
    position: usize,
    /// Its name.
    plugin: Arc<str>,
    /// Why, in the contract's words; none where it was no guest's doing.
    kind: Option<&'static str>,
    /// How the connection ends, unless a gate says otherwise.
    frame: CloseFrame,
}

impl Chain {
    /// A route's chain of these pools, outermost first.
    pub fn new(route: Arc<Route>, middleware: Vec<Rc<Pool>>, handler: Rc<Pool>, registry: Arc<Registry>) -> Self {
        Self { route, middleware, handler, registry }
    }

    /// The route that it serves.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Whether messages to a client have to pass guests, from this link outwards.
    pub fn filters_outbound(&self, connection: ConnectionId, reach: usize) -> bool {
        self.middleware.iter().take(reach).any(|pool| has(pool, connection, Interface::Outbound))
    }

    /// Whether any link is to be told of this kind of event of a connection.
    pub fn exports(&self, connection: ConnectionId, interface: Interface) -> bool {
        self.links().any(|(_, pool)| has(pool, connection, interface))
    }

    /// Runs an event, and runs it again where the generation that faulted is young: then that plugin, and no other, takes it
    /// on the generation before.
    async fn run<T>(
        &self,
        subject: Subject,
        mut kept: Kept,
        event: impl AsyncFn(Box<Transaction>) -> Step<T>,
    ) -> Ended<T> {
        let mut avoided = Vec::new();
        loop {
            let (mut transaction, outcome) = event(self.begin(subject, kept, &avoided)).await;
            let fault = match outcome {
                Ok(outcome) => {
                    let (kept, effects) = transaction.settle();
                    return Ended { kept, effects, outcome: Ok(outcome) };
                }
                Err(fault) => fault,
            };
            let faulted = Faulted::new(transaction.scope().position, &fault);
            let again = self.recovers(&fault, &mut transaction, &mut avoided);
            kept = transaction.undo();
            if !again {
                return Ended { kept, effects: Vec::new(), outcome: Err(faulted) };
            }
            // Each try has a budget of its own, so others get their turn between two.
            tokio::task::yield_now().await;
        }
    }

    fn begin(&self, subject: Subject, kept: Kept, avoided: &[Avoided]) -> Box<Transaction> {
        let first = scope(&self.handler, Interface::Handler, self.middleware.len());
        let mut transaction = Transaction::new(subject, kept, first);
        transaction.avoided.extend_from_slice(avoided);
        transaction
    }

    /// All links, outermost first, the handler being the last.
    fn links(&self) -> impl DoubleEndedIterator<Item = (usize, &Rc<Pool>)> {
        let handler = std::iter::once((self.middleware.len(), &self.handler));
        self.middleware.iter().enumerate().chain(handler)
    }

    /// The link at this place; the handler's is behind the last of the middleware.
    fn link(&self, position: usize) -> &Rc<Pool> {
        self.middleware.get(position).unwrap_or(&self.handler)
    }

    /// The middleware that exports something, outermost first.
    fn linked(
        &self,
        connection: ConnectionId,
        interface: Interface,
    ) -> impl DoubleEndedIterator<Item = (usize, &Rc<Pool>)> {
        self.middleware.iter().enumerate().filter(move |(_, pool)| has(pool, connection, interface))
    }

    /// Whether a plugin of the chain is kept from events for a while, after too many faults.
    pub fn is_stopped(&self) -> bool {
        let clock = &self.registry.engine().abilities().clock;
        self.links().any(|(_, pool)| pool.plugin().breaker().stops(|| clock.now()))
    }

    /// Records a fault, and says whether the event is to be run again: without the generation that it faulted on, or, where
    /// there is no other one, without the value that did not fit. An event that sent an HTTP request never is: what it did out
    /// there would be done twice.
    fn recovers(&self, fault: &Fault, transaction: &mut Transaction, avoided: &mut Vec<Avoided>) -> bool {
        let again = self.is_run_again(fault, transaction, avoided);
        if !again && !matches!(fault.cause, Cause::Load | Cause::State) {
            self.note_fault(fault);
        }
        again
    }

    /// Tells the plugin's breaker of a fault that nothing could be done about.
    fn note_fault(&self, fault: &Fault) {
        let abilities = self.registry.engine().abilities();
        let faulted = self.links().find(|(_, pool)| *pool.plugin().name() == fault.plugin);
        let pause = faulted.and_then(|(_, pool)| {
            pool.plugin().breaker().note_fault(abilities.clock.now(), &self.route.tenant.limits())
        });
        if let Some(pause) = pause {
            abilities.metrics.plugins_stopped.inc();
            let (plugin, pause_ms) = (&*fault.plugin, pause.as_millis() as u64);
            tracing::error!(
                plugin,
                pause_ms,
                "stopped for {pause_ms} ms after too many faults; then it is tried again"
            );
        }
    }

    fn is_run_again(&self, fault: &Fault, transaction: &mut Transaction, avoided: &mut Vec<Avoided>) -> bool {
        let connection = transaction.subject.connection;
        if transaction.went_out {
            fault.report(connection, self.metrics());
            self.registry.judge(fault);
            return false;
        }
        let faulted_on = avoid(avoided, fault);
        if fault.cause != Cause::State {
            fault.report(connection, self.metrics());
            return self.registry.fall_back(fault, connection, faulted_on);
        }
        if self.registry.fall_back(fault, connection, faulted_on) {
            fault.report(connection, self.metrics());
            return true;
        }
        self.fits_again(fault, transaction)
    }

    /// Whether the event can be run again without the value that did not fit. Each reset leaves one value less, so that it has
    /// an end.
    fn fits_again(&self, fault: &Fault, transaction: &mut Transaction) -> bool {
        let connection = transaction.subject.connection;
        let unfit = fault.unfit.as_ref().filter(|_| self.registry.resets_state(&fault.plugin));
        let reset = unfit.is_some_and(|unfit| transaction.kept.state.reset(unfit));
        match () {
            () if reset => {
                fault.report_reset(connection, self.metrics());
                self.registry.note_reset(fault);
            }
            () if transaction.kept.gone => fault.report_untold(connection),
            () => fault.report(connection, self.metrics()),
        }
        reset
    }

    fn metrics(&self) -> &Metrics {
        &self.registry.engine().abilities().metrics
    }
}

/// Notes the generation that an event has faulted on; gives all of that plugin.
fn avoid<'a>(avoided: &'a mut Vec<Avoided>, fault: &Fault) -> &'a [u64] {
    let known = avoided.iter().position(|(plugin, _)| *plugin == fault.plugin);
    let index = known.unwrap_or_else(|| {
        avoided.push((fault.plugin.clone(), Vec::new()));
        avoided.len() - 1
    });
    let generations = &mut avoided[index].1;
    generations.push(fault.generation);
    generations
}

impl Faulted {
    fn new(position: usize, fault: &Fault) -> Self {
        let frame = if fault.cause == Cause::State { close::STATE } else { close::INTERNAL };
        Self { position, plugin: fault.plugin.clone(), kind: fault.cause.told(), frame }
    }

    /// The name of the plugin that faulted, as its own tenant writes it.
    fn name(&self) -> &str {
        self.plugin.rsplit('/').next().unwrap_or(&self.plugin)
    }

    /// How the connection ends, unless a gate says otherwise.
    pub fn frame(&self) -> &CloseFrame {
        &self.frame
    }
}

/// Whether the generation that a connection's events run on has this export.
fn has(pool: &Pool, connection: ConnectionId, interface: Interface) -> bool {
    pool.plugin().serving().choose(connection, &[]).exports.has(interface)
}

fn scope(pool: &Pool, interface: Interface, position: usize) -> Scope {
    Scope { plugin: pool.plugin().name().clone(), interface, position }
}

/// Leases, calls, and checks what only a guest could have got wrong.
async fn call(pool: &Pool, transaction: Box<Transaction>, event: Event<'_>) -> Step<Reply> {
    let name = event.name();
    let mut lease = match pool.lease(transaction.subject.connection, transaction.avoids(pool.plugin().name())).await {
        Ok(lease) => lease,
        Err(fault) => return (transaction, Err(fault)),
    };
    let (transaction, reply) = lease.call(transaction, event).await;
    let most = || {
        let limits = lease.generation().identity.tenant.limits();
        limits.effects_bytes.max(limits.message_bytes)
    };
    let reply = reply.and_then(|reply| match &reply {
        Reply::Close(frame) => match check_frame(frame) {
            Ok(()) => Ok(reply),
            Err(failure) => Err(bad_answer(pool, lease.generation().identity.generation, name, failure.message)),
        },
        // What an event may send in one message, and what the socket has room for.
        Reply::Replace(message) if message.len() > most() => {
            let told = format!("a message of {} bytes is too large to take the place of another", message.len());
            Err(bad_answer(pool, lease.generation().identity.generation, name, told))
        }
        _ => Ok(reply),
    });
    (transaction, reply)
}

/// A fault for an answer that cannot be carried out.
fn bad_answer(pool: &Pool, generation: u64, event: &'static str, message: String) -> Box<Fault> {
    let (printed, backtrace, unfit) = Default::default();
    let plugin = pool.plugin().name().clone();
    Box::new(Fault { plugin, generation, event, cause: Cause::Answer, message, printed, backtrace, unfit })
}
