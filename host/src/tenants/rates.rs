//! How many messages and bytes a second one tenant sends and is sent, over all workers.
//!
//! Told of each message by `server/socket`, which waits with it where the answer is to wait. A rate is one number: the time
//! up to which all that was let through is paid for. Each message moves it on by what it costs, so those that wait have their
//! turns in the order in which they came, each its own, and nobody has to be woken to find that another was faster.
//! Invariant: no lock, and nothing is counted or asked of the clock for a tenant without rates.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::limits::Limits;

const SECOND: u64 = 1_000_000_000;
/// What is not used is saved up to so much, in nanoseconds of the rate.
const BURST: u64 = SECOND;
/// The most that one message costs, in nanoseconds: so many that wait for so long do not overflow the sum.
const MOST: u64 = 3600 * SECOND;

/// The rates of one tenant.
#[derive(Debug)]
pub struct Rates {
    /// What its clients send.
    pub inbound: Flow,
    /// What is sent to its clients.
    pub outbound: Flow,
}

/// The rates of one direction.
#[derive(Debug, Default)]
pub struct Flow {
    messages: Rate,
    bytes: Rate,
    /// How often they were changed.
    changes: AtomicU32,
}

/// The turn of a message that has to wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// When it may go, if the rates stay as they are.
    pub until: Moment,
    changes: u32,
}

#[derive(Debug, Default)]
struct Rate {
    /// 0 for none.
    per_second: AtomicU64,
    /// In nanoseconds of the clock.
    paid_until: AtomicU64,
}

impl Rates {
    /// Those of these limits.
    pub fn new(limits: &Limits) -> Self {
        let rates = Self { inbound: Flow::default(), outbound: Flow::default() };
        rates.change(limits);
        rates
    }

    /// Has those of these limits apply from here on.
    pub fn change(&self, limits: &Limits) {
        self.inbound.change(limits.messages_in, limits.bytes_in);
        self.outbound.change(limits.messages_out, limits.bytes_out);
    }
}

impl Flow {
    /// Rates that are others begin anew, with all of a second's worth.
    fn change(&self, messages: u64, bytes: u64) {
        let others = [self.messages.change(messages), self.bytes.change(bytes)];
        if others.contains(&true) {
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether there is any.
    pub fn is_limited(&self) -> bool {
        self.messages.per_second() > 0 || self.bytes.per_second() > 0
    }

    /// Takes room for a message of this size; where there is none, it has to wait for its turn and may go then without another
    /// question. A message that is larger than all that a second has goes once anything may, and those after it wait longer.
    pub fn take(&self, size: usize, clock: &Clock) -> Option<Wait> {
        if !self.is_limited() {
            return None;
        }
        let changes = self.changes.load(Ordering::Acquire);
        let now = u64::try_from(clock.now().as_nanos()).unwrap_or(u64::MAX);
        let until = self.messages.take(1, now).max(self.bytes.take(size as u64, now));
        (until > now).then(|| Wait { until: Duration::from_nanos(until), changes })
    }

    /// Whether the turn has come. It has for all who wait under rates that were changed meanwhile.
    pub fn has_come(&self, turn: Wait, now: Moment) -> bool {
        turn.until <= now || turn.changes != self.changes.load(Ordering::Acquire)
    }
}

impl Rate {
    fn per_second(&self) -> u64 {
        self.per_second.load(Ordering::Relaxed)
    }

    fn change(&self, per_second: u64) -> bool {
        let is_other = self.per_second.swap(per_second, Ordering::Relaxed) != per_second;
        if is_other {
            self.paid_until.store(0, Ordering::Relaxed);
        }
        is_other
    }

    /// Pays for so much, and says when its first unit may go.
    fn take(&self, units: u64, now: u64) -> u64 {
        let per_second = self.per_second();
        if per_second == 0 || units == 0 {
            return now;
        }
        let cost = |units: u64| (units.saturating_mul(SECOND) / per_second).clamp(1, MOST);
        self.paid_until.fetch_max(now, Ordering::Relaxed);
        let before = self.paid_until.fetch_add(cost(units), Ordering::Relaxed);
        (before + cost(1)).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(messages: u64, bytes: u64) -> (Flow, Clock) {
        let flow = Flow::default();
        flow.change(messages, bytes);
        (flow, Clock::manual())
    }

    /// How many of these messages may go at once.
    fn passed(flow: &Flow, clock: &Clock, size: usize) -> usize {
        (0..1000).take_while(|_| flow.take(size, clock).is_none()).count()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_seconds_worth_goes_at_once_and_then_one_after_the_other() {
        for messages in [1, 3, 10, 999] {
            let (flow, clock) = flow(messages, 0);
            assert_eq!(passed(&flow, &clock, 1_000_000) as u64, messages);
        }
        let (flow, clock) = flow(10, 0);
        assert_eq!(passed(&flow, &clock, 1), 10);
        let turns: Vec<_> = (0..3).map(|_| flow.take(1, &clock).expect("it waits").until).collect();
        assert_eq!(turns, [ms(200), ms(300), ms(400)], "behind the one that found no room first");
        clock.advance(ms(1400));
        assert_eq!(passed(&flow, &clock, 1), 10, "what was not used is saved up, for a second");
        clock.advance(ms(100_000));
        assert_eq!(passed(&flow, &clock, 1), 10);
    }

    #[test]
    fn bytes_are_counted_apart_from_messages() {
        let (flow, clock) = flow(100, 1000);
        assert_eq!(passed(&flow, &clock, 250), 4);
        let (flow, clock) = self::flow(5, 1000);
        assert_eq!(passed(&flow, &clock, 0), 5, "an empty one is a message");
    }

    #[test]
    fn a_message_larger_than_the_rate_goes_and_is_paid_off_afterwards() {
        let (flow, clock) = flow(0, 1000);
        assert!(flow.take(10_000, &clock).is_none());
        let next = flow.take(1, &clock).expect("it waits");
        assert_eq!(next.until, ms(9001));
        assert!(!flow.has_come(next, ms(9000)) && flow.has_come(next, ms(9001)));
    }

    #[test]
    fn other_rates_begin_anew_and_let_on_who_waits() {
        let (flow, clock) = flow(1, 0);
        assert_eq!(passed(&flow, &clock, 1), 1);
        let waiting = flow.take(1, &clock).expect("it waits");
        flow.change(1, 0);
        assert!(!flow.has_come(waiting, ms(0)), "these are the same");
        flow.change(2, 0);
        assert!(flow.has_come(waiting, ms(0)));
        assert_eq!(passed(&flow, &clock, 1), 2);
        flow.change(0, 0);
        assert_eq!(passed(&flow, &clock, 1), 1000);
    }

    #[test]
    fn no_number_of_large_messages_makes_the_sum_overflow() {
        let (flow, clock) = flow(1, 1);
        for _ in 0..1_000_000 {
            flow.take(usize::MAX, &clock);
        }
        assert!(flow.take(1, &clock).is_some());
    }
}
