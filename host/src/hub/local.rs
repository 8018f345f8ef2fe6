//! One worker's side of the hub: its connections, its members of rooms, its inbox.
//!
//! Mail is turned into items of mailboxes here, and nowhere else. All of it belongs to one thread; nothing here waits.
//! Invariant: a member gets exactly the messages behind its joining, in the order of the inbox; a replay of those before
//! lies ahead of them in its mailbox.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use super::Hub;
use super::history::Replayed;
use super::inbox::{Envelope, Mail, Publication, Received};
use super::mailbox::{Mailbox, Offered, Outgoing};
use super::room::RoomKey;
use crate::event::{Origin, Place, Replay};
use crate::id::{ConnectionId, TenantId, WorkerIndex};
use crate::message::CloseFrame;
use crate::metrics::{Failure, Metrics};

/// After this many members in a row that were offered something, the worker's other tasks get their turn: some tenths of a
/// millisecond.
const OFFERS_PER_TURN: usize = 1024;

/// A connection of this worker as a member of a room.
struct Member {
    mailbox: Rc<Mailbox>,
    /// It gets the messages after this place. One of another life of the room is on its way to a member of before.
    after: Place,
}

/// In an order in which a fan-out can go on where it stopped, whoever came or left meanwhile.
type Members = BTreeMap<ConnectionId, Member>;

impl Member {
    fn offer(&self, local: &LocalHub, (id, publication): (ConnectionId, &Publication)) {
        let place = publication.place;
        let excluded = publication.exclude.binary_search(&id).is_ok();
        if !excluded && place.epoch == self.after.epoch && place.offset > self.after.offset {
            let place = publication.is_kept.then_some(place);
            let origin = Some(Origin { room: publication.room.name.clone(), place });
            let message = publication.message.clone();
            local.offer_to(&self.mailbox, Outgoing::Message { message, origin, reach: usize::MAX });
        }
    }
}

/// The hub as one worker sees it.
pub struct LocalHub {
    hub: Arc<Hub>,
    worker: WorkerIndex,
    metrics: Arc<Metrics>,
    connections: RefCell<HashMap<ConnectionId, Rc<Mailbox>>>,
    rooms: RefCell<HashMap<RoomKey, Members>>,
    inbox: RefCell<Received>,
    /// How many offers are left before others get their turn.
    left: Cell<usize>,
}

impl LocalHub {
    /// The side of this worker, with the receiving end of its inbox.
    pub fn new(hub: Arc<Hub>, worker: WorkerIndex, metrics: Arc<Metrics>, inbox: Received) -> Self {
        let (connections, rooms) = Default::default();
        Self { hub, worker, metrics, connections, rooms, inbox: RefCell::new(inbox), left: Cell::new(OFFERS_PER_TURN) }
    }

    /// The shared part.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Which worker this is.
    pub fn worker(&self) -> WorkerIndex {
        self.worker
    }

    /// Makes a connection known by its id.
    pub fn add(&self, mailbox: &Rc<Mailbox>) {
        self.connections.borrow_mut().insert(mailbox.id(), mailbox.clone());
    }

    /// Forgets a connection that has left its rooms.
    pub fn remove(&self, id: ConnectionId) {
        self.connections.borrow_mut().remove(&id);
    }

    /// Forgets a connection whose task panicked, wherever it is a member. Looks through all rooms, since nobody knows any more
    /// which it was in.
    pub fn disown(&self, mailbox: &Mailbox) {
        mailbox.shut();
        let is_member = |members: &Members| members.contains_key(&mailbox.id());
        let rooms: Vec<_> = {
            let rooms = self.rooms.borrow();
            rooms.iter().filter(|(_, members)| is_member(members)).map(|(key, _)| key.name.clone()).collect()
        };
        rooms.iter().for_each(|room| self.leave(mailbox, room));
        self.remove(mailbox.id());
    }

    /// The mailboxes of all connections, for a drain.
    pub fn mailboxes(&self) -> Vec<Rc<Mailbox>> {
        self.connections.borrow().values().cloned().collect()
    }

    /// Closes the connections that came through routes of which this says how, as the members of the routes' rooms.
    pub fn close_routes(&self, ends: impl Fn(TenantId, &str) -> Option<CloseFrame>) {
        for (key, members) in self.rooms.borrow().iter() {
            let frame = key.name.strip_prefix("@route/").and_then(|route| ends(key.tenant, route));
            if let Some(frame) = frame {
                members.values().for_each(|member| member.mailbox.close(frame.clone()));
            }
        }
    }

