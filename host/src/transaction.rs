//! A transaction: what one event asked for so far.
//!
//! It travels through the guests that the event passes (filters, then the handler) and collects what they ask for. When
//! the event returned, the hub carries it out; when a guest faulted, it is dropped and nothing of it happened. Bounds are
//! checked here, as the guest asks, so that it hears of them.
//! Invariant: nothing in this file reaches a client or another connection; only a commit does.

use bytes::Bytes;

use crate::event::{Effect, Failure, Interface, Kept, Replay, Scope};
use crate::id::{ConnectionId, TenantId};
use crate::limits::Limits;
use crate::message::{CloseFrame, MAX_REASON, Message, close};
use crate::state::Draft;

/// The most bytes of a room's name and of a state's key.
pub const MAX_NAME: usize = 128;
/// The most bytes of a ping's payload (RFC 6455, section 5.5).
pub const MAX_PING: usize = 125;
/// What an effect costs beside its payload, so that a flood of empty ones is bounded too.
const EFFECT_COST: usize = 64;

/// What one event asked for so far.
#[derive(Debug)]
pub struct Transaction {
    /// The event's own connection.
    pub connection: ConnectionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Lent by the connection for the time of the event.
    pub kept: Kept,
    scope: Scope,
    draft: Draft,
    effects: Vec<Effect>,
    bytes: usize,
}

impl Transaction {
    /// An empty one. The scope is set before each guest. Boxed, since it is handed through many futures, whose size is
    /// what an idle connection costs.
    pub fn new(connection: ConnectionId, tenant: TenantId, kept: Kept, scope: Scope) -> Box<Self> {
        let transaction =
            Self { connection, tenant, kept, scope, draft: Draft::default(), effects: Vec::new(), bytes: 0 };
        Box::new(transaction)
    }

