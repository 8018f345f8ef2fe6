//! The time, from one place, so that tests can set it.

use std::time::Duration;

/// Since the Unix epoch.
#[cfg(not(test))]
pub fn now() -> Duration {
    use std::time::SystemTime;
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
thread_local! {
    static NOW: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::from_secs(1_800_000_000)) };
}

/// What the test of this thread last set.
#[cfg(test)]
pub fn now() -> Duration {
    NOW.get()
}

/// Moves the time on.
#[cfg(test)]
pub fn advance(by: Duration) {
    NOW.set(NOW.get() + by);
}
