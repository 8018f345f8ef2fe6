//! The mailbox of one connection: the bounded queue of what is still to be written to it.
//!
//! Filled by commits and by mail, emptied by the connection's own task, which nobody else writes for. Shared by
//! reference count within one worker, never between threads.
//! Invariant: once a close is queued, nothing more is taken; so a close is always the last thing written.

mod queue;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use queue::{From, Load, Queue, Waiting};

use super::history::Cursor;
use crate::clock::Moment;
use crate::config::SlowPolicy;
use crate::event::{Effect, Origin};
use crate::id::{ConnectionId, TenantId};
use crate::message::{CloseFrame, Control, Message, close};

/// Something to be written to the connection.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// A message that passes the outermost `reach` links of the chain.
    Message {
        /// As it was sent or published.
        message: Message,
        /// Where it came from a room.
        origin: Option<Origin>,
        /// Where in the chain it begins its way out.
        reach: usize,
    },
    /// A ping or pong.
    Control(Control),
    /// The end.
    Close(CloseFrame),
}

impl Outgoing {
    /// A message by id that passes the whole chain.
    pub fn message(message: Message) -> Self {
        Self::Message { message, origin: None, reach: usize::MAX }
    }

    fn size(&self) -> usize {
        match self {
            Self::Message { message, .. } => message.len(),
            Self::Control(frame) => frame.payload().len(),
            Self::Close(frame) => frame.reason.len(),
        }
    }
}

/// How much others may queue: the slow-consumer policy begins above either.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Payloads together.
    pub bytes: usize,
    /// Messages.
    pub messages: usize,
    /// The policy.
    pub slow: SlowPolicy,
}

/// What became of what others sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// It waits to be written, or falls away with a connection that is closing anyway.
    Taken,
    /// It made the connection a slow consumer, which ends it.
    Closed,
    /// Room was short, and so many messages were dropped.
    Dropped {
        /// Of those that waited.
        oldest: u64,
        /// 1 where the new one found no room.
        newest: u64,
    },
}

/// The mailbox and name of one connection.
pub struct Mailbox {
    id: ConnectionId,
    tenant: TenantId,
    bounds: Bounds,
    queue: RefCell<Queue>,
    closing: Cell<bool>,
    /// When its worker's alarms ring it; theirs to set.
    alarm: Cell<Option<Moment>>,
    /// Set by an alarm until the connection has seen it.
    rung: Cell<bool>,
    /// Set while somebody waits for the mailbox to have drained.
    draining: Cell<bool>,
    reader: Cell<Option<Waker>>,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new(id: ConnectionId, tenant: TenantId, bounds: Bounds) -> Rc<Self> {
        let (queue, closing, alarm, rung, draining, reader) = Default::default();
        Rc::new(Self { id, tenant, bounds, queue, closing, alarm, rung, draining, reader })
    }

    /// Whose it is.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The tenant of the connection.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Queues what the connection's own event sent; bounded by the effects of one event and by reading being stopped.
    pub fn put(&self, item: Outgoing) {
        self.take_in(From::Own, Waiting::Item(item));
    }

    /// Queues what a room kept, for its new member, and a mark behind it. Counted as its own traffic, so that nothing is
    /// read from a client that has much of it before it.
    pub fn replay(&self, cursor: Option<Cursor>) {
        if let Some(cursor) = cursor {
            self.take_in(From::Own, Waiting::Replay(cursor));
        }
        self.take_in(From::Own, Waiting::Mark);
    }

    /// Queues what the plugin sends as it hears of a join: before the first mark, and so behind that join's replay and
    /// before all live messages.
    pub fn put_at_mark(&self, item: Outgoing) {
        if self.closing.get() {
            return;
        }
        let without_mark = self.queue.borrow_mut().insert_at_mark(item);
        match without_mark {
            Some(item) => self.put(item),
            None => self.wake(),
        }
    }

    /// Takes the first mark away: the plugin was told.
    pub fn release(&self) {
        self.queue.borrow_mut().release();
        self.wake();
    }

