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

use wasmtime::component::Instance as GuestInstance;
use wasmtime::{Store, Trap};

use super::bindings::exports::switchboard::ws as exports;
use super::bindings::switchboard::ws::types;
use super::fault::{Cause, Fault};
use super::generation::Generation;
use super::guest::Guest;
use super::{Abilities, CONTRACT, Engine, imports};
use crate::clock::Clock;
use crate::event::{Event, Header, Interface, Origin, Reply};
use crate::handshake::Handshake;
use crate::message::{CloseFrame, Kind, Message};
use crate::transaction::Transaction;

/// What all host calls of one event may carry beyond one message of the limit.
const HOSTCALL_SLACK: usize = 8 * 1024 * 1024;

/// The exports of one instance, typed.
struct Calls {
    handler: Option<exports::handler::Guest>,
    gate: Option<exports::gate::Guest>,
    inbound: Option<exports::inbound::Guest>,
    outbound: Option<exports::outbound::Guest>,
}

/// What comes back from a guest: the transaction in any case, and the reply or the fault.
pub type Step<T> = (Box<Transaction>, Result<T, Box<Fault>>);

/// A live instance.
pub struct Instance {
    store: Store<Guest>,
    calls: Calls,
    generation: Arc<Generation>,
    /// Set while a call runs, and for good once one was given up or faulted.
    poisoned: bool,
}

