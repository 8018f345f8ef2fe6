//! A roll-out: the time in which a new generation has to show that it is good.
//!
//! While it lasts, an event that faults on the new generation is run again on the one before, and both are counted: events,
//! faults, times. It ends by promotion, once the new one has handled enough events for long enough, or by roll-back, when
//! its first event faults, when too many do, or when somebody says so. `engine/plugin` carries out what is decided here.
//! Invariant: of one connection all events go to one side, as long as the canary's share does not change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::generation::Generation;
use crate::clock::Moment;
use crate::id::ConnectionId;
use crate::limits::Limits;

/// Buckets of event times: the first ends at a microsecond, each further one at twice the one before.
const BUCKETS: usize = 26;
/// Spreads the ids of connections, which count up, evenly (the golden ratio of 64 bits).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// How long a generation is young, and how often it may fault.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// So many events it has to handle.
    pub events: u64,
    /// For so long it is young at least.
    pub time: Duration,
    /// With more faults than these it is rolled back.
    pub faults: u64,
    /// The share of the connections that it takes before it is promoted, in percent; 100 for all.
    pub canary: u8,
    /// A canary is promoted after this time by itself; none leaves that to somebody.
    pub canary_time: Option<Duration>,
}

/// Which of the two generations an event runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one before.
    Before,
    /// The new one.
    New,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Before => Self::New,
            Self::New => Self::Before,
        }
    }
}

/// A roll-out that is not decided yet.
pub struct Rollout {
    /// What is rolled out.
    pub new: Arc<Generation>,
    /// What takes over again if that is no good.
    pub before: Arc<Generation>,
    rules: Rules,
    began: Moment,
    canary: AtomicU8,
    groups: [Group; 2],
}

/// What was seen of one side.
#[derive(Default)]
struct Group {
    events: AtomicU64,
    faults: AtomicU64,
    closes: AtomicU64,
    times: [AtomicU64; BUCKETS],
}

/// What was seen of one side, for people.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Seen {
    /// Events that ended well, farewells apart.
    pub events: u64,
    /// Events that faulted.
    pub faults: u64,
    /// Connections that ended.
    pub closes: u64,
    /// Half of the events took at most this, in microseconds, to a factor of two.
    pub p50_us: u64,
    /// 99 of 100 events took at most this.
    pub p99_us: u64,
}

impl Rules {
    /// Those of the limits, for a roll-out to all connections.
    pub fn new(limits: &Limits) -> Self {
        let time = Duration::from_millis(limits.rollout_ms);
        let (events, faults) = (limits.rollout_events, limits.rollout_faults);
        Self { events, time, faults, canary: 100, canary_time: None }
    }
}

impl Rollout {
    /// Begins now.
    pub fn new((new, before): (Arc<Generation>, Arc<Generation>), rules: Rules, now: Moment) -> Self {
        Self { new, before, rules, began: now, canary: AtomicU8::new(rules.canary), groups: Default::default() }
    }

    /// Whether the events of this connection go to the new generation.
    pub fn side(&self, connection: ConnectionId) -> Side {
        let share = connection.get().wrapping_mul(SPREAD) >> 32;
        if share % 100 < u64::from(self.share()) { Side::New } else { Side::Before }
    }

    /// The generation of a side.
    pub fn generation(&self, side: Side) -> &Arc<Generation> {
        match side {
            Side::Before => &self.before,
            Side::New => &self.new,
        }
    }

    /// The share of the connections that the new generation takes, in percent.
    pub fn share(&self) -> u8 {
        self.canary.load(Ordering::Relaxed)
    }

    /// Gives the new generation another share of the connections; some change sides by that.
    pub fn set_share(&self, percent: u8) {
        self.canary.store(percent, Ordering::Relaxed);
    }

    /// Counts an event that ended well; whether it is the first one of the new generation.
    pub fn note_event(&self, side: Side, took: Duration) -> bool {
        let group = self.group(side);
        let is_first = group.events.fetch_add(1, Ordering::Relaxed) == 0;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        group.times[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        is_first && side == Side::New
    }

    /// Counts a connection that ended.
    pub fn note_close(&self, side: Side) {
        self.group(side).closes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fault of the new generation; whether it is one too many. One without any good event before it is.
    pub fn note_fault(&self) -> bool {
        let group = self.group(Side::New);
        let faults = group.faults.fetch_add(1, Ordering::Relaxed) + 1;
        faults > self.rules.faults || group.events.load(Ordering::Relaxed) == 0
    }

    /// Whether the new generation has shown that it is good.
    pub fn is_ripe(&self, now: Moment) -> bool {
        let age = now.saturating_sub(self.began);
        let enough = self.group(Side::New).events.load(Ordering::Relaxed) >= self.rules.events;
        match self.share() {
            100 => enough && age >= self.rules.time,
            _ => enough && self.rules.canary_time.is_some_and(|time| age >= time),
        }
    }

    /// Whether the new generation has handled an event well.
    pub fn is_tried(&self) -> bool {
        self.group(Side::New).events.load(Ordering::Relaxed) > 0
    }

    /// What was seen of a side so far.
    pub fn seen(&self, side: Side) -> Seen {
        let group = self.group(side);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (events, faults, closes) = (load(&group.events), load(&group.faults), load(&group.closes));
        Seen { events, faults, closes, p50_us: group.quantile(50), p99_us: group.quantile(99) }
    }

    fn group(&self, side: Side) -> &Group {
        &self.groups[side as usize]
    }
}

impl Group {
    /// The end of the bucket that so many percent of the events have come to.
    fn quantile(&self, percent: u64) -> u64 {
        let counts: Vec<_> = self.times.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() * percent).div_ceil(100);
        let mut so_far = 0;
        let bucket = counts.iter().position(|count| {
            so_far += count;
            so_far >= wanted
        });
        bucket.filter(|_| wanted > 0).map_or(0, |bucket| 1 << bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_a_factor_of_two() {
        let group = Group::default();
        for micros in [0_u64, 3, 3, 100] {
            let bucket = (u64::BITS - micros.leading_zeros()) as usize;
            group.times[bucket].fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!((group.quantile(25), group.quantile(50), group.quantile(99)), (1, 4, 128));
        assert_eq!(Group::default().quantile(50), 0);
    }
}
