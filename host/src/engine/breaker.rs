//! The circuit breaker of a plugin: after many faults in a short time it gets no events for a while.
//!
//! Told of each fault that nothing could be done about, asked before each event and each handshake. When the pause is over,
//! events come again, on trial: one more fault, and the next pause is twice as long.
//! Invariant: a plugin without faults costs one look at a flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::limits::Limits;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// The breaker of one plugin.
#[derive(Default)]
pub struct Breaker {
    /// Whether there is a pause, which may be over by now.
    open: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the faults are counted from, and how many there were since.
    began: Moment,
    faults: u64,
    until: Moment,
    /// The last pause; none once a trial went well.
    pause: Option<Duration>,
}

impl Breaker {
    /// Whether the plugin is to get no events now. The time is only asked for where there is a pause.
    pub fn stops(&self, now: impl FnOnce() -> Moment) -> bool {
        if !self.open.load(Ordering::Relaxed) {
            return false;
        }
        let now = now();
        let mut state = self.lock();
        let stops = now < state.until;
        if !stops && self.open.swap(false, Ordering::Relaxed) {
            (state.began, state.faults) = (now, 0);
        }
        stops
    }

    /// Notes a fault; gives the pause that begins with it, if one does.
    pub fn note_fault(&self, now: Moment, limits: &Limits) -> Option<Duration> {
        let mut state = self.lock();
        if self.open.load(Ordering::Relaxed) || limits.breaker_faults == 0 {
            return None;
        }
        let window = Duration::from_millis(limits.breaker_ms);
        if now >= state.began + window {
            *state = State { began: now, ..State::default() };
        }
        state.faults += 1;
        let on_trial = state.pause.is_some();
        if !on_trial && state.faults < limits.breaker_faults {
            return None;
        }
        let first = Duration::from_millis(limits.breaker_pause_ms);
        let pause = state.pause.map_or(first, |pause| pause * 2).min(LONGEST.max(first));
        (state.until, state.pause) = (now + pause, Some(pause));
        self.open.store(true, Ordering::Relaxed);
        Some(pause)
    }

    /// Begins anew: other code is there.
    pub fn reset(&self) {
        *self.lock() = State::default();
        self.open.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn limits() -> Limits {
        Limits { breaker_faults: 3, breaker_ms: 1000, breaker_pause_ms: 100, ..Limits::default() }
    }

    /// A breaker after three faults at this time.
    fn open(ms: u64) -> Breaker {
        let breaker = Breaker::default();
        let pauses: Vec<_> = (0..3).map(|_| breaker.note_fault(at(ms), &limits())).collect();
        assert_eq!(pauses, [None, None, Some(at(100))]);
        breaker
    }

    #[test]
    fn it_opens_at_the_last_of_so_many_faults_within_the_time() {
        let breaker = Breaker::default();
        for ms in [0, 999, 1000, 1001] {
            assert_eq!(breaker.note_fault(at(ms), &limits()), None, "the first two are over at 1000");
        }
        assert_eq!(breaker.note_fault(at(1999), &limits()), Some(at(100)));
        assert!(breaker.stops(|| at(2098)) && !breaker.stops(|| at(2099)));
    }

    #[test]
    fn a_fault_on_trial_doubles_the_pause_up_to_a_minute() {
        let breaker = open(0);
        let (mut now, mut pause) = (at(100), at(100));
        for _ in 0..12 {
            assert!(!breaker.stops(|| now));
            pause = (pause * 2).min(LONGEST);
            assert_eq!(breaker.note_fault(now, &limits()), Some(pause));
            assert!(breaker.stops(|| now));
            now += pause;
        }
        assert_eq!(pause, LONGEST);
    }

    #[test]
    fn a_trial_that_goes_well_is_over_after_the_time_of_a_count() {
        let breaker = open(0);
        assert!(!breaker.stops(|| at(100)));
        assert_eq!(breaker.note_fault(at(1100), &limits()), None);
    }

    #[test]
    fn faults_of_events_that_ran_when_it_opened_lengthen_nothing_and_other_code_begins_anew() {
        let breaker = open(0);
        assert_eq!(breaker.note_fault(at(1), &limits()), None);
        breaker.reset();
        assert!(!breaker.stops(|| at(1)));
        assert_eq!(breaker.note_fault(at(1), &limits()), None);
    }

    #[test]
    fn it_can_be_switched_off() {
        let (breaker, off) = (Breaker::default(), Limits { breaker_faults: 0, ..limits() });
        assert!((0..1000).all(|_| breaker.note_fault(at(0), &off).is_none()));
    }
}
