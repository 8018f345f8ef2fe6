//! Time, handed to whoever needs it.
//!
//! Everything that has a rule about time (guests' clocks, timers, keepalive, budgets) asks a [`Clock`], never the
//! system, so that a test can drive it. A manual clock stands still until [`Clock::advance`] moves it.
//! Invariant: `now` never goes back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// A point in time: what has passed since the clock was made.
pub type Moment = Duration;

/// A cheap handle to the one clock of a server.
#[derive(Clone)]
pub struct Clock {
    source: Source,
    /// What the wall clock showed at moment zero, since the Unix epoch.
    wall_at_start: Duration,
}

#[derive(Clone)]
enum Source {
    System(Instant),
    Manual(Arc<watch::Sender<Moment>>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { source: Source::System(Instant::now()), wall_at_start: wall }
    }

    /// A clock that only [`Clock::advance`] moves. Its wall clock begins at 2001-09-09T01:46:40Z.
    pub fn manual() -> Self {
        let source = Source::Manual(Arc::new(watch::Sender::new(Moment::ZERO)));
        Self { source, wall_at_start: Duration::from_secs(1_000_000_000) }
    }

    /// Time since the clock was made.
    pub fn now(&self) -> Moment {
        match &self.source {
            Source::System(start) => start.elapsed(),
            Source::Manual(now) => *now.borrow(),
        }
    }

    /// Time since the Unix epoch.
    pub fn wall(&self) -> Duration {
        self.wall_at_start + self.now()
    }

    /// Waits until `now` has reached the moment.
    pub async fn sleep_until(&self, moment: Moment) {
        match &self.source {
            Source::System(start) => tokio::time::sleep_until((*start + moment).into()).await,
            Source::Manual(now) => {
                // The sender lives in this very clock, so the wait cannot fail while it is borrowed.
                let _ = now.subscribe().wait_for(|now| *now >= moment).await;
            }
        }
    }

    /// Waits this long.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().saturating_add(duration)).await;
    }

    /// Moves a manual clock on and wakes whoever waited for it; a system clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.source {
            now.send_modify(|now| *now += by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_is_moved() {
        let clock = Clock::manual();
        let before = clock.wall();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(3600));
        sleeper.await.expect("the sleeper ends");
        assert_eq!(clock.wall() - before, Duration::from_secs(3600));
    }
}
