//! A plugin: a name, and the generations that it has had.
//!
//! What serves is one atomic pointer that workers read at each lease, so a swap is one step, and an event that runs
//! finishes on the generation that it began on. During a roll-out two generations serve.
//! Invariant: a plugin always has a generation that serves; a rejected one never serves again.

mod report;

pub use report::{Record, Report, RolloutReport};

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::archive::Archive;
use super::breaker::Breaker;
use super::generation::Generation;
use super::rollout::{Rollout, Rules, Side};
use super::scribe::Scribe;
use crate::clock::Moment;
use crate::id::ConnectionId;

/// So many generations are remembered of each plugin.
const MAX_RECORDS: usize = 100;

/// One plugin of the server.
pub struct Plugin {
    name: Arc<str>,
    serving: ArcSwap<Serving>,
    past: Mutex<Past>,
    numbers: AtomicU64,
    breaker: Breaker,
    /// The number of the generation that serves, for those who have to notice a change by themselves.
    changes: watch::Sender<u64>,
    /// Where it is noted how far each has come.
    scribe: Arc<Scribe>,
}

/// What takes the next event.
pub struct Serving {
    /// The newest generation.
    pub generation: Arc<Generation>,
    /// Its roll-out, while it is young.
    pub rollout: Option<Arc<Rollout>>,
}

/// What came before.
#[derive(Default)]
struct Past {
    /// What a roll-back would bring back, once the roll-out is over.
    before: Option<Arc<Generation>>,
    /// The key of the generation that was rejected last, and why it was.
    rejected: Option<(String, &'static str)>,
    /// Oldest first.
    records: VecDeque<Record>,
    /// Why the last file could not be loaded; none once one could.
    trouble: Option<String>,
}

/// Why a command about generations cannot be carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    /// There is no plugin of this name.
    #[error("there is no plugin `{0}`; there are: {1}")]
    Unknown(String, String),
    /// Nothing to go back to.
    #[error("plugin {0}: there is no generation to go back to")]
    NothingBefore(String),
    /// Nothing to promote.
    #[error("plugin {0}: there is no roll-out at present")]
    NoRollout(String),
}

impl Serving {
    fn settled(generation: Arc<Generation>) -> Arc<Self> {
        Arc::new(Self { generation, rollout: None })
    }

    /// The generation that an event of this connection runs on: not one on which it has faulted before, if there is another.
    pub fn choose(&self, connection: ConnectionId, avoided: &[u64]) -> &Arc<Generation> {
        let Some(rollout) = &self.rollout else { return &self.generation };
        let side = rollout.side(connection);
        let wanted = rollout.generation(side);
        let other = rollout.generation(side.other());
        let avoids = |generation: &Generation| avoided.contains(&generation.identity.generation);
        if avoids(wanted) && !avoids(other) { other } else { wanted }
    }

    /// Whether an event that faulted on these can run on another one: the one before a young one, or the one that has taken
    /// over meanwhile. Who is kept from a canary is not sent there by a fault.
    fn has_other(&self, connection: ConnectionId, avoided: &[u64]) -> bool {
        let number = |generation: &Arc<Generation>| generation.identity.generation;
        match &self.rollout {
            Some(rollout) if rollout.side(connection) == Side::Before => !avoided.contains(&number(&rollout.before)),
            _ => {
                let before = self.rollout.as_ref().map(|rollout| &rollout.before);
                [Some(&self.generation), before].into_iter().flatten().any(|other| !avoided.contains(&number(other)))
            }
        }
    }

    /// Whether this generation serves alone, so that nobody goes back from it by himself.
    pub fn is_settled(&self, generation: &Arc<Generation>) -> bool {
        self.rollout.is_none() && Arc::ptr_eq(&self.generation, generation)
    }

    /// Whether this is one of those that serve.
    pub fn includes(&self, generation: &Arc<Generation>) -> bool {
        let is_before = |rollout: &Arc<Rollout>| Arc::ptr_eq(&rollout.before, generation);
        Arc::ptr_eq(&self.generation, generation) || self.rollout.as_ref().is_some_and(is_before)
    }

    /// The newest generation of which an event has shown that it works, or the one before it.
    pub fn tried(&self) -> &Arc<Generation> {
        match &self.rollout {
            Some(rollout) if !rollout.is_tried() => &rollout.before,
            _ => &self.generation,
        }
    }

