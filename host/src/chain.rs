//! The chain: the middleware around a route's handler, and how an event passes it.
//!
//! Inwards from the outermost plugin to the handler, outwards the other way; each plugin is asked only for what it
//! exports. The chain leases instances and hands the transaction on; what comes out is for `server/connection` to commit.
//! Invariants: a gate that passed gets exactly one disconnect; an event whose plugin faulted left no trace.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::fault::{Cause, Fault};
use crate::engine::generation::Exports;
use crate::engine::instance::Step;
use crate::engine::pool::Pool;
use crate::engine::registry::Registry;
use crate::event::{Effect, Event, Header, Interface, Kept, Origin, Reply, Scope};
use crate::id::{ConnectionId, TenantId};
use crate::message::{CloseFrame, Message};
use crate::metrics::Metrics;
use crate::transaction::{Transaction, check_frame};

/// The pools of one route's plugins on one worker.
pub struct Chain {
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

/// Headers for the 101, with the plugin that is to blame where they cannot be sent.
pub type Added = (Arc<str>, Vec<Header>);

/// How a handshake ended.
#[derive(Debug)]
pub enum Admission {
    /// The WebSocket is opened.
    Accept {
        /// What the handler chose.
        subprotocol: Option<String>,
        /// From all gates and the handler, outermost first.
        headers: Vec<Added>,
    },
    /// An HTTP response in place of it.
    Respond {
        /// As the guest gave it.
        status: u16,
        /// The same.
        headers: Vec<Header>,
        /// The same.
        body: Bytes,
    },
    /// Opened and closed at once.
    Close(CloseFrame),
    /// A guest faulted.
    Fault,
}

/// A handshake that all guests were asked about, as far as they had to be.
pub struct Connected {
    /// How it ended, and by the doing of which plugin.
    pub admission: Admission,
    /// The plugin that decided.
    pub plugin: Arc<str>,
    /// What is kept of the connection.
    pub kept: Kept,
    /// What is to be done if it was accepted.
    pub effects: Vec<Effect>,
    /// Who hears of its end.
    pub passed: Passed,
}

/// An event that ended.
pub struct Ended<T> {
    /// What is kept of the connection.
    pub kept: Kept,
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// What came of it; none where a guest faulted.
    pub outcome: Option<T>,
}

/// What came of a message on its way through filters.
#[derive(Debug)]
pub enum Verdict {
    /// It got through; where it was on its way out, it is to be written.
    Through(Message),
    /// A filter ended it.
    Dropped,
    /// A filter closes the connection.
    Close(CloseFrame),
}

/// An event on its way: whose it is.
#[derive(Clone, Copy)]
pub struct Subject {
    /// The connection.
    pub connection: ConnectionId,
    /// Its tenant.
    pub tenant: TenantId,
}

impl Chain {
    /// A chain of these pools, outermost first.
    pub fn new(middleware: Vec<Rc<Pool>>, handler: Rc<Pool>, registry: Arc<Registry>) -> Self {
        Self { middleware, handler, registry }
    }

    /// Whether messages to clients have to pass guests, from this link outwards.
    pub fn filters_outbound(&self, reach: usize) -> bool {
        self.middleware.iter().take(reach).any(|pool| pool.plugin().current().exports.is_outbound())
    }

    /// Asks all gates and the handler whether the connection may be opened.
    pub async fn connect(&self, subject: Subject, mut kept: Kept) -> Connected {
        loop {
            let mut passed = Passed::default();
            let (transaction, outcome) = self.ask(self.begin(subject, kept), &mut passed).await;
            let plugin = transaction.scope().plugin.clone();
            let admission = match outcome {
                Ok(admission) => admission,
                Err(fault) if self.recovers(&fault, subject) => {
                    kept = transaction.undo();
                    continue;
                }
                Err(_) => Admission::Fault,
            };
            let (kept, effects) = transaction.settle();
            return Connected { admission, plugin, kept, effects, passed };
        }
    }