    /// Queues what others sent; where there is no room for it, the policy decides.
    pub fn offer(&self, item: Outgoing) -> Offered {
        if self.closing.get() || self.has_room(item.size()) {
            self.take_in(From::Others, Waiting::Item(item));
            return Offered::Taken;
        }
        match self.bounds.slow {
            SlowPolicy::Close => {
                self.abandon(close::SLOW);
                Offered::Closed
            }
            SlowPolicy::DropOldest => self.displace(item),
            SlowPolicy::DropNewest => Offered::Dropped { oldest: 0, newest: 1 },
        }
    }

    fn has_room(&self, size: usize) -> bool {
        let others = self.queue.borrow().others;
        others.messages < self.bounds.messages && others.bytes + size <= self.bounds.bytes
    }

    /// Takes something in place of the oldest messages of others. What would never fit displaces nothing.
    fn displace(&self, item: Outgoing) -> Offered {
        if item.size() > self.bounds.bytes {
            return Offered::Dropped { oldest: 0, newest: 1 };
        }
        let mut oldest = 0;
        while !self.has_room(item.size()) {
            if !self.queue.borrow_mut().drop_oldest() {
                return Offered::Dropped { oldest, newest: 1 };
            }
            oldest += 1;
        }
        self.take_in(From::Others, Waiting::Item(item));
        Offered::Dropped { oldest, newest: 0 }
    }

    /// Queues the end, behind all that waits. Only the first counts.
    pub fn close(&self, frame: CloseFrame) {
        self.take_in(From::Own, Waiting::Item(Outgoing::Close(frame)));
        self.closing.set(true);
    }

    /// Queues the end in place of all that waits: the peer does not read, or must not see it.
    pub fn abandon(&self, frame: CloseFrame) {
        if !self.closing.get() {
            *self.queue.borrow_mut() = Queue::default();
            self.close(frame);
        }
    }

    /// Takes nothing more: the connection is gone. Gives the close that still waited, if one did.
    pub fn shut(&self) -> Option<CloseFrame> {
        self.closing.set(true);
        self.queue.take().into_close()
    }

    /// Whether a close was queued, after which no message of the client is delivered.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether so much waits that nothing more is read from the client.
    pub fn is_half_full(&self) -> bool {
        let total = self.queue.borrow().total;
        self.is_half(total)
    }

    /// Whether an event leaves the mailbox more than half full in the eyes of its guest: with so many bytes in it as the event
    /// began, and what it sends to its own connection. What was written meanwhile does not count, since the guest did not see
    /// it go: it has stopped all the same, and waits to be told to go on.
    pub fn would_be_half_full(&self, queued: usize, effects: &[Effect]) -> bool {
        let mut load = Load { bytes: queued, messages: 0 };
        for effect in effects {
            if let Effect::Send { to, message, .. } = effect
                && *to == self.id
            {
                load.bytes += message.len();
                load.messages += 1;
            }
        }
        self.is_half(load)
    }

    fn is_half(&self, load: Load) -> bool {
        load.bytes > self.bounds.bytes / 2 || load.messages > self.bounds.messages / 2
    }

    /// How many bytes wait.
    pub fn queued(&self) -> usize {
        self.queue.borrow().total.bytes
    }

    /// When it is rung next, if at all.
    pub fn alarm(&self) -> Option<Moment> {
        self.alarm.get()
    }

    /// Notes that, for the worker's alarms.
    pub fn note_alarm(&self, alarm: Option<Moment>) {
        self.alarm.set(alarm);
    }

    /// Wakes the connection, which then looks what is due.
    pub fn ring(&self) {
        self.rung.set(true);
        self.wake();
    }

    /// Whether an alarm went off; told once.
    pub fn take_ring(&self) -> bool {
        self.rung.take()
    }

    /// Has the connection told once little is left.
    pub fn await_drain(&self) {
        self.draining.set(true);
    }

    /// Whether little is left in a mailbox whose draining was waited for; told once.
    pub fn take_drained(&self) -> bool {
        let drained = self.draining.get() && self.is_nearly_empty();
        drained && self.draining.take()
    }