    /// Hands the transaction on to the next guest.
    pub fn enter(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Who asks at present.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Ends the event well: what is kept, with the event's writes, and what is still to be done.
    pub fn settle(mut self) -> (Kept, Vec<Effect>) {
        self.kept.state.commit(self.draft);
        (self.kept, self.effects)
    }

    /// Ends the event as if it had never begun.
    pub fn undo(self) -> Kept {
        self.kept
    }

    /// WIT `connections.send`.
    pub fn send(&mut self, limits: &Limits, to: ConnectionId, message: Message) -> Result<(), Failure> {
        let reach = self.scope.position;
        self.push(limits, message.len(), Effect::Send { to, message, reach })
    }

    /// WIT `connections.close`.
    pub fn close(&mut self, limits: &Limits, connection: ConnectionId, frame: CloseFrame) -> Result<(), Failure> {
        check_frame(&frame)?;
        self.push(limits, 0, Effect::Close(connection, frame))
    }

    /// WIT `connections.ping`.
    pub fn ping(&mut self, limits: &Limits, connection: ConnectionId, payload: Bytes) -> Result<(), Failure> {
        if payload.len() > MAX_PING {
            return Err(Failure::too_large(format!("a ping carries at most {MAX_PING} bytes, not {}", payload.len())));
        }
        self.push(limits, payload.len(), Effect::Ping(connection, payload))
    }

    /// WIT `connections.get-state`.
    pub fn get_state(&self, connection: ConnectionId, key: &str) -> Result<Option<&Bytes>, Failure> {
        self.own(connection)?;
        Ok(self.draft.get(&self.kept.state, key))
    }

    /// WIT `connections.set-state`.
    pub fn set_state(
        &mut self,
        limits: &Limits,
        connection: ConnectionId,
        (key, value): (&str, Option<Bytes>),
    ) -> Result<(), Failure> {
        self.own(connection)?;
        check_name("a key", key)?;
        let fits = self.draft.set(&self.kept.state, key, value, &self.scope.plugin, limits.state_bytes);
        fits.then_some(()).ok_or_else(|| {
            Failure::too_large(format!("a connection's state takes at most {} bytes", limits.state_bytes))
        })
    }

    /// WIT `rooms.join`.
    pub fn join(
        &mut self,
        limits: &Limits,
        connection: ConnectionId,
        (room, replay): (&str, Replay),
    ) -> Result<(), Failure> {
        self.own_room(connection, room)?;
        if self.joined(room) {
            return Ok(());
        }
        if self.room_count() >= limits.rooms {
            return Err(Failure::quota(format!("a connection is in at most {} rooms", limits.rooms)));
        }
        let position = self.scope.position;
        self.push(limits, 0, Effect::Join { room: room.into(), replay, position })
    }

    /// WIT `rooms.leave`.
    pub fn leave(&mut self, limits: &Limits, connection: ConnectionId, room: &str) -> Result<(), Failure> {
        self.own_room(connection, room)?;
        self.push(limits, 0, Effect::Leave(room.into()))
    }

    /// WIT `rooms.publish`.
    pub fn publish(
        &mut self,
        limits: &Limits,
        room: &str,
        (message, exclude): (Message, Box<[ConnectionId]>),
    ) -> Result<(), Failure> {
        check_room(room)?;
        self.not_outbound()?;
        let size = message.len() + size_of_val(&*exclude);
        self.push(limits, size, Effect::Publish { room: room.into(), message, exclude })
    }

    /// Whether the connection will be a member once the effects so far are carried out.
    fn joined(&self, room: &str) -> bool {
        let last = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Join { room: name, .. } if **name == *room => Some(true),
            Effect::Leave(name) if **name == *room => Some(false),
            _ => None,
        });
        last.unwrap_or_else(|| self.kept.rooms.iter().any(|name| **name == *room))
    }

    /// How many rooms the connection may be in once the effects so far are carried out; leaving counts only after.
    fn room_count(&self) -> usize {
        let joins = self.effects.iter().filter(|effect| matches!(effect, Effect::Join { .. })).count();
        self.kept.rooms.len() + joins
    }

    fn push(&mut self, limits: &Limits, payload: usize, effect: Effect) -> Result<(), Failure> {
        let bytes = self.bytes + payload + EFFECT_COST;
        if self.effects.len() >= limits.effects || bytes > limits.effects_bytes {
            let bound = format!("{} effects with {} bytes together", limits.effects, limits.effects_bytes);
            return Err(Failure::quota(format!("one event may ask for at most {bound}")));
        }
        self.bytes = bytes;
        self.effects.push(effect);
        Ok(())
    }

    fn own(&self, connection: ConnectionId) -> Result<(), Failure> {
        let own = connection == self.connection;
        own.then_some(()).ok_or_else(|| Failure::invalid("only the event's own connection can be asked for this"))
    }

    fn own_room(&self, connection: ConnectionId, room: &str) -> Result<(), Failure> {
        self.own(connection)?;
        check_room(room)?;
        if self.kept.gone {
            return Err(Failure::invalid("the connection has ended"));
        }
        if room.starts_with('@') {
            return Err(Failure::invalid("rooms that begin with '@' belong to the host"));
        }
        self.not_outbound()
    }

    fn not_outbound(&self) -> Result<(), Failure> {
        let outbound = self.scope.interface == Interface::Outbound;
        (!outbound).then_some(()).ok_or_else(|| Failure::denied("an outbound filter cannot change rooms or publish"))
    }
}

/// Refuses a close frame that may not be sent.
pub fn check_frame(frame: &CloseFrame) -> Result<(), Failure> {
    if !close::may_send(frame.code) {
        return Err(Failure::invalid(format!("close code {} may not be sent", frame.code)));
    }
    if frame.reason.len() > MAX_REASON {
        let length = frame.reason.len();
        return Err(Failure::invalid(format!("a close reason has at most {MAX_REASON} bytes, not {length}")));
    }
    Ok(())
}

/// Refuses a name that is empty or too long.
pub fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let good = (1..=MAX_NAME).contains(&name.len());
    good.then_some(()).ok_or_else(|| Failure::invalid(format!("{what} has 1 to {MAX_NAME} bytes, not {}", name.len())))
}

