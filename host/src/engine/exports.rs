//! The exports of a component: which interfaces it has, and how each is called.
//!
//! A generation knows which there are, an instance holds them typed, and an event is led to the one that it is for. The
//! budgets around a call, and what a fault means, are `engine/instance`.
//! Invariant: only what a component exports is called, so what is not there costs nothing.

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{AsContextMut, Store};

use super::bindings::exports::switchboard::ws as exports;
use super::contract::{Request, admission, answer, frame_reply, lower, lower_frame, lower_place, verdict};
use super::fault::brief;
use super::guest::Guest;
use crate::event::{Call, Event, Interface, Joined, Notice, Origin, Reply};
use crate::handshake::Handshake;
use crate::message::{CloseFrame, Control, Message};
use crate::state::versions::Outdated;

/// Which interfaces a component exports, each with its pre-computed indices.
pub struct Exports {
    /// A bit for each interface, so that the question costs nothing on the path of a message.
    set: u16,
    handler: Option<exports::handler::GuestIndices>,
    gate: Option<exports::gate::GuestIndices>,
    inbound: Option<exports::inbound::GuestIndices>,
    outbound: Option<exports::outbound::GuestIndices>,
    timer_events: Option<exports::timer_events::GuestIndices>,
    flow_events: Option<exports::flow_events::GuestIndices>,
    control_events: Option<exports::control_events::GuestIndices>,
    room_events: Option<exports::room_events::GuestIndices>,
    fault_events: Option<exports::fault_events::GuestIndices>,
    service: Option<exports::service::GuestIndices>,
    migration: Option<exports::migration::GuestIndices>,
}

impl Exports {
    /// Looks which there are.
    pub(super) fn find(pre: &InstancePre<Guest>) -> Self {
        let found = Self {
            set: 0,
            handler: exports::handler::GuestIndices::new(pre).ok(),
            gate: exports::gate::GuestIndices::new(pre).ok(),
            inbound: exports::inbound::GuestIndices::new(pre).ok(),
            outbound: exports::outbound::GuestIndices::new(pre).ok(),
            timer_events: exports::timer_events::GuestIndices::new(pre).ok(),
            flow_events: exports::flow_events::GuestIndices::new(pre).ok(),
            control_events: exports::control_events::GuestIndices::new(pre).ok(),
            room_events: exports::room_events::GuestIndices::new(pre).ok(),
            fault_events: exports::fault_events::GuestIndices::new(pre).ok(),
            service: exports::service::GuestIndices::new(pre).ok(),
            migration: exports::migration::GuestIndices::new(pre).ok(),
        };
        let bits = Interface::ALL.into_iter().filter(|interface| found.looks_for(*interface)).map(bit);
        Self { set: bits.fold(0, |set, bit| set | bit), ..found }
    }

    fn looks_for(&self, interface: Interface) -> bool {
        match interface {
            Interface::Handler => self.handler.is_some(),
            Interface::Gate => self.gate.is_some(),
            Interface::Inbound => self.inbound.is_some(),
            Interface::Outbound => self.outbound.is_some(),
            Interface::TimerEvents => self.timer_events.is_some(),
            Interface::FlowEvents => self.flow_events.is_some(),
            Interface::ControlEvents => self.control_events.is_some(),
            Interface::RoomEvents => self.room_events.is_some(),
            Interface::FaultEvents => self.fault_events.is_some(),
            Interface::Service => self.service.is_some(),
        }
    }

    /// Whether this interface is there.
    pub fn has(&self, interface: Interface) -> bool {
        self.set & bit(interface) != 0
    }

    /// Their names, for people.
    pub fn names(&self) -> Vec<&'static str> {
        Interface::ALL.into_iter().filter(|interface| self.has(*interface)).map(Interface::name).collect()
    }

    /// Whether the component can be middleware.
    pub fn is_middleware(&self) -> bool {
        [Interface::Gate, Interface::Inbound, Interface::Outbound].into_iter().any(|interface| self.has(interface))
    }

    /// Whether the component can be anything at all; the other interfaces only add to one of these.
    pub fn is_plugin(&self) -> bool {
        self.is_middleware() || self.has(Interface::Handler) || self.has(Interface::Service)
    }

    /// The exports of one instance, typed.
    pub(super) fn load(&self, mut store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Calls> {
        let mut store = store.as_context_mut();
        Ok(Calls {
            handler: self.handler.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            gate: self.gate.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            inbound: self.inbound.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            outbound: self.outbound.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            timer_events: self.timer_events.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            flow_events: self.flow_events.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            control_events: self.control_events.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            room_events: self.room_events.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            fault_events: self.fault_events.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            service: self.service.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            migration: self.migration.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
        })
    }
}

fn bit(interface: Interface) -> u16 {
    1 << interface as u16
}

/// The exports of one instance, each ready to be called.
pub(super) struct Calls {
    handler: Option<exports::handler::Guest>,
    gate: Option<exports::gate::Guest>,
    inbound: Option<exports::inbound::Guest>,
    outbound: Option<exports::outbound::Guest>,
    timer_events: Option<exports::timer_events::Guest>,
    flow_events: Option<exports::flow_events::Guest>,
    control_events: Option<exports::control_events::Guest>,
    room_events: Option<exports::room_events::Guest>,
    fault_events: Option<exports::fault_events::Guest>,
    service: Option<exports::service::Guest>,
    migration: Option<exports::migration::Guest>,
}

type Told = wasmtime::Result<Reply>;