    async fn ask(&self, mut transaction: Box<Transaction>, passed: &mut Passed) -> Step<Admission> {
        let handshake = transaction.kept.handshake.clone();
        let mut added = Vec::new();
        for (position, pool) in self.linked(Exports::is_gate) {
            transaction.enter(scope(pool, Interface::Gate, position));
            let (after, reply) = call(pool, transaction, Event::Connect(&handshake)).await;
            transaction = after;
            match reply.map(admission) {
                Ok(Asked::Passes(headers)) => {
                    passed.note(position);
                    added.push((pool.plugin().name().clone(), headers));
                }
                Ok(Asked::Refuses(refusal)) => return (transaction, Ok(refusal)),
                Err(fault) => return (transaction, Err(fault)),
            }
        }
        transaction.enter(scope(&self.handler, Interface::Handler, self.middleware.len()));
        let (transaction, reply) = call(&self.handler, transaction, Event::Connect(&handshake)).await;
        let outcome = reply.map(|reply| match reply {
            Reply::Accept { subprotocol, headers } => {
                passed.note(HANDLER);
                added.push((self.handler.plugin().name().clone(), headers));
                Admission::Accept { subprotocol, headers: added }
            }
            other => match admission(other) {
                Asked::Refuses(refusal) => refusal,
                Asked::Passes(_) => Admission::Fault,
            },
        });
        (transaction, outcome)
    }

    /// A message from the client: inbound filters, then the handler, in one transaction.
    pub async fn message(&self, subject: Subject, kept: Kept, message: Message) -> Ended<Verdict> {
        self.run(subject, kept, async |transaction| self.inwards(transaction, &message).await).await
    }

    /// Runs an event, and runs it again where the generation that faulted was new and gave way to the one before.
    async fn run(
        &self,
        subject: Subject,
        mut kept: Kept,
        event: impl AsyncFn(Box<Transaction>) -> Step<Verdict>,
    ) -> Ended<Verdict> {
        loop {
            let (transaction, outcome) = event(self.begin(subject, kept)).await;
            let fault = match outcome {
                Ok(verdict) => {
                    let (kept, effects) = transaction.settle();
                    return Ended { kept, effects, outcome: Some(verdict) };
                }
                Err(fault) => fault,
            };
            kept = transaction.undo();
            if !self.recovers(&fault, subject) {
                return Ended { kept, effects: Vec::new(), outcome: None };
            }
        }
    }

    async fn inwards(&self, mut transaction: Box<Transaction>, message: &Message) -> Step<Verdict> {
        let mut replaced = None;
        for (position, pool) in self.linked(Exports::is_inbound) {
            transaction.enter(scope(pool, Interface::Inbound, position));
            let present = replaced.as_ref().unwrap_or(message);
            let (after, reply) = call(pool, transaction, Event::Message(present, None)).await;
            transaction = after;
            match reply {
                Ok(Reply::Replace(other)) => replaced = Some(other),
                Ok(Reply::Drop) => return (transaction, Ok(Verdict::Dropped)),
                Ok(Reply::Close(frame)) => return (transaction, Ok(Verdict::Close(frame))),
                Ok(_) => {}
                Err(fault) => return (transaction, Err(fault)),
            }
        }
        transaction.enter(scope(&self.handler, Interface::Handler, self.middleware.len()));
        let present = replaced.as_ref().unwrap_or(message);
        let (transaction, reply) = call(&self.handler, transaction, Event::Message(present, None)).await;
        (transaction, reply.map(|_| Verdict::Dropped))
    }

    /// A message to the client, through the outermost `reach` filters, the innermost of them first.
    pub async fn outbound(
        &self,
        subject: Subject,
        kept: Kept,
        (message, origin): (Message, Option<Origin>),
        reach: usize,
    ) -> Ended<Verdict> {
        let way = (&message, origin.as_ref());
        self.run(subject, kept, async |transaction| self.outwards(transaction, way, reach).await).await
    }

    async fn outwards(
        &self,
        mut transaction: Box<Transaction>,
        (message, origin): (&Message, Option<&Origin>),
        reach: usize,
    ) -> Step<Verdict> {
        let mut present = message.clone();
        for (position, pool) in self.middleware.iter().enumerate().take(reach).rev() {
            if !pool.plugin().current().exports.is_outbound() {
                continue;
            }
            transaction.enter(scope(pool, Interface::Outbound, position));
            let (after, reply) = call(pool, transaction, Event::Message(&present, origin)).await;
            transaction = after;
            match reply {
                Ok(Reply::Replace(other)) => present = other,
                Ok(Reply::Drop) => return (transaction, Ok(Verdict::Dropped)),
                Ok(Reply::Close(frame)) => return (transaction, Ok(Verdict::Close(frame))),
                Ok(_) => {}
                Err(fault) => return (transaction, Err(fault)),
            }
        }
        (transaction, Ok(Verdict::Through(present)))
    }