/// Refuses what cannot be the name of a room. Names go into logs and configurations, so they are printable.
pub fn check_room(name: &str) -> Result<(), Failure> {
    check_name("a room's name", name)?;
    match name.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => Err(Failure::invalid(format!("a room's name is printable; {c:?} is not"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u64 = 1;

    fn transaction(interface: Interface) -> Box<Transaction> {
        let scope = Scope { plugin: "test".into(), interface, position: 0 };
        Transaction::new(ConnectionId::from_guest(OWN), TenantId::UNNAMED, Kept::default(), scope)
    }

    fn own() -> ConnectionId {
        ConnectionId::from_guest(OWN)
    }

    fn live(room: &str) -> (&str, Replay) {
        (room, Replay::Nothing)
    }

    #[test]
    fn a_room_has_a_printable_name_of_1_to_128_bytes() {
        let limits = Limits::default();
        for name in ["", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(129)] {
            let failure = transaction(Interface::Handler).join(&limits, own(), live(name)).expect_err("it is no name");
            assert_eq!(failure.kind, "invalid", "{name:?}");
        }
        for name in ["a", "caf\u{e9} \u{1f600}", &"x".repeat(128)] {
            assert!(transaction(Interface::Handler).join(&limits, own(), live(name)).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn effects_are_bounded_in_count_and_bytes() {
        let limits = Limits { effects: 2, effects_bytes: 1000, ..Limits::default() };
        let mut asked = transaction(Interface::Handler);
        assert!(asked.send(&limits, own(), Message::text("a")).is_ok());
        let big = Message::text("x".repeat(900));
        assert_eq!(asked.send(&limits, own(), big).expect_err("too many bytes").kind, "quota");
        assert!(asked.send(&limits, own(), Message::text("b")).is_ok());
        assert_eq!(asked.send(&limits, own(), Message::text("c")).expect_err("too many").kind, "quota");
        assert_eq!(asked.settle().1.len(), 2);
    }

    #[test]
    fn a_bad_close_frame_is_invalid() {
        let limits = Limits::default();
        for (code, reason) in [(999, ""), (1005, ""), (1000, &*"x".repeat(124))] {
            let frame = CloseFrame::new(code, reason.to_owned());
            let failure = transaction(Interface::Handler).close(&limits, own(), frame).expect_err("it is invalid");
            assert_eq!(failure.kind, "invalid");
        }
    }

    #[test]
    fn an_outbound_filter_may_send_but_not_publish_or_join() {
        let limits = Limits::default();
        let mut asked = transaction(Interface::Outbound);
        assert!(asked.send(&limits, own(), Message::text("a")).is_ok());
        let publish = asked.publish(&limits, "room", (Message::text("a"), Box::default()));
        assert_eq!(publish.expect_err("denied").kind, "denied");
        assert_eq!(asked.join(&limits, own(), live("room")).expect_err("denied").kind, "denied");
    }

    #[test]
    fn rooms_are_bounded_and_joining_twice_is_joining_once() {
        let limits = Limits { rooms: 1, ..Limits::default() };
        let mut asked = transaction(Interface::Handler);
        assert!(asked.join(&limits, own(), live("a")).is_ok());
        assert!(asked.join(&limits, own(), live("a")).is_ok());
        assert_eq!(asked.join(&limits, own(), live("b")).expect_err("one is the limit").kind, "quota");
        assert_eq!(asked.join(&limits, own(), live("@all")).expect_err("not a guest's").kind, "invalid");
        assert_eq!(
            asked.join(&limits, ConnectionId::from_guest(9), live("a")).expect_err("not its own").kind,
            "invalid"
        );
    }

    #[test]
    fn what_is_undone_leaves_no_trace() {
        let limits = Limits::default();
        let mut asked = transaction(Interface::Handler);
        asked.set_state(&limits, own(), ("key", Some(Bytes::from_static(b"1")))).expect("it fits");
        let kept = asked.undo();
        assert!(Draft::default().get(&kept.state, "key").is_none());
    }
}