impl Calls {
    /// Leads an event to its export. Messages are called directly; all else is rarer and boxed, so that it takes no room in
    /// the futures of messages.
    pub(super) async fn tell(&self, store: &mut Store<Guest>, event: Event<'_>) -> Told {
        let transaction = store.data().transaction.as_ref().expect("an event runs");
        let (interface, id) = (transaction.scope().interface, transaction.subject.connection.get());
        match event {
            Event::Message(message, origin) => match interface {
                Interface::Inbound => Box::pin(self.inbound(store, id, message)).await,
                Interface::Outbound => Box::pin(self.outbound(store, id, (message, origin))).await,
                _ => self.message(store, id, message).await,
            },
            Event::Connect(handshake) => Box::pin(self.connect(store, (interface, id), handshake)).await,
            Event::Disconnect(frame) => Box::pin(self.disconnect(store, (interface, id), frame)).await,
            Event::Notice(notice) => Box::pin(self.notice(store, id, notice)).await,
            Event::Fault(plugin, kind) => Box::pin(self.fault(store, id, (plugin, kind))).await,
            Event::Service(call) => Box::pin(self.service(store, call)).await,
        }
    }

    async fn message(&self, store: &mut Store<Guest>, id: u64, message: &Message) -> Told {
        if let Some(guest) = &self.handler {
            guest.call_on_message(store, id, lower(message)).await?;
        }
        Ok(Reply::Done)
    }

    async fn inbound(&self, store: &mut Store<Guest>, id: u64, message: &Message) -> Told {
        let Some(guest) = &self.inbound else { return Ok(Reply::Done) };
        Ok(verdict(guest.call_on_message(store, id, lower(message)).await?))
    }

    async fn outbound(
        &self,
        store: &mut Store<Guest>,
        id: u64,
        (message, origin): (&Message, Option<&Origin>),
    ) -> Told {
        let Some(guest) = &self.outbound else { return Ok(Reply::Done) };
        let origin =
            origin.map(|Origin { room, place }| exports::outbound::Origin { room, place: place.map(lower_place) });
        Ok(verdict(guest.call_on_message(store, id, lower(message), origin).await?))
    }

    async fn connect(
        &self,
        store: &mut Store<Guest>,
        (interface, id): (Interface, u64),
        handshake: &Handshake,
    ) -> Told {
        let request = Request::of(handshake);
        match (interface, &self.handler, &self.gate) {
            (Interface::Handler, Some(guest), _) => {
                Ok(answer(guest.call_on_connect(store, id, request.lower()).await?))
            }
            (Interface::Gate, _, Some(guest)) => {
                Ok(admission(guest.call_on_connect(store, id, request.lower()).await?))
            }
            _ => Ok(Reply::Done),
        }
    }

    async fn disconnect(
        &self,
        store: &mut Store<Guest>,
        (interface, id): (Interface, u64),
        frame: &CloseFrame,
    ) -> Told {
        let frame = lower_frame(frame);
        match (interface, &self.handler, &self.gate) {
            (Interface::Handler, Some(guest), _) => guest.call_on_disconnect(store, id, frame).await?,
            (Interface::Gate, _, Some(guest)) => guest.call_on_disconnect(store, id, frame).await?,
            _ => {}
        }
        Ok(Reply::Done)
    }

    async fn notice(&self, store: &mut Store<Guest>, id: u64, notice: &Notice) -> Told {
        match notice {
            Notice::Timer(token) => {
                if let Some(guest) = &self.timer_events {
                    guest.call_on_timer(store, id, *token).await?;
                }
            }
            Notice::Drained => {
                if let Some(guest) = &self.flow_events {
                    guest.call_on_drained(store, id).await?;
                }
            }
            Notice::Control(frame) => {
                if let Some(guest) = &self.control_events {
                    match frame {
                        Control::Ping(payload) => guest.call_on_ping(store, id, payload).await?,
                        Control::Pong(payload) => guest.call_on_pong(store, id, payload).await?,
                    }
                }
            }
            Notice::Joined(Joined { room, newest, complete }) => {
                if let Some(guest) = &self.room_events {
                    guest.call_on_joined(store, id, room, lower_place(*newest), *complete).await?;
                }
            }
        }
        Ok(Reply::Done)
    }

    async fn fault(&self, store: &mut Store<Guest>, id: u64, (plugin, kind): (&str, &str)) -> Told {
        let Some(guest) = &self.fault_events else { return Ok(Reply::Done) };
        Ok(frame_reply(guest.call_on_fault(store, id, plugin, kind).await?))
    }

    async fn service(&self, store: &mut Store<Guest>, call: Call) -> Told {
        let Some(guest) = &self.service else { return Ok(Reply::Done) };
        match call {
            Call::Start => Ok(guest.call_start(store).await?.map_or_else(Reply::Failed, |()| Reply::Done)),
            Call::Tick => Ok(Reply::Again(guest.call_tick(store).await?)),
            Call::Stop => guest.call_stop(store).await.map(|()| Reply::Done),
        }
    }

    /// The version of the state that it writes; 0 where it does not say.
    pub(super) async fn state_version(&self, store: &mut Store<Guest>) -> wasmtime::Result<u32> {
        let Some(guest) = &self.migration else { return Ok(0) };
        guest.call_state_version(store).await
    }

    /// A value of another version as this one has it, or why it does not fit.
    pub(super) async fn migrate(&self, store: &mut Store<Guest>, value: &Outdated) -> wasmtime::Result<Vec<u8>> {
        let Some(guest) = &self.migration else { wasmtime::bail!("this build exports no `migration`") };
        let migrated = guest.call_migrate(store, value.version, &value.key, &value.value).await?;
        migrated.map_err(|reason| wasmtime::format_err!("{}", brief(&reason)))
    }
}