    /// A connection of the tenant, if it is here and open.
    pub fn find(&self, id: ConnectionId, tenant: TenantId) -> Option<Rc<Mailbox>> {
        self.connections.borrow().get(&id).filter(|mailbox| mailbox.tenant() == tenant).cloned()
    }

    /// Makes a connection of this worker a member, and queues its replay.
    pub fn join(&self, mailbox: &Rc<Mailbox>, name: &Arc<str>, replay: Replay) -> Option<Replayed> {
        let key = RoomKey { tenant: mailbox.tenant(), name: name.clone() };
        let mut joining = self.hub.rooms().join(&key, self.worker, mailbox.id(), replay);
        if let Some(replayed) = &mut joining.replayed {
            mailbox.replay(replayed.cursor.take());
        }
        let member = Member { mailbox: mailbox.clone(), after: joining.after };
        self.rooms.borrow_mut().entry(key).or_default().insert(mailbox.id(), member);
        joining.replayed
    }

    /// Ends a membership; what is left of its replay falls away.
    pub fn leave(&self, mailbox: &Mailbox, name: &Arc<str>) {
        let key = RoomKey { tenant: mailbox.tenant(), name: name.clone() };
        mailbox.end_replay(name);
        self.hub.rooms().leave(&key, self.worker, mailbox.id());
        let mut rooms = self.rooms.borrow_mut();
        if let Some(members) = rooms.get_mut(&key) {
            members.remove(&mailbox.id());
            if members.is_empty() {
                rooms.remove(&key);
            }
        }
    }

    /// Delivers mail as it comes, for as long as the server runs. What is done while a `meter` lives is done for its tenant.
    pub async fn serve<M>(&self, meter: impl Fn(TenantId) -> M) {
        loop {
            let next = poll_fn(|cx| self.inbox.borrow_mut().poll_next(cx)).await;
            let Some(envelope) = next else { return };
            let metered = meter(envelope.mail.tenant());
            self.deliver(envelope);
            drop(metered);
            self.let_others_on().await;
        }
    }

    /// Delivers the tenant's mail that is there now, so that a commit sees its own publish delivered before its next effect.
    pub async fn work_off(&self, tenant: TenantId) {
        let now = self.inbox.borrow_mut().arrived();
        let next = || self.inbox.borrow_mut().next_of(tenant, now);
        while let Some(envelope) = next() {
            self.deliver(envelope);
            self.let_others_on().await;
        }
    }

    /// The same for all tenants.
    pub async fn work_off_all(&self) {
        let waiting = self.inbox.borrow_mut().waiting();
        for tenant in waiting {
            self.work_off(tenant).await;
        }
    }

    async fn let_others_on(&self) {
        if self.left.get() == 0 {
            self.left.set(OFFERS_PER_TURN);
            tokio::task::yield_now().await;
        }
    }

    /// Delivers a mail, or what there is time for now; the rest of it lies first in its tenant's line then.
    fn deliver(&self, mut envelope: Envelope) {
        self.left.update(|left| left.saturating_sub(1));
        match &envelope.mail {
            Mail::Publish(publication) => {
                envelope.reached = self.fan_out(publication, envelope.reached);
                if envelope.reached.is_some() {
                    self.inbox.borrow_mut().put_back(envelope);
                }
            }
            Mail::Send(to, tenant, message) => self.offer(*to, *tenant, Outgoing::message(message.clone())),
            Mail::Control(to, tenant, frame) => self.offer(*to, *tenant, Outgoing::Control(frame.clone())),
            Mail::Close(to, tenant, frame) => {
                if let Some(mailbox) = self.find(*to, *tenant) {
                    mailbox.close(frame.clone());
                }
            }
        }
    }

    /// Queues something for a connection of this worker; one that is gone is no failure.
    pub fn offer(&self, to: ConnectionId, tenant: TenantId, item: Outgoing) {
        if let Some(mailbox) = self.find(to, tenant) {
            self.offer_to(&mailbox, item);
        }
    }

    /// Goes on behind the member that it reached; gives the one that it reached now, unless there was time for all.
    fn fan_out(&self, publication: &Publication, reached: Option<ConnectionId>) -> Option<ConnectionId> {
        let rooms = self.rooms.borrow();
        let members = rooms.get(&publication.room)?;
        let behind = reached.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = self.left.get();
        for (id, member) in members.range((behind, Bound::Unbounded)) {
            member.offer(self, (*id, publication));
            left = left.saturating_sub(1);
            if left == 0 {
                self.left.set(0);
                return Some(*id);
            }
        }
        self.left.set(left);
        None
    }