impl Instance {
    /// Instantiates a generation, within the budget of an event.
    pub async fn create(engine: &Engine, generation: &Arc<Generation>) -> Result<Box<Self>, Box<Fault>> {
        let abilities = &engine.abilities;
        let guest = Guest::new(abilities.clone(), generation.identity.clone(), generation.config.clone());
        let mut store = prepare(Store::new(&engine.engine, guest), abilities);
        let outcome = within(abilities, pin!(Self::instantiate(&mut store, generation))).await;
        match outcome.unwrap_or_else(|| Err(wasmtime::format_err!("it took too long to start"))) {
            Ok(calls) => Ok(Box::new(Self { store, calls, generation: generation.clone(), poisoned: false })),
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
        Self::calls(store, generation, &instance).map_err(unfit)
    }

    fn calls(store: &mut Store<Guest>, generation: &Generation, instance: &GuestInstance) -> wasmtime::Result<Calls> {
        let indices = &generation.exports;
        let handler = indices.handler.as_ref().map(|found| found.load(&mut *store, instance)).transpose()?;
        let gate = indices.gate.as_ref().map(|found| found.load(&mut *store, instance)).transpose()?;
        let inbound = indices.inbound.as_ref().map(|found| found.load(&mut *store, instance)).transpose()?;
        let outbound = indices.outbound.as_ref().map(|found| found.load(&mut *store, instance)).transpose()?;
        Ok(Calls { handler, gate, inbound, outbound })
    }

    /// Which version of the plugin it runs.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Whether it must not be called again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Tells the guest an event. The transaction comes back whatever happened.
    pub async fn call(&mut self, transaction: Box<Transaction>, event: Event<'_>) -> Step<Reply> {
        let name = event.name();
        let abilities = self.store.data().abilities.clone();
        self.begin(transaction, &abilities);
        let outcome = within(&abilities, pin!(self.dispatch(event))).await;
        let outcome = outcome.unwrap_or_else(|| {
            self.store.data_mut().cause = Some(Cause::Deadline);
            Err(wasmtime::format_err!("it took more than {} ms of wall time", abilities.limits.event_wall_ms))
        });
        let reply = match outcome {
            Ok(reply) => Ok(self.finish(reply)),
            Err(error) => Err(fault(&mut self.store, name, &error)),
        };
        let transaction = self.store.data_mut().transaction.take();
        (transaction.expect("the transaction lies in the store while the event runs"), reply)
    }

    fn begin(&mut self, transaction: Box<Transaction>, abilities: &Abilities) {
        self.poisoned = true;
        self.store.data_mut().begin(Some(transaction));
        self.store.set_hostcall_fuel(abilities.limits.message_bytes + abilities.limits.effects_bytes + HOSTCALL_SLACK);
        self.store.set_epoch_deadline(1);
    }

    /// The call ended well: the instance may be used again, and what it printed goes to the log.
    fn finish(&mut self, reply: Reply) -> Reply {
        self.poisoned = false;
        self.generation.prove();
        let printed = self.store.data().output.take();
        for line in printed.lines() {
            self.store.data_mut().write_line("info", line);
        }
        reply
    }

    /// Messages are called directly; what happens once in a connection's life is boxed, so that it takes no room in the
    /// futures of messages.
    async fn dispatch(&mut self, event: Event<'_>) -> wasmtime::Result<Reply> {
        let guest = self.store.data();
        let transaction = guest.transaction.as_ref().expect("an event runs");
        let (interface, id) = (transaction.scope().interface, transaction.connection.get());
        match event {
            Event::Connect(handshake) => Box::pin(self.connect(interface, id, handshake)).await,
            Event::Disconnect(frame) => Box::pin(self.disconnect(interface, id, frame)).await,
            Event::Message(message, origin) => match interface {
                Interface::Handler => self.handle(id, message).await,
                Interface::Inbound => Box::pin(self.inbound(id, message)).await,
                Interface::Outbound => Box::pin(self.outbound(id, message, origin)).await,
                Interface::Gate => Ok(Reply::Done),
            },
        }
    }

    async fn connect(&mut self, interface: Interface, id: u64, handshake: &Handshake) -> wasmtime::Result<Reply> {
        let request = Request::of(handshake);
        match (interface, &self.calls.handler, &self.calls.gate) {
            (Interface::Handler, Some(guest), _) => {
                Ok(answer(guest.call_on_connect(&mut self.store, id, request.lower()).await?))
            }
            (Interface::Gate, _, Some(guest)) => {
                Ok(admission(guest.call_on_connect(&mut self.store, id, request.lower()).await?))
            }
            _ => Ok(Reply::Done),
        }
    }

    async fn disconnect(&mut self, interface: Interface, id: u64, frame: &CloseFrame) -> wasmtime::Result<Reply> {
        let frame = lower_frame(frame);
        match (interface, &self.calls.handler, &self.calls.gate) {
            (Interface::Handler, Some(guest), _) => guest.call_on_disconnect(&mut self.store, id, frame).await?,
            (Interface::Gate, _, Some(guest)) => guest.call_on_disconnect(&mut self.store, id, frame).await?,
            _ => {}
        }
        Ok(Reply::Done)
    }

    async fn handle(&mut self, id: u64, message: &Message) -> wasmtime::Result<Reply> {
        if let Some(guest) = &self.calls.handler {
            guest.call_on_message(&mut self.store, id, lower(message)).await?;
        }
        Ok(Reply::Done)
    }

    async fn inbound(&mut self, id: u64, message: &Message) -> wasmtime::Result<Reply> {
        let Some(guest) = &self.calls.inbound else { return Ok(Reply::Done) };
        Ok(verdict(guest.call_on_message(&mut self.store, id, lower(message)).await?))
    }

    async fn outbound(&mut self, id: u64, message: &Message, origin: Option<&Origin>) -> wasmtime::Result<Reply> {
        let Some(guest) = &self.calls.outbound else { return Ok(Reply::Done) };
        let origin = origin.map(|origin| exports::outbound::Origin {
            room: &origin.room,
            place: origin.place.map(|place| types::Place { epoch: place.epoch, offset: place.offset }),
        });
        Ok(verdict(guest.call_on_message(&mut self.store, id, lower(message), origin).await?))
    }
}

/// Sets every bound that a store has.
fn prepare(mut store: Store<Guest>, abilities: &Abilities) -> Store<Guest> {
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(abilities.limits.message_bytes + HOSTCALL_SLACK);
    store.set_max_component_handles(1000);
    store.epoch_deadline_callback(Guest::tick);
    store
}

/// Runs a call within the wall time of an event. The timer is only made for a call that waits. Pinned by the caller, since a
/// future that is handed on by value is stored twice.
async fn within<T>(abilities: &Abilities, mut call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => timed(&abilities.clock, abilities.limits.event_wall(), call).await,
    }
}

