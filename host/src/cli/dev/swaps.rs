//! Components that take over while `dev` goes on: one thread for each, since compiling may take long.
//!
//! A build that ends while the component before it is still compiled outdates that one (`engine/registry`), and comes next.
//! What became of the states of connections is told later, since each is migrated at its connection's next event.
//! Invariant: of one plugin, one component is loaded and at most one waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::report::{Reloaded, Report};
use crate::engine::compile::LoadError;
use crate::engine::generation::States;
use crate::engine::registry::{BUILD, Order, Registry, Reload};

/// All that run or wait.
#[derive(Default)]
pub struct Swaps {
    /// By plugin: what waits for the one that runs.
    running: BTreeMap<String, Option<Swap>>,
    /// Plugins whose states are migrated: what was seen at the last look, and what was told.
    states: BTreeMap<String, (States, States)>,
}

/// A component that is to take over.
pub struct Swap {
    /// What was edited.
    pub files: BTreeSet<String>,
    /// How long the build took, if there was one.
    pub build: Option<Duration>,
    /// What to say where it is what runs already, if anything.
    pub unchanged: Option<String>,
}

/// How that ended.
pub struct Swapped {
    swap: Swap,
    outcome: Option<Result<Reload, LoadError>>,
}

impl Swaps {
    /// Has a component take over, now or after the one of this plugin that is loaded, and tells the outcome.
    pub fn begin(
        &mut self,
        registry: &Arc<Registry>,
        (name, swap): (&str, Swap),
        tell: impl FnOnce(String, Swapped) + Send + 'static,
    ) {
        if let Some(waiting) = self.running.get_mut(name) {
            let before = waiting.take().map(|before| before.files).unwrap_or_default();
            let files = swap.files.union(&before).cloned().collect();
            *waiting = Some(Swap { files, ..swap });
            registry.outdate(name);
            return;
        }
        self.running.insert(name.to_owned(), None);
        let (registry, name) = (registry.clone(), name.to_owned());
        std::thread::spawn(move || {
            let outcome = registry.reload(&name, Order::by(BUILD));
            tell(name, Swapped { swap, outcome });
        });
    }

    /// The one that was loaded has ended; gives the one that waited.
    pub fn end(&mut self, name: &str) -> Option<Swap> {
        self.running.remove(name).flatten()
    }

    /// Looks from now on what becomes of the states of connections, where a new version of them took over.
    pub fn follow_states(&mut self, name: &str, swapped: &Swapped) {
        if let Some(Ok(Reload::Swapped { states: (before, now), .. })) = swapped.outcome {
            self.states.remove(name);
            if before != now {
                let none = States { version: now, ..States::default() };
                self.states.insert(name.to_owned(), (none, none));
            }
        }
    }

    /// Says what became of them, once that has not changed between two looks.
    pub fn report_states(&mut self, registry: &Registry, report: &Report) {
        let plugins = registry.plugins();
        for (name, (seen, told)) in &mut self.states {
            let Some(now) = plugins.get(name.as_str()).map(|plugin| plugin.current().states()) else { continue };
            let before = std::mem::replace(seen, now);
            if now == before && now != *told && now.version == told.version {
                *told = now;
                report.states(name, &now);
            }
        }
    }
}

impl Swapped {
    /// One line, where there is something to say that is not in the log.
    pub fn report(&self, name: &str, report: &Report, connections: i64) {
        let Swap { files, build, unchanged } = &self.swap;
        match &self.outcome {
            Some(Ok(Reload::Swapped { took: compile, swap, states, .. })) => {
                let (build, compile, swap, states) = (*build, *compile, *swap, *states);
                report.reloaded(name, files, &Reloaded { build, compile, swap, connections, states });
            }
            Some(Ok(Reload::Unchanged)) => {
                unchanged.iter().for_each(|why| report.unchanged(name, files, why));
            }
            Some(Ok(Reload::Shared { .. }) | Err(_)) | None => {}
        }
    }
}