    /// The only place where slow consumers and what is dropped for them are counted.
    fn offer_to(&self, mailbox: &Mailbox, item: Outgoing) {
        match mailbox.offer(item) {
            Offered::Taken => {}
            Offered::Closed => self.metrics.fail(Failure::Slow, mailbox.id()),
            Offered::Dropped { oldest, newest } => {
                self.metrics.dropped_oldest.inc_by(oldest);
                self.metrics.dropped_newest.inc_by(newest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::super::history::Memory;
    use super::super::mailbox::Bounds;
    use super::*;
    use crate::clock::Clock;
    use crate::config::SlowPolicy;
    use crate::limits::Limits;
    use crate::message::Message;
    use crate::tenants::Tenants;

    fn local() -> LocalHub {
        let (limits, metrics) = (Limits::default(), Arc::new(Metrics::default()));
        let memory = Memory::new(&[], &Clock::manual(), &Tenants::new(&limits), &metrics);
        let (hub, mut inboxes) = Hub::new(1, &limits, &metrics, memory);
        LocalHub::new(hub, 0, metrics, inboxes.remove(0))
    }

    fn mailbox(raw: u64) -> Rc<Mailbox> {
        let bounds = Bounds { bytes: 100, messages: 10, slow: SlowPolicy::Close };
        Mailbox::new(ConnectionId::from_guest(raw), TenantId::UNNAMED, bounds)
    }

    async fn publish(local: &LocalHub, room: &str) {
        let key = RoomKey { tenant: TenantId::UNNAMED, name: room.into() };
        let permit = local.hub().inboxes()[0].permit(TenantId::UNNAMED).await.expect("there is room");
        local.hub().rooms().publish(&key, (Message::text("x"), Box::default()), vec![permit]);
    }

    #[tokio::test]
    async fn a_fan_out_to_many_lets_others_on_and_reaches_each_member_once() {
        let (local, room) = (local(), Arc::from("crowd"));
        let members: Vec<_> = (1..=OFFERS_PER_TURN as u64 * 2).map(|n| mailbox(n * 2)).collect();
        members.iter().for_each(|member| drop(local.join(member, &room, Replay::Nothing)));
        publish(&local, &room).await;
        let mut working_off = pin!(local.work_off(TenantId::UNNAMED));
        assert!(working_off.as_mut().now_or_never().is_none(), "others get their turn");
        let (reached, waiting): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.queued() > 0);
        assert!(reached.len() >= OFFERS_PER_TURN - 1 && waiting.len() >= OFFERS_PER_TURN - 1);
        let (early, late, gone) = (mailbox(1), mailbox(u64::MAX), waiting[0]);
        [&early, &late].iter().for_each(|member| drop(local.join(member, &room, Replay::Nothing)));
        local.leave(gone, &room);
        working_off.await;
        for member in members.iter().filter(|member| member.id() != gone.id()) {
            assert_eq!(member.queued(), 1, "one message of one byte");
        }
        for member in [&early, &late, gone] {
            assert_eq!(member.queued(), 0, "it was no member of then or is none now");
        }
    }

    #[tokio::test]
    async fn all_mail_is_worked_off_also_of_a_crowd_that_takes_several_turns() {
        let (local, room) = (local(), Arc::from("crowd"));
        let members: Vec<_> = (1..=OFFERS_PER_TURN as u64 * 3).map(mailbox).collect();
        members.iter().for_each(|member| drop(local.join(member, &room, Replay::Nothing)));
        publish(&local, &room).await;
        local.work_off_all().await;
        assert!(members.iter().all(|member| member.queued() == 1));
    }

    #[test]
    fn nothing_is_left_of_a_connection_that_is_disowned() {
        let (local, ann, bob) = (local(), mailbox(1), mailbox(2));
        for member in [&ann, &bob] {
            local.add(member);
            for room in ["@all", "lobby"] {
                local.join(member, &room.into(), Replay::Nothing);
            }
        }
        local.disown(&ann);
        assert!(local.find(ann.id(), TenantId::UNNAMED).is_none() && ann.is_closing());
        for room in ["@all", "lobby"] {
            assert_eq!(local.hub().members(TenantId::UNNAMED, room, 10), [bob.id()], "{room}");
        }
        assert!(local.find(bob.id(), TenantId::UNNAMED).is_some() && !bob.is_closing());
    }
}
