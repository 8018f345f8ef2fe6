//! The ticker: a thread that moves the engine's epoch on, once a millisecond while any guest runs.
//!
//! Guests yield at each tick, and their budgets are counted in ticks. A ticker that runs for nothing costs 1.7 % of a
//! core, so it parks after a while without a running event, and the next event wakes it.
//! Invariant: while an [`Activity`] is busy, the epoch moves.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

/// The time between two ticks.
pub const TICK: Duration = Duration::from_millis(1);
/// So many ticks without any event, and the ticker parks.
const IDLE_TICKS: u32 = 100;

/// A handle to the ticker thread, which ends with its last handle.
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    parked: AtomicBool,
    workers: Mutex<Vec<Weak<AtomicBool>>>,
}

/// Whether one worker runs an event at present.
pub struct Activity {
    busy: Arc<AtomicBool>,
    running: Cell<usize>,
    shared: Arc<Shared>,
    ticker: Thread,
}

impl Ticker {
    /// Starts the thread, parked.
    pub fn start(engine: wasmtime::Engine) -> Self {
        let shared = Arc::new(Shared { parked: AtomicBool::new(true), workers: Mutex::default() });
        let weak = Arc::downgrade(&shared);
        let thread = thread::Builder::new().name("ticker".into()).spawn(move || tick(&engine, &weak));
        let thread = thread.expect("a thread can be started").thread().clone();
        Self { shared, thread }
    }

    /// The activity of one more worker.
    pub fn activity(&self) -> Activity {
        let busy = Arc::new(AtomicBool::new(false));
        let mut workers = self.shared.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::downgrade(&busy));
        Activity { busy, running: Cell::new(0), shared: self.shared.clone(), ticker: self.thread.clone() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

impl Activity {
    /// An event begins.
    pub fn begin(&self) {
        let running = self.running.get();
        self.running.set(running + 1);
        if running == 0 {
            // Sequentially consistent with the ticker: either it sees this store, or we see that it parked.
            self.busy.store(true, Ordering::SeqCst);
            if self.shared.parked.load(Ordering::SeqCst) && self.shared.parked.swap(false, Ordering::SeqCst) {
                self.ticker.unpark();
            }
        }
    }

    /// An event ends.
    pub fn end(&self) {
        let running = self.running.get() - 1;
        self.running.set(running);
        if running == 0 {
            self.busy.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    fn any_busy(&self) -> bool {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|busy| busy.strong_count() > 0);
        workers.iter().any(|busy| busy.upgrade().is_some_and(|busy| busy.load(Ordering::SeqCst)))
    }
}

fn tick(engine: &wasmtime::Engine, shared: &Weak<Shared>) {
    let mut idle = IDLE_TICKS;
    while let Some(shared) = shared.upgrade() {
        if shared.any_busy() {
            idle = 0;
        }
        if idle >= IDLE_TICKS {
            idle = park(shared);
            continue;
        }
        idle += 1;
        drop(shared);
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}

/// Parks unless a worker became busy meanwhile; gives the new count of idle ticks. Whoever wakes it clears the flag, so that
/// an event which is over by then keeps the ticker going for a while all the same: waking it again costs more than a tick.
fn park(shared: Arc<Shared>) -> u32 {
    shared.parked.store(true, Ordering::SeqCst);
    let busy = shared.any_busy();
    let weak = Arc::downgrade(&shared);
    drop(shared);
    if !busy {
        thread::park_timeout(Duration::from_secs(1));
    }
    let Some(shared) = weak.upgrade() else { return IDLE_TICKS };
    let woken = !shared.parked.swap(false, Ordering::SeqCst);
    if woken || busy { 0 } else { IDLE_TICKS }
}