    /// The generation that runs where there may be only one: the new one of a canary does not yet.
    pub fn only(&self) -> &Arc<Generation> {
        match &self.rollout {
            Some(rollout) if rollout.share() < 100 => &rollout.before,
            _ => &self.generation,
        }
    }

    /// The roll-out, and the side on it that this generation is.
    pub fn trial(&self, generation: &Arc<Generation>) -> Option<(Arc<Rollout>, Side)> {
        let rollout = self.rollout.as_ref()?;
        let side = if Arc::ptr_eq(&rollout.new, generation) { Side::New } else { Side::Before };
        Some((rollout.clone(), side))
    }
}

impl Plugin {
    /// A plugin with its first generation.
    pub fn new(name: Arc<str>, first: Generation, scribe: Arc<Scribe>) -> Self {
        let number = first.identity.generation;
        let (numbers, changes) = (AtomicU64::new(number + 1), watch::Sender::new(number));
        let serving = ArcSwap::new(Serving::settled(Arc::new(first)));
        let (past, breaker) = Default::default();
        Self { name, serving, past, numbers, breaker, changes, scribe }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What keeps events from it after many faults.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What takes the next event.
    pub fn serving(&self) -> Guard<Arc<Serving>> {
        self.serving.load()
    }

    /// The newest generation.
    pub fn current(&self) -> Arc<Generation> {
        self.serving.load().generation.clone()
    }

    /// Tells when another generation serves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The number for the next generation.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Rolls a generation out. The one that serves stays at hand, or, where no event has shown yet that it works, the one
    /// before it.
    pub fn roll_out(&self, next: Arc<Generation>, rules: Rules, now: Moment) {
        let _past = self.lock();
        let before = self.serving.load().tried().clone();
        let rollout = Some(Arc::new(Rollout::new((next.clone(), before), rules, now)));
        self.serve(Serving { generation: next, rollout });
    }

    /// Ends the roll-out well: the new generation takes all events, and is no longer watched.
    pub fn promote(&self) -> Result<u64, NotPossible> {
        let mut past = self.lock();
        let serving = self.serving.load_full();
        let rollout = serving.rollout.as_ref().ok_or_else(|| NotPossible::NoRollout(self.name.to_string()))?;
        past.before = Some(rollout.before.clone());
        past.tell(rollout.new.identity.generation, "promoted");
        self.serve(Serving { generation: rollout.new.clone(), rollout: None });
        self.tell_archive(&rollout.new, Archive::promote);
        Ok(rollout.new.identity.generation)
    }

    /// Notes that an event ended well on this side of a roll-out, which may be over by now.
    pub fn note_event(&self, (rollout, side): &(Arc<Rollout>, Side), took: Duration, now: Moment) {
        if rollout.note_event(*side, took) {
            self.tell_archive(&rollout.new, Archive::note_event);
        }
        self.promote_if_ripe(rollout, now);
    }

    /// Notes that a value did not fit this generation and was removed.
    pub fn note_reset(&self, number: u64) {
        let serving = self.serving();
        let before = serving.rollout.as_ref().map(|rollout| &rollout.before);
        let mut serve = [Some(&serving.generation), before].into_iter().flatten();
        if let Some(generation) = serve.find(|generation| generation.identity.generation == number) {
            generation.note_reset();
        }
    }

    /// Notes that a connection which had this plugin ended, for a roll-out that may be going on.
    pub fn note_close(&self, connection: ConnectionId) {
        if let Some(rollout) = &self.serving().rollout {
            rollout.note_close(rollout.side(connection));
        }
    }

    /// Ends a roll-out well that has shown enough, if it is still the present one.
    fn promote_if_ripe(&self, rollout: &Arc<Rollout>, now: Moment) {
        let is_present =
            |serving: &Serving| serving.rollout.as_ref().is_some_and(|present| Arc::ptr_eq(present, rollout));
        if rollout.is_ripe(now) && is_present(&self.serving()) {
            // Where that cannot be, somebody else was faster.
            if let Ok(generation) = self.promote() {
                tracing::info!(plugin = %self.name, generation, "promoted: it has shown that it is good");
            }
        }
    }

    /// Goes back to the generation before, during a roll-out or after it. Gives the one that is no longer wanted.
    pub fn roll_back(&self, why: &'static str) -> Result<Arc<Generation>, NotPossible> {
        let mut past = self.lock();
        let serving = self.serving.load_full();
        let before = match &serving.rollout {
            Some(rollout) => rollout.before.clone(),
            None => past.before.take().ok_or_else(|| NotPossible::NothingBefore(self.name.to_string()))?,
        };
        Ok(self.reject(&mut past, (&serving, before), why))
    }

    /// Counts a fault of this generation. Where it is one too many, the generation is rolled back for that reason, and given
    /// to who has to tell so.
    pub fn faulted(&self, number: u64, why: &'static str) -> Option<Arc<Generation>> {
        let mut past = self.lock();
        if let Some(record) = past.record(number) {
            record.faults += 1;
        }
        let serving = self.serving.load_full();
        let rollout = serving.rollout.as_ref().filter(|rollout| rollout.new.identity.generation == number)?;
        rollout.note_fault().then(|| self.reject(&mut past, (&serving, rollout.before.clone()), why))
    }

    /// Whether an event that faulted on these generations can be run on another one.
    pub fn has_other(&self, connection: ConnectionId, avoided: &[u64]) -> bool {
        self.serving().has_other(connection, avoided)
    }

    /// The generation before serves again.
    fn reject(
        &self,
        past: &mut Past,
        (serving, before): (&Serving, Arc<Generation>),
        why: &'static str,
    ) -> Arc<Generation> {
        past.rejected = Some((serving.generation.key.clone(), why));
        past.tell(serving.generation.identity.generation, "rolled back");
        self.serve(Serving { generation: before, rollout: None });
        serving.generation.clone()
    }

    /// The hashes of all generations that serve or may serve again.
    pub fn hashes(&self) -> Vec<String> {
        let (past, serving) = (self.lock(), self.serving.load_full());
        let young = serving.rollout.as_ref().map(|rollout| &rollout.before);
        let all = [Some(&serving.generation), young, past.before.as_ref()];
        all.into_iter().flatten().map(|generation| generation.hash.clone()).collect()
    }

    /// Why what has this key was rejected, if it was so last; known here before the archive has written it down.
    pub fn rejection(&self, key: &str) -> Option<&'static str> {
        self.lock().rejected.as_ref().filter(|(rejected, _)| rejected == key).map(|(_, why)| *why)
    }