    fn is_nearly_empty(&self) -> bool {
        let total = self.queue.borrow().total;
        total.bytes <= self.bounds.bytes / 8 && total.messages <= self.bounds.messages / 8
    }

    /// The size of the message that is written next, if it is one.
    pub fn next_message(&self) -> Option<usize> {
        self.queue.borrow().next_message()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// The next item, or a wake-up once there is one. One task reads.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Outgoing> {
        match self.pop() {
            Some(item) => Poll::Ready(item),
            None => {
                self.wake_at_next(cx);
                Poll::Pending
            }
        }
    }

    /// Wakes the task when the next item comes.
    pub fn wake_at_next(&self, cx: &Context<'_>) {
        self.reader.set(Some(cx.waker().clone()));
    }

    /// Takes what is left of a room's replay back: its member left.
    pub fn end_replay(&self, room: &Arc<str>) {
        self.queue.borrow_mut().end_replay(room);
    }

    fn pop(&self) -> Option<Outgoing> {
        self.queue.borrow_mut().pop()
    }

    fn take_in(&self, from: From, waiting: Waiting) {
        if self.closing.get() {
            return;
        }
        self.queue.borrow_mut().push(from, waiting);
        self.wake();
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::Memory;
    use super::super::room::RoomKey;
    use super::*;
    use crate::clock::Clock;
    use crate::config::{Keep, RoomConfig, RoomPattern};
    use crate::event::Replay;
    use crate::limits::Limits;
    use crate::metrics::Metrics;
    use crate::tenants::Tenants;

    fn mailbox() -> Rc<Mailbox> {
        with(Bounds { bytes: 100, messages: 4, slow: SlowPolicy::Close })
    }

    fn with(bounds: Bounds) -> Rc<Mailbox> {
        Mailbox::new(ConnectionId::from_guest(1), TenantId::UNNAMED, bounds)
    }

    fn dropped(oldest: u64, newest: u64) -> Offered {
        Offered::Dropped { oldest, newest }
    }

    /// The lengths of the messages that wait, oldest first; a ping is 0.
    fn waiting(mailbox: &Mailbox) -> Vec<usize> {
        let length = |item: Outgoing| matches!(item, Outgoing::Message { .. }).then(|| item.size()).unwrap_or_default();
        std::iter::from_fn(|| mailbox.pop()).map(length).collect()
    }

    fn bounded(bytes: usize) -> Rc<Mailbox> {
        with(Bounds { bytes, messages: 100, slow: SlowPolicy::Close })
    }

    fn text(length: usize) -> Outgoing {
        Outgoing::message(Message::text("x".repeat(length)))
    }

    /// Seven messages of 10 bytes that a room keeps, as the cursor of one that joins it.
    fn kept() -> Cursor {
        let keep = Keep { messages: 10, bytes: 10_000, time: std::time::Duration::from_secs(1) };
        let rooms = [RoomConfig { tenant: TenantId::UNNAMED, pattern: RoomPattern::Name("room".into()), keep }];
        let memory = Memory::new(&rooms, &Clock::manual(), &Tenants::new(&Limits::default()), &Metrics::default());
        let key = RoomKey { tenant: TenantId::UNNAMED, name: "room".into() };
        let mut history = memory.begin(&key, 7).expect("it keeps");
        (1..=7).for_each(|offset| history.push(offset, &Message::text("x".repeat(10))));
        let replayed = history.replay(&key.name, 7, Replay::Newest(7)).expect("it was asked for");
        replayed.cursor.expect("something is kept")
    }

    fn offset(item: Option<Outgoing>) -> Option<u64> {
        match item {
            Some(Outgoing::Message { origin, .. }) => origin?.place.map(|place| place.offset),
            _ => None,
        }
    }

    #[test]
    fn a_replay_comes_out_one_by_one_and_counts_as_its_own_until_it_is_out() {
        let mailbox = mailbox();
        mailbox.replay(Some(kept()));
        assert_eq!(mailbox.offer(text(100)), Offered::Taken, "what others may send is counted apart");
        mailbox.close(close::RESTART);
        for expected in 1..=7 {
            assert!(mailbox.is_half_full());
            assert_eq!(offset(mailbox.pop()), Some(expected));
        }
        mailbox.release();
        assert!(matches!(mailbox.pop(), Some(Outgoing::Message { origin: None, .. })));
        assert_eq!(code(mailbox.pop()), Some(1012));
        assert!(mailbox.pop().is_none() && !mailbox.is_half_full());
    }

    #[test]
    fn what_is_sent_at_the_mark_stands_between_the_replay_and_what_is_live() {
        let mailbox = mailbox();
        mailbox.replay(None);
        mailbox.replay(Some(kept()));
        assert_eq!(mailbox.offer(text(60)), Offered::Taken);
        assert!(mailbox.pop().is_none(), "nothing passes a mark");
        mailbox.put_at_mark(text(1));
        mailbox.put_at_mark(text(2));
        let size = |item: Option<Outgoing>| item.map(|item| item.size());
        assert_eq!((size(mailbox.pop()), size(mailbox.pop()), size(mailbox.pop())), (Some(1), Some(2), None));
        mailbox.release();
        assert_eq!((1..=7).find(|expected| offset(mailbox.pop()) != Some(*expected)), None);
        mailbox.put_at_mark(text(3));
        mailbox.release();
        mailbox.put_at_mark(text(4));
        assert_eq!((size(mailbox.pop()), size(mailbox.pop()), size(mailbox.pop())), (Some(3), Some(60), Some(4)));
        assert!(mailbox.pop().is_none());
    }

    #[test]
    fn a_replay_falls_away_with_its_membership() {
        let mailbox = mailbox();
        mailbox.replay(Some(kept()));
        mailbox.put(text(1));
        assert_eq!(offset(mailbox.pop()), Some(1));
        mailbox.end_replay(&"other".into());
        assert!(mailbox.is_half_full());
        mailbox.end_replay(&"room".into());
        assert!(!mailbox.is_half_full());
        mailbox.release();
        assert!(matches!(mailbox.pop(), Some(Outgoing::Message { origin: None, .. })));
        assert!(mailbox.pop().is_none());
    }

    fn code(item: Option<Outgoing>) -> Option<u16> {
        match item {
            Some(Outgoing::Close(frame)) => Some(frame.code),
            _ => None,
        }
    }

    #[test]
    fn others_may_fill_it_to_the_bound_and_not_beyond() {
        let mailbox = mailbox();
        assert_eq!((mailbox.offer(text(60)), mailbox.offer(text(40))), (Offered::Taken, Offered::Taken));
        assert_eq!(mailbox.offer(text(1)), Offered::Closed, "one byte more");
        assert_eq!(code(mailbox.pop()), Some(1013), "what waited is given up for the close");
    }

    #[test]
    fn messages_are_counted_too() {
        let mailbox = mailbox();
        for _ in 0..4 {
            assert_eq!(mailbox.offer(text(0)), Offered::Taken);
        }
        assert_eq!(mailbox.offer(text(0)), Offered::Closed);
    }

    #[test]
    fn its_own_traffic_stops_the_reading_and_never_closes() {
        let mailbox = mailbox();
        mailbox.put(text(50));
        assert!(!mailbox.is_half_full());
        mailbox.put(text(500));
        assert!(mailbox.is_half_full() && !mailbox.is_closing());
        assert_eq!(mailbox.offer(text(100)), Offered::Taken, "what others may send is counted apart");
    }

    #[test]
    fn nothing_is_taken_after_a_close() {
        let mailbox = mailbox();
        mailbox.put(text(1));
        mailbox.close(close::RESTART);
        mailbox.put(text(1));
        mailbox.close(close::INTERNAL);
        assert!(matches!(mailbox.pop(), Some(Outgoing::Message { .. })));
        assert_eq!(code(mailbox.pop()), Some(1012));
        assert!(mailbox.pop().is_none());
    }

    #[test]
    fn q2_the_newest_1000_stay_in_order() {
        let mailbox = with(Bounds { bytes: usize::MAX, messages: 1000, slow: SlowPolicy::DropOldest });
        let offered: Vec<_> = (0..1500).map(|length| mailbox.offer(text(length))).collect();
        assert!(offered[..1000].iter().all(|offered| *offered == Offered::Taken));
        assert!(offered[1000..].iter().all(|offered| *offered == dropped(1, 0)));
        assert!(waiting(&mailbox).into_iter().eq(500..1500));
    }

    #[test]
    fn as_many_of_the_oldest_go_as_the_new_one_needs() {
        let mailbox = with(Bounds { bytes: 100, messages: 10, slow: SlowPolicy::DropOldest });
        for length in [20, 30, 25, 25] {
            assert_eq!(mailbox.offer(text(length)), Offered::Taken);
        }
        assert_eq!(mailbox.offer(text(45)), dropped(2, 0));
        assert_eq!(mailbox.offer(text(5)), Offered::Taken, "the room that was left is used");
        assert_eq!(waiting(&mailbox), [25, 25, 45, 5]);
        assert_eq!(mailbox.offer(text(100)), Offered::Taken, "nothing is counted that is gone");
    }

    #[test]
    fn what_would_never_fit_displaces_nothing() {
        let mailbox = with(Bounds { bytes: 100, messages: 4, slow: SlowPolicy::DropOldest });
        mailbox.offer(text(60));
        assert_eq!(mailbox.offer(text(101)), dropped(0, 1));
        assert_eq!(waiting(&mailbox), [60]);
    }

    #[test]
    fn its_own_traffic_and_pings_and_closes_are_never_dropped() {
        let mailbox = with(Bounds { bytes: 100, messages: 3, slow: SlowPolicy::DropOldest });
        mailbox.put(text(70));
        let ping = || Outgoing::Control(Control::Ping("ping".into()));
        assert_eq!(
            (mailbox.offer(ping()), mailbox.offer(text(40)), mailbox.offer(ping())),
            (Offered::Taken, Offered::Taken, Offered::Taken)
        );
        mailbox.put(text(80));
        assert_eq!(mailbox.offer(ping()), dropped(1, 0), "a message makes room for a ping");
        assert_eq!(mailbox.offer(text(1)), dropped(0, 1), "and pings make none");
        assert_eq!(waiting(&mailbox), [70, 0, 0, 80, 0]);
        for _ in 0..3 {
            mailbox.offer(text(1));
        }
        mailbox.close(close::RESTART);
        assert_eq!(mailbox.offer(text(1)), Offered::Taken, "falls away");
        assert_eq!(code(mailbox.shut().map(Outgoing::Close)), Some(1012));
    }

    #[test]
    fn the_new_one_is_left_out_where_the_policy_is_so() {
        let mailbox = with(Bounds { bytes: 100, messages: 2, slow: SlowPolicy::DropNewest });
        for (length, offered) in [(1, Offered::Taken), (100, dropped(0, 1)), (2, Offered::Taken), (3, dropped(0, 1))] {
            assert_eq!(mailbox.offer(text(length)), offered);
        }
        assert_eq!(waiting(&mailbox), [1, 2]);
    }

    #[test]
    fn what_is_written_while_an_event_runs_does_not_hide_that_its_guest_stopped() {
        let mailbox = bounded(1000);
        let send =
            |bytes: usize| vec![Effect::Send { to: mailbox.id(), message: Message::binary(vec![0; bytes]), reach: 0 }];
        assert!(!mailbox.would_be_half_full(200, &send(300)));
        assert!(mailbox.would_be_half_full(200, &send(301)), "although nothing is in it by now");
        let other = Effect::Send { to: ConnectionId::from_guest(99), message: Message::binary(vec![0; 900]), reach: 0 };
        assert!(!mailbox.would_be_half_full(200, &[other]));
    }

    #[test]
    fn a_drained_mailbox_is_told_once_and_only_to_who_waits_for_it() {
        let mailbox = bounded(800);
        assert!(!mailbox.take_drained());
        mailbox.await_drain();
        mailbox.put(Outgoing::message(Message::binary(vec![0; 101])));
        assert!(!mailbox.take_drained());
        mailbox.pop();
        assert!(mailbox.take_drained() && !mailbox.take_drained());
    }
}
