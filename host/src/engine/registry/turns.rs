//! Whose turn it is: files are loaded one at a time, and a newer file of a plugin ends the compiling of an older one.
//!
//! Whoever wants a plugin's file loaded says so here first ([`Registry::outdate`]), and then waits for the turn. What is
//! compiled meanwhile hears of it through its [`Outdated`], and makes room.
//! Invariant: of one plugin, at most [`MOST_IN_A_ROW`] loads end that way one after the other, so that files which come
//! faster than they compile are taken all the same, if not each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Registry;
use crate::engine::compile::Candidate;
use crate::engine::compiler::Outdated;

/// So many loads of a plugin are given up in a row for a newer file.
const MOST_IN_A_ROW: u32 = 3;

/// One at a time, in the order in which they asked.
#[derive(Default)]
pub struct Turns {
    tickets: Mutex<Tickets>,
    next: Condvar,
    loading: Mutex<Loading>,
}

#[derive(Default)]
struct Tickets {
    /// How many have asked, and how many of them have had their turn.
    asked: u64,
    served: u64,
}

/// The turn, until it is dropped.
pub struct Turn<'a>(&'a Turns);

#[derive(Default)]
struct Loading {
    /// The plugin, the hash of what is loaded, and how to tell that load.
    now: Option<(Arc<str>, String, Outdated)>,
    /// How many loads of a plugin were given up since one came to its end.
    given_up: BTreeMap<Arc<str>, u32>,
}

impl Turns {
    /// Waits for the turn, and holds it. A lock alone would let whoever loads one plugin after the other go first each time.
    pub fn wait(&self) -> Turn<'_> {
        let mut tickets = self.tickets();
        let own = tickets.asked;
        tickets.asked += 1;
        let waited = self.next.wait_while(tickets, |tickets| tickets.served != own);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Turn(self)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads what may be outdated meanwhile, in the turn that the caller holds.
    pub fn load<T>(&self, plugin: &Arc<str>, candidate: &Candidate, load: impl FnOnce() -> T) -> T {
        self.loading().now = Some((plugin.clone(), candidate.hash.clone(), candidate.outdated.clone()));
        let loaded = load();
        let mut loading = self.loading();
        loading.now = None;
        if !candidate.outdated.is_set() {
            loading.given_up.remove(plugin);
        }
        loaded
    }

    /// Has what is loaded of this plugin given up, unless it is the same, or too many were.
    fn outdate(&self, plugin: &str, newer: &str) {
        let mut loading = self.loading();
        let Loading { now: Some((name, hash, outdated)), given_up } = &mut *loading else { return };
        if **name != *plugin || hash == newer || outdated.is_set() {
            return;
        }
        let so_far = given_up.entry(name.clone()).or_default();
        if *so_far >= MOST_IN_A_ROW {
            tracing::info!(plugin, "a newer file waits until the one before is compiled, since {so_far} were given up");
            return;
        }
        *so_far += 1;
        outdated.set();
        tracing::info!(plugin, "the file changed while it was compiled; the newer one is taken in its place");
    }

    fn loading(&self) -> MutexGuard<'_, Loading> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.tickets().served += 1;
        self.0.next.notify_all();
    }
}

impl Registry {
    /// Ends the compiling of a plugin whose file holds something newer by now. Whoever calls it loads that next.
    pub fn outdate(&self, name: &str) {
        let is_loaded = self.turns.loading().now.as_ref().is_some_and(|(plugin, ..)| **plugin == *name);
        let Some(entry) = self.entries.load().get(name).filter(|_| is_loaded).cloned() else { return };
        // What cannot be read is not newer yet.
        if let Ok(newer) = self.read(&entry.source) {
            self.turns.outdate(name, &newer.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_the_order_in_which_they_were_asked_for() {
        let turns = Turns::default();
        let (order, first) = (Mutex::new(Vec::new()), turns.wait());
        std::thread::scope(|scope| {
            for number in 0..10 {
                scope.spawn({
                    let (turns, order) = (&turns, &order);
                    move || {
                        let _turn = turns.wait();
                        order.lock().expect("nobody panics").push(number);
                    }
                });
                while turns.tickets().asked < number + 2 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert!(order.into_inner().expect("nobody panics").into_iter().eq(0..10));
    }

    #[test]
    fn a_newer_file_of_the_same_plugin_ends_a_load_but_not_always() {
        let (turns, chat) = (Turns::default(), Arc::from("chat"));
        let ended = |plugin: &str, newer: &str| {
            let candidate = Candidate::from(b"one".to_vec());
            let newer = if newer == "one" { candidate.hash.clone() } else { newer.to_owned() };
            turns.load(&chat, &candidate, || turns.outdate(plugin, &newer));
            candidate.outdated.is_set()
        };
        assert!(!ended("echo", "two") && !ended("chat", "one"));
        for _ in 0..2 {
            for _ in 0..MOST_IN_A_ROW {
                assert!(ended("chat", "two"));
            }
            assert!(!ended("chat", "two"), "one has to come to its end");
        }
        turns.outdate("chat", "two");
    }
}