    /// Forgets what was rejected last, since somebody wants to try it again.
    pub fn forgive(&self) {
        self.lock().rejected = None;
    }

    /// Remembers a generation that takes over.
    pub fn record(&self, record: Record) {
        let mut past = self.lock();
        if past.records.len() == MAX_RECORDS {
            past.records.pop_front();
        }
        past.records.push_back(record);
    }

    /// Notes why a file could not be loaded, or that one could.
    pub fn note_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    /// What it is doing.
    pub fn report(&self) -> Report {
        let (past, serving) = (self.lock(), self.serving.load_full());
        let rollout = serving.rollout.as_ref().map(|rollout| RolloutReport {
            before: rollout.before.identity.generation,
            share: rollout.share(),
            new: rollout.seen(Side::New),
            old: rollout.seen(Side::Before),
            old_states: rollout.before.states(),
        });
        Report {
            plugin: self.name.to_string(),
            generation: serving.generation.identity.generation,
            hash: serving.generation.hash.clone(),
            states: serving.generation.states(),
            rollout,
            trouble: past.trouble.clone(),
            records: past.records.iter().cloned().collect(),
        }
    }

    fn serve(&self, serving: Serving) {
        let number = serving.generation.identity.generation;
        self.serving.store(Arc::new(serving));
        self.breaker.reset();
        self.changes.send_replace(number);
    }

    /// Has it noted for a server that is started again.
    pub(super) fn tell_archive(&self, generation: &Generation, tell: fn(&Archive, &str, &str)) {
        let (name, hash) = (self.name.clone(), generation.hash.clone());
        self.scribe.note(move |archive| tell(archive, &name, &hash));
    }

    fn lock(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn record(&mut self, generation: u64) -> Option<&mut Record> {
        self.records.iter_mut().rev().find(|record| record.generation == generation)
    }

    fn tell(&mut self, generation: u64, fate: &str) {
        if let Some(record) = self.record(generation) {
            fate.clone_into(&mut record.fate);
        }
    }
}
