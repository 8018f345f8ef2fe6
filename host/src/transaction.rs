//! A transaction: what one event asked for so far.
//!
//! It travels through the guests that the event passes (filters, then the handler) and collects what they ask for. When
//! the event returned, the hub carries it out; when a guest faulted, it is dropped and nothing of it happened. Bounds are
//! checked here, as the guest asks, so that it hears of them.
//! Invariant: nothing in this file reaches a client or another connection; only a commit does.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Moment;
use crate::event::{Effect, Failure, Interface, Kept, Replay, Scope, Subject};
use crate::id::ConnectionId;
use crate::limits::Limits;
use crate::message::{CloseFrame, Control, MAX_REASON, Message, close};
use crate::state::draft::Draft;
use crate::state::versions::Outdated;
use crate::state::{Bounds, Unfit, Writer};
use crate::store::{self, Store};
use crate::timers::TimerKey;

/// The most bytes of a room's name and of a state's key.
pub const MAX_NAME: usize = 128;
/// The most bytes of the payload of a ping or pong (RFC 6455, section 5.5).
pub const MAX_CONTROL: usize = 125;
/// What an effect costs beside its payload, so that a flood of empty ones is bounded too.
const EFFECT_COST: usize = 64;

/// A plugin, and generations of it that an event is not run on again.
pub type Avoided = (Arc<str>, Vec<u64>);

/// What one event asked for so far.
#[derive(Debug)]
pub struct Transaction {
    /// The event's own connection, and whose it is.
    pub subject: Subject,
    /// Lent by the connection for the time of the event.
    pub kept: Kept,
    /// Generations on which this event has faulted, by plugin: others are asked instead.
    pub avoided: Vec<Avoided>,
    /// Whether a guest sent an HTTP request in this event, which cannot be undone: then the event is not run again.
    pub went_out: bool,
    scope: Scope,
    /// Of the state that the present guest reads and writes.
    version: u32,
    draft: Draft,
    effects: Vec<Effect>,
    bytes: usize,
    /// Of these, what is sent to the event's own connection.
    own_bytes: usize,
    /// Made at the first question, so that an event without the store pays nothing. Dropped, it takes its increments back.
    store: Option<Box<store::draft::Draft>>,
}

impl Transaction {
    /// An empty one. The scope is set before each guest. Boxed, since it is handed through many futures, whose size is
    /// what an idle connection costs.
    pub fn new(subject: Subject, kept: Kept, scope: Scope) -> Box<Self> {
        let (avoided, went_out, version, draft, effects, store) = Default::default();
        Box::new(Self {
            subject,
            kept,
            avoided,
            went_out,
            scope,
            version,
            draft,
            effects,
            bytes: 0,
            own_bytes: 0,
            store,
        })
    }

