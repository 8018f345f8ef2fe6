//! The WIT exports, each as the trait of the same name.
//!
//! `Exported<P>` implements the generated `Guest` trait of an interface for every plugin `P` that has the matching trait.
//! The macro then exports those that the plugin named. Natively it compiles as well, and nothing calls it.

use std::marker::PhantomData;

use super::Instance;
use crate::{
    Close, Connection, ControlEvents, FaultEvents, FlowEvents, Gate, Handler, Inbound, Joined, Migration, Origin,
    Outbound, RoomEvents, Service, TimerEvents, Verdict, bindings, events, gate, handler, host::types, room::Place,
};

/// A plugin as the exports of its component.
pub struct Exported<P>(PhantomData<P>);

impl<P: Instance + Handler> bindings::handler::exports::switchboard::ws::handler::Guest for Exported<P> {
    fn on_connect(id: u64, request: types::Request) -> types::Answer {
        match P::with(|plugin| handler::connect(plugin, &Connection::with_id(id), &request.into())) {
            Ok(accept) => types::Answer::Accept(accept.into_wit()),
            Err(refusal) => refusal.into_answer(),
        }
    }

    fn on_message(id: u64, message: types::Message) {
        P::with(|plugin| handler::message(plugin, &Connection::with_id(id), message));
    }

    fn on_disconnect(id: u64, frame: types::CloseFrame) {
        P::with(|plugin| handler::disconnect(plugin, &Connection::with_id(id), &frame.into()));
    }
}

impl<P: Instance + Gate> bindings::gate::exports::switchboard::ws::gate::Guest for Exported<P> {
    fn on_connect(id: u64, request: types::Request) -> types::Admission {
        match P::with(|plugin| gate::connect(plugin, &Connection::with_id(id), &request.into())) {
            Ok(pass) => types::Admission::Pass(pass.into_wit()),
            Err(refusal) => refusal.into_admission(),
        }
    }

    fn on_disconnect(id: u64, frame: types::CloseFrame) {
        P::with(|plugin| gate::disconnect(plugin, &Connection::with_id(id), &frame.into()));
    }
}

impl<P: Instance + Inbound> bindings::inbound::exports::switchboard::ws::inbound::Guest for Exported<P> {
    fn on_message(id: u64, message: types::Message) -> types::Verdict {
        let outcome = P::with(|plugin| Inbound::message(plugin, &Connection::with_id(id), &message));
        Verdict::of(outcome).into_wit()
    }
}

/// The origin has a type of its own in the contract, since only this interface knows it.
type WitOrigin = bindings::outbound::exports::switchboard::ws::outbound::Origin;

impl<P: Instance + Outbound> bindings::outbound::exports::switchboard::ws::outbound::Guest for Exported<P> {
    fn on_message(id: u64, message: types::Message, origin: Option<WitOrigin>) -> types::Verdict {
        let origin = origin.map(|origin| Origin { room: origin.room, place: origin.place });
        let outcome = P::with(|plugin| Outbound::message(plugin, &Connection::with_id(id), &message, origin.as_ref()));
        Verdict::of(outcome).into_wit()
    }
}

impl<P: Instance + Service> bindings::service::exports::switchboard::ws::service::Guest for Exported<P> {
    fn start() -> Result<(), String> {
        P::with(Service::start)
    }

    fn tick() -> u32 {
        events::whole_millis(P::with(Service::tick))
    }

    fn stop() {
        P::with(Service::stop);
    }
}

impl<P: Instance + TimerEvents> bindings::timer_events::exports::switchboard::ws::timer_events::Guest for Exported<P> {
    fn on_timer(id: u64, token: u32) {
        let connection = Connection::with_id(id);
        P::with(|plugin| events::run(&connection, |state| plugin.timer(&connection, token, state)));
    }
}

impl<P: Instance + FlowEvents> bindings::flow_events::exports::switchboard::ws::flow_events::Guest for Exported<P> {
    fn on_drained(id: u64) {
        let connection = Connection::with_id(id);
        P::with(|plugin| events::run(&connection, |state| plugin.drained(&connection, state)));
    }
}

impl<P: Instance + ControlEvents> bindings::control_events::exports::switchboard::ws::control_events::Guest
    for Exported<P>
{
    fn on_ping(id: u64, payload: Vec<u8>) {
        let connection = Connection::with_id(id);
        P::with(|plugin| events::run(&connection, |state| plugin.ping(&connection, &payload, state)));
    }

    fn on_pong(id: u64, payload: Vec<u8>) {
        let connection = Connection::with_id(id);
        P::with(|plugin| events::run(&connection, |state| plugin.pong(&connection, &payload, state)));
    }
}

impl<P: Instance + RoomEvents> bindings::room_events::exports::switchboard::ws::room_events::Guest for Exported<P> {
    fn on_joined(id: u64, room: String, newest: Place, complete: bool) {
        let connection = Connection::with_id(id);
        let joined = Joined { room: &room, newest, complete };
        P::with(|plugin| events::run(&connection, |state| plugin.joined(&connection, joined, state)));
    }
}

impl<P: Instance + FaultEvents> bindings::fault_events::exports::switchboard::ws::fault_events::Guest for Exported<P> {
    fn on_fault(id: u64, name: String, kind: String) -> Option<types::CloseFrame> {
        P::with(|plugin| plugin.fault(&Connection::with_id(id), &name, &kind)).map(Close::into_frame)
    }
}

impl<P: Instance + Migration> bindings::migration::exports::switchboard::ws::migration::Guest for Exported<P> {
    fn state_version() -> u32 {
        P::VERSION
    }

    fn migrate(from_version: u32, key: String, value: Vec<u8>) -> Result<Vec<u8>, String> {
        P::with(|plugin| plugin.migrate(from_version, &key, value))
    }
}