async fn timed<T>(clock: &Clock, limit: Duration, call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    tokio::select! {
        biased;
        outcome = call => Some(outcome),
        () = clock.sleep(limit) => None,
    }
}

/// What happened, out of wasmtime's error and what the host noted on the way.
fn fault(store: &mut Store<Guest>, event: &'static str, error: &wasmtime::Error) -> Box<Fault> {
    let guest = store.data_mut();
    let (mut message, backtrace) = Fault::describe(error);
    let noted = guest.cause.or(guest.memory.refused.then_some(Cause::Memory));
    let host = error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().map(|_| Cause::Host);
    let cause = noted.or(host).unwrap_or(Cause::Trap);
    let limits = &guest.abilities.limits;
    match cause {
        Cause::Memory => {
            message = format!("{message}, after it asked for more than {} bytes", limits.guest_memory_bytes)
        }
        Cause::Deadline if error.is::<Trap>() => message = format!("it ran for more than {} ms", limits.event_cpu_ms),
        _ => {}
    }
    Box::new(Fault {
        plugin: guest.identity.plugin.clone(),
        generation: guest.identity.generation,
        event,
        cause,
        message,
        printed: guest.output.take(),
        backtrace,
    })
}

fn lower(message: &Message) -> types::MessageParam<'_> {
    match message.kind() {
        Kind::Text => types::MessageParam::Text(message.as_text().expect("text messages are UTF-8")),
        Kind::Binary => types::MessageParam::Binary(message.payload()),
    }
}

fn lower_frame(frame: &CloseFrame) -> types::CloseFrameParam<'_> {
    types::CloseFrameParam { code: frame.code, reason: &frame.reason }
}

/// A request as lists that a guest's parameters can borrow from.
struct Request<'a> {
    handshake: &'a Handshake,
    params: Vec<(&'a str, &'a str)>,
    headers: Vec<types::HeaderParam<'a>>,
    subprotocols: Vec<&'a str>,
    details: [(&'a str, &'a str); 4],
}

impl<'a> Request<'a> {
    fn of(handshake: &'a Handshake) -> Self {
        Self {
            handshake,
            params: handshake.params().collect(),
            headers: handshake.headers().map(|(name, value)| types::HeaderParam { name, value }).collect(),
            subprotocols: handshake.subprotocols().collect(),
            details: imports::details(handshake),
        }
    }

    fn lower(&self) -> types::RequestParam<'_> {
        types::RequestParam {
            path: self.handshake.path(),
            query: self.handshake.query(),
            params: &self.params,
            headers: &self.headers,
            subprotocols: &self.subprotocols,
            peer: self.handshake.peer(),
            details: &self.details,
        }
    }
}

fn headers(headers: Vec<types::HeaderResult>) -> Vec<Header> {
    headers.into_iter().map(|header| (header.name, header.value)).collect()
}

fn respond(response: types::Response) -> Reply {
    Reply::Respond { status: response.status, headers: headers(response.headers), body: response.body.into() }
}

fn answer(answer: types::Answer) -> Reply {
    match answer {
        types::Answer::Accept(accept) => {
            Reply::Accept { subprotocol: accept.subprotocol, headers: headers(accept.headers) }
        }
        types::Answer::Respond(response) => respond(response),
        types::Answer::Close(frame) => Reply::Close(frame.into()),
    }
}

fn admission(admission: types::Admission) -> Reply {
    match admission {
        types::Admission::Pass(added) => Reply::Accept { subprotocol: None, headers: headers(added) },
        types::Admission::Respond(response) => respond(response),
        types::Admission::Close(frame) => Reply::Close(frame.into()),
    }
}

fn verdict(verdict: types::Verdict) -> Reply {
    match verdict {
        types::Verdict::Pass => Reply::Done,
        types::Verdict::Replace(message) => Reply::Replace(message.into()),
        types::Verdict::Drop => Reply::Drop,
        types::Verdict::Close(frame) => Reply::Close(frame.into()),
    }
}