    /// Tells all that took the connection of its end, from the handler outwards. Each is a transaction of its own, and a
    /// fault in one is logged only.
    pub async fn disconnect(&self, subject: Subject, kept: Kept, frame: &CloseFrame, passed: Passed) -> Ended<()> {
        let mut kept = Kept { gone: true, ..kept };
        let mut effects = Vec::new();
        let gates = self.middleware.iter().enumerate().filter(|(position, _)| passed.has(*position)).rev();
        let gates = gates.map(|(position, pool)| scope(pool, Interface::Gate, position));
        let handler = passed.has(HANDLER).then(|| scope(&self.handler, Interface::Handler, self.middleware.len()));
        for who in handler.into_iter().chain(gates) {
            let pool = self.middleware.get(who.position).unwrap_or(&self.handler);
            let transaction = Transaction::new(subject.connection, subject.tenant, kept, who);
            let (transaction, reply) = call(pool, transaction, Event::Disconnect(frame)).await;
            kept = match reply {
                Ok(_) => {
                    let (kept, asked) = transaction.settle();
                    effects.extend(asked);
                    kept
                }
                Err(fault) => {
                    fault.report(subject.connection, self.metrics());
                    transaction.undo()
                }
            };
        }
        Ended { kept, effects, outcome: Some(()) }
    }

    fn begin(&self, subject: Subject, kept: Kept) -> Box<Transaction> {
        let first = scope(&self.handler, Interface::Handler, self.middleware.len());
        Transaction::new(subject.connection, subject.tenant, kept, first)
    }

    /// The middleware that exports something, outermost first.
    fn linked(&self, has: impl Fn(&Exports) -> bool) -> impl Iterator<Item = (usize, &Rc<Pool>)> {
        self.middleware.iter().enumerate().filter(move |(_, pool)| has(&pool.plugin().current().exports))
    }

    /// Records a fault, and says whether the event is to be run again.
    fn recovers(&self, fault: &Fault, subject: Subject) -> bool {
        fault.report(subject.connection, self.metrics());
        self.registry.fall_back(fault)
    }

    fn metrics(&self) -> &Metrics {
        &self.registry.engine().abilities().metrics
    }
}

fn scope(pool: &Pool, interface: Interface, position: usize) -> Scope {
    Scope { plugin: pool.plugin().name().clone(), interface, position }
}

/// Leases, calls, and checks what only a guest could have got wrong.
async fn call(pool: &Pool, transaction: Box<Transaction>, event: Event<'_>) -> Step<Reply> {
    let name = event.name();
    let mut lease = match pool.lease().await {
        Ok(lease) => lease,
        Err(fault) => return (transaction, Err(fault)),
    };
    let (transaction, reply) = lease.call(transaction, event).await;
    let reply = reply.and_then(|reply| match &reply {
        Reply::Close(frame) => match check_frame(frame) {
            Ok(()) => Ok(reply),
            Err(failure) => Err(bad_answer(pool, lease.generation().identity.generation, name, failure.message)),
        },
        _ => Ok(reply),
    });
    (transaction, reply)
}

/// A fault for an answer that cannot be carried out.
fn bad_answer(pool: &Pool, generation: u64, event: &'static str, message: String) -> Box<Fault> {
    let (printed, backtrace) = Default::default();
    let plugin = pool.plugin().name().clone();
    Box::new(Fault { plugin, generation, event, cause: Cause::Answer, message, printed, backtrace })
}

/// What a gate's answer, or a handler's refusal, means.
enum Asked {
    /// Go on inwards, with these headers.
    Passes(Vec<Header>),
    Refuses(Admission),
}

fn admission(reply: Reply) -> Asked {
    match reply {
        Reply::Accept { headers, .. } => Asked::Passes(headers),
        Reply::Respond { status, headers, body } => Asked::Refuses(Admission::Respond { status, headers, body }),
        Reply::Close(frame) => Asked::Refuses(Admission::Close(frame)),
        _ => Asked::Passes(Vec::new()),
    }
}
