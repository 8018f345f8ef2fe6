//! A sliding window, from the counts of two fixed windows that lie side by side.
//!
//! Time is cut into windows of one length. What counts at a moment is the current window's count, and of the window before
//! it as large a part as the sliding window still covers: a quarter into the current one, three quarters of it. That takes
//! two numbers, whatever the limit.
//!
//! Its error: it takes what came in the window before as spread evenly over it. So a span of one length, which touches two
//! windows, may let in more than the limit, but less than twice as many; that needs a whole limit at the end of one. What
//! comes evenly, at most the limit less two in a window, is never refused.

use std::time::Duration;

/// So many in a time of this length.
pub struct Rate {
    limit: u64,
    /// In milliseconds; not 0.
    length: u64,
}

/// A moment, as a rate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Which window, counted from the Unix epoch.
    pub window: u64,
    /// How far into it, in milliseconds.
    elapsed: u64,
}

impl Rate {
    /// The limit and the length are at least 1, and whole seconds.
    pub fn new(limit: u64, length: Duration) -> Self {
        Self { limit, length: length.as_secs() * 1000 }
    }

    /// How long a window is.
    pub fn length(&self) -> Duration {
        Duration::from_millis(self.length)
    }

    /// Where a time lies that is given since the Unix epoch.
    pub fn at(&self, time: Duration) -> Moment {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Moment { window: millis / self.length, elapsed: millis % self.length }
    }

    /// Whether these counts are within the limit; the current one has in it what is asked for. Exact: no part is rounded.
    pub fn allows(&self, now: Moment, previous: u64, current: u64) -> bool {
        let covered = u128::from(previous) * u128::from(self.length - now.elapsed);
        covered + u128::from(current) * u128::from(self.length) <= u128::from(self.limit) * u128::from(self.length)
    }
}