    /// Hands the transaction on to the next guest.
    pub fn enter(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// The generations of this plugin on which the event has faulted.
    pub fn avoids(&self, plugin: &Arc<str>) -> &[u64] {
        self.avoided.iter().find(|(avoided, _)| avoided == plugin).map_or(&[], |(_, generations)| generations)
    }

    /// Who asks at present.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Ends the event well: what is kept, with the event's writes, and what is still to be done.
    pub fn settle(mut self) -> (Kept, Vec<Effect>) {
        self.kept.state.commit(self.draft);
        if let Some(store) = self.store {
            self.effects.insert(0, Effect::Store(store));
        }
        (self.kept, self.effects)
    }

    /// Ends the event as if it had never begun.
    pub fn undo(self) -> Kept {
        self.kept
    }

    /// WIT `connections.send`.
    pub fn send(&mut self, limits: &Limits, to: ConnectionId, message: Message) -> Result<(), Failure> {
        let (reach, bytes) = (self.scope.position, message.len());
        self.push(limits, bytes, Effect::Send { to, message, reach })?;
        if to == self.subject.connection {
            self.own_bytes += bytes;
        }
        Ok(())
    }

    /// WIT `flow.queued`: bytes in the mailbox as the event began, and what it sent since.
    pub fn queued(&self, connection: ConnectionId) -> Result<usize, Failure> {
        self.own(connection)?;
        Ok(self.subject.queued + self.own_bytes)
    }

    /// WIT `connections.close`.
    pub fn close(&mut self, limits: &Limits, connection: ConnectionId, frame: CloseFrame) -> Result<(), Failure> {
        check_frame(&frame)?;
        self.push(limits, 0, Effect::Close(connection, frame))
    }

    /// WIT `connections.ping` and `control.pong`.
    pub fn control(&mut self, limits: &Limits, connection: ConnectionId, frame: Control) -> Result<(), Failure> {
        let length = frame.payload().len();
        if length > MAX_CONTROL {
            return Err(Failure::too_large(format!(
                "a ping or pong carries at most {MAX_CONTROL} bytes, not {length}"
            )));
        }
        self.push(limits, length, Effect::Control(connection, frame))
    }

    /// WIT `timers.set`.
    pub fn set_timer(
        &mut self,
        limits: &Limits,
        connection: ConnectionId,
        (token, due): (u32, Moment),
    ) -> Result<(), Failure> {
        self.own(connection)?;
        if self.kept.gone {
            return Err(Failure::invalid("the connection has ended"));
        }
        let key = TimerKey { position: self.scope.position, token };
        if let Some(set) = self.timer_set(key) {
            *set = due;
            return Ok(());
        }
        if !self.kept.timers.has(key) && self.timer_count() >= limits.timers {
            return Err(Failure::quota(format!("a connection has at most {} timers", limits.timers)));
        }
        self.push(limits, 0, Effect::SetTimer(key, due))
    }

    /// WIT `timers.cancel`.
    pub fn cancel_timer(&mut self, limits: &Limits, connection: ConnectionId, token: u32) -> Result<(), Failure> {
        self.own(connection)?;
        let key = TimerKey { position: self.scope.position, token };
        self.effects.retain(|effect| !matches!(effect, Effect::SetTimer(set, _) if *set == key));
        self.push(limits, 0, Effect::CancelTimer(key))
    }

    /// When this event has set the timer to, if it has.
    fn timer_set(&mut self, key: TimerKey) -> Option<&mut Moment> {
        self.effects.iter_mut().find_map(|effect| match effect {
            Effect::SetTimer(set, due) if *set == key => Some(due),
            _ => None,
        })
    }

    /// How many timers the connection may have once the effects so far are carried out; canceling counts only after.
    fn timer_count(&self) -> usize {
        let sets = self.effects.iter().filter(|effect| matches!(effect, Effect::SetTimer(..))).count();
        self.kept.timers.count() + sets
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
        let fits = self.draft.set(&self.kept.state, (key, value), &self.writer(), limits.state());
        fits.then_some(()).ok_or_else(|| {
            let Bounds { bytes, keys } = limits.state();
            Failure::too_large(format!("a connection's state takes at most {bytes} bytes and {keys} keys"))
        })
    }

    /// The next guest is of a generation with this version of the state. Says whether values that its plugin wrote under
    /// another version are to be carried over before it is called.
    pub fn read_as(&mut self, version: u32) -> bool {
        self.version = version;
        self.draft.has_outdated(&self.kept.state, &self.scope.plugin, version)
    }

    /// The present guest's generation is promoted: what its plugin had stored before it is dropped. A comparison where
    /// nothing is kept.
    pub fn promote_state(&mut self, version: u32) {
        self.kept.state.promote(&self.scope.plugin, version);
    }

    /// Goes back to the values from before a migration, where the present guest is of a generation that is gone back to;
    /// says how many there were.
    pub fn roll_back_state(&mut self, limits: &Limits) -> Result<u64, Unfit> {
        let reader = self.writer();
        let rolled_back = self.draft.roll_back(&self.kept.state, &reader, limits.state());
        rolled_back.map_err(|key| Unfit { key, reader })
    }

    /// The values that the present guest has to migrate.
    pub fn outdated_state(&self) -> Vec<Outdated> {
        self.draft.outdated(&self.kept.state, &self.writer())
    }

    /// Notes what the guest made of a value (WIT `migration.migrate`); false where there is no room for it.
    pub fn migrate_state(&mut self, limits: &Limits, migrated: (Outdated, Bytes)) -> bool {
        let reader = self.writer();
        self.draft.migrate(&self.kept.state, migrated, &reader, limits.state())
    }

    /// The present guest, as one who reads and writes state.
    pub fn writer(&self) -> Writer {
        Writer { plugin: self.scope.plugin.clone(), version: self.version }
    }

    /// What the event asks of the store.
    pub fn store(&mut self, store: &Store, key: &str) -> Result<&mut store::draft::Draft, Failure> {
        check_name("a key", key)?;
        Ok(self.store.get_or_insert_with(|| Box::new(store.draft(self.subject.tenant))))
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
        let own = connection == self.subject.connection && connection != ConnectionId::NONE;
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
    use crate::id::TenantId;

    const OWN: u64 = 1;

    fn transaction(interface: Interface) -> Box<Transaction> {
        let scope = Scope { plugin: "test".into(), interface, position: 0 };
        let subject = Subject { connection: own(), tenant: TenantId::UNNAMED, queued: 100 };
        Transaction::new(subject, Kept::default(), scope)
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
    fn timers_are_bounded_and_one_that_is_moved_is_no_new_one() {
        let limits = Limits { timers: 2, ..Limits::default() };
        let mut asked = transaction(Interface::Handler);
        let mut set = |token| asked.set_timer(&limits, own(), (token, Moment::from_secs(1)));
        assert!(set(1).is_ok() && set(2).is_ok());
        assert_eq!(set(3).expect_err("two is the limit").kind, "quota");
        let mut kept = Kept::default();
        kept.timers.set(TimerKey { position: 0, token: 7 }, Moment::from_secs(1));
        kept.timers.set(TimerKey { position: 0, token: 8 }, Moment::from_secs(1));
        let mut asked = Transaction { kept, ..*transaction(Interface::Handler) };
        assert!(asked.set_timer(&limits, own(), (7, Moment::from_secs(2))).is_ok());
        assert!(asked.set_timer(&limits, own(), (9, Moment::from_secs(2))).is_err());
    }

    #[test]
    fn what_is_queued_counts_what_the_event_sent_to_its_own_connection() {
        let limits = Limits::default();
        let mut asked = transaction(Interface::Handler);
        asked.send(&limits, own(), Message::text("12345")).expect("it fits");
        asked.send(&limits, ConnectionId::from_guest(9), Message::text("12345")).expect("it fits");
        assert_eq!(asked.queued(own()), Ok(105));
        assert!(asked.queued(ConnectionId::from_guest(9)).is_err());
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
