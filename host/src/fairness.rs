//! Fair shares of a worker's time between tenants.
//!
//! A connection's task runs in turns, and each turn is measured: guests, and the host's own work for them alike. Who is ahead
//! of its share waits in line, and once a cycle is over everybody does; then the kernel is asked for what came meanwhile, and
//! the line is worked off, the tenant that had least first. So one that wants all gets what nobody else wants, and
//! others wait for a cycle at most.
//! Invariants: whoever waits is let on, whatever the others do; where there is one tenant, nothing is measured.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::id::TenantId;

/// Time between two looks at what the kernel has, while there is more to do than time.
const CYCLE: Duration = Duration::from_millis(1);
/// How far a tenant may be ahead of its share before it waits although the cycle is young.
const SLACK: Duration = Duration::from_millis(2);
/// After a pause of this length between two turns, the kernel was asked meanwhile.
const PAUSE: Duration = Duration::from_micros(100);
/// Who had no turn in one of these is not counted among those that share.
const WINDOW: Duration = Duration::from_millis(20);
/// What a task may take in one turn before it is to let others on, whatever it has still to do.
const TURN: Duration = Duration::from_millis(1);

/// The shares of one worker.
#[derive(Default)]
pub struct Shares {
    /// Whether there is more than one tenant.
    sharing: Cell<bool>,
    state: RefCell<State>,
    /// Told when somebody waits.
    waiting: Notify,
    /// When the present turn began; none where nothing is measured.
    turn: Cell<Option<Instant>>,
}

/// Work for a tenant that is being measured.
pub struct Measured<'a> {
    shares: &'a Shares,
    tenant: TenantId,
    /// None where nothing is measured.
    began: Option<Instant>,
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<TenantId, Account>,
    /// What each tenant with work could have had by now.
    fair: Duration,
    cycle: Option<Instant>,
    /// When the last turn ended.
    ended: Option<Instant>,
    window: Option<Instant>,
    /// How many tenants had turns in the last window, and have had in this one.
    active: (u32, u32),
}

#[derive(Default)]
struct Account {
    /// What it had, counted like the fair time: what is left unused is not saved up.
    had: Duration,
    /// The window in which it had a turn last.
    seen: Option<Instant>,
    line: VecDeque<Weak<Task>>,
}

/// A task's place in line.
#[derive(Default)]
struct Task {
    waker: Cell<Option<Waker>>,
    /// Whether it was let on.
    pass: Cell<bool>,
}

impl Shares {
    /// Whether there are several tenants, from here on.
    pub fn share(&self, sharing: bool) {
        self.sharing.set(sharing);
    }

    /// Runs a task of a tenant in turns.
    pub async fn run<F: Future>(&self, tenant: TenantId, mut task: Pin<&mut F>) -> F::Output {
        let place = Rc::new(Task::default());
        poll_fn(|cx| self.poll(cx, (tenant, &place), task.as_mut())).await
    }

    /// Lets on who waits, for as long as the server runs.
    pub async fn serve(&self) {
        loop {
            let asks = { self.state.borrow() }.is_cycle_over(Instant::now());
            if asks {
                self.ask().await;
            }
            let next = self.state.borrow_mut().next();
            let Some(next) = next else {
                self.waiting.notified().await;
                continue;
            };
            next.pass.set(true);
            if let Some(waker) = next.waker.take() {
                waker.wake();
            }
            // Behind the one that was let on, so that what it took is known when the next one is chosen.
            queue_up().await;
        }
    }

    /// Has the kernel asked what came meanwhile, and those in line whom that woke, before the next one is chosen.
    async fn ask(&self) {
        tokio::task::yield_now().await;
        queue_up().await;
        self.state.borrow_mut().cycle = Some(Instant::now());
    }

    /// Whether the present turn is over, and its task is to let others on as soon as it can.
    pub fn is_over(&self) -> bool {
        self.turn.get().is_some_and(|began| began.elapsed() >= TURN)
    }

    /// Counts what is done for a tenant outside of its own tasks, until it is dropped.
    pub fn measure(&self, tenant: TenantId) -> Measured<'_> {
        let began = self.sharing.get().then(Instant::now);
        Measured { shares: self, tenant, began }
    }

    fn poll<F: Future>(
        &self,
        cx: &mut Context<'_>,
        (tenant, place): (TenantId, &Rc<Task>),
        task: Pin<&mut F>,
    ) -> Poll<F::Output> {
        if !self.sharing.get() {
            return task.poll(cx);
        }
        let began = Instant::now();
        if !place.pass.take() && !self.state.borrow_mut().admits(tenant, began) {
            self.wait(cx, (tenant, place));
            return Poll::Pending;
        }
        self.turn.set(Some(began));
        let polled = task.poll(cx);
        self.turn.set(None);
        let ended = Instant::now();
        let mut state = self.state.borrow_mut();
        state.charge(tenant, ended - began);
        state.ended = Some(ended);
        polled
    }

    /// Queues a task up, if it is not in line already: then something else has woken it.
    fn wait(&self, cx: &Context<'_>, (tenant, place): (TenantId, &Rc<Task>)) {
        if place.waker.replace(Some(cx.waker().clone())).is_none() {
            let mut state = self.state.borrow_mut();
            state.accounts.entry(tenant).or_default().line.push_back(Rc::downgrade(place));
            self.waiting.notify_one();
        }
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            self.shares.state.borrow_mut().charge(self.tenant, began.elapsed());
        }
    }
}

impl State {
    /// Whether the tenant may have a turn at once.
    fn admits(&mut self, tenant: TenantId, now: Instant) -> bool {
        self.begin_window(now);
        if self.ended.is_none_or(|ended| now - ended >= PAUSE) {
            self.cycle = Some(now);
        }
        let (fair, window) = (self.fair, self.window);
        let account = self.accounts.entry(tenant).or_default();
        if account.seen != window {
            account.seen = window;
            self.active.1 += 1;
        }
        account.had = account.had.max(fair);
        let is_ahead = account.had > fair + SLACK;
        let waits = self.is_cycle_over(now) || (is_ahead && self.sharers() > 1);
        !waits
    }

    fn is_cycle_over(&self, now: Instant) -> bool {
        self.cycle.is_some_and(|began| now - began >= CYCLE)
    }

    fn sharers(&self) -> u32 {
        self.active.0.max(self.active.1).max(1)
    }

    fn charge(&mut self, tenant: TenantId, took: Duration) {
        let before = self.fair;
        self.fair += took / self.sharers();
        let account = self.accounts.entry(tenant).or_default();
        account.had = account.had.max(before) + took;
    }

    fn begin_window(&mut self, now: Instant) {
        if self.window.is_some_and(|began| now - began < WINDOW) {
            return;
        }
        self.window = Some(now);
        self.active = (self.active.1, 0);
        let fair = self.fair;
        self.accounts.retain(|_, account| account.had > fair || !account.line.is_empty());
    }

    /// The next in line of the tenant that had least.
    fn next(&mut self) -> Option<Rc<Task>> {
        loop {
            let waiting = self.accounts.values_mut().filter(|account| !account.line.is_empty());
            let least = waiting.min_by_key(|account| account.had)?;
            // One that has ended meanwhile has left its place empty.
            if let Some(task) = least.line.pop_front().and_then(|task| task.upgrade()) {
                return Some(task);
            }
        }
    }
}

/// Waits until all have had their turn who were ready before.
async fn queue_up() {
    let mut queued = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut queued, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
