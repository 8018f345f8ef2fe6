//! Components put in the place of a tenant's own one, again and again, as somebody would who may upload them.
//!
//! Each is another one for the server: a slow one gets a section of its own at its end, a damaged one is damaged elsewhere.
//! They are made beforehand as far as possible, since what makes them shares the generator's core.
//! Invariant: a file takes another's place by a rename, so the server reads none that is half written by accident.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::corpus::Swap;
use super::hostile::yield_to_others;
use super::hostile_bytes::{Numbers, damaged, slow_to_compile};
use super::site::Site;

/// Between two damaged ones; the server takes a file some ten milliseconds after it appeared.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two slow ones. One that comes while another is compiled ends that, up to three times in a row.
const SLOW_PAUSE: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(10);

/// The thread that does it; it ends when this is dropped.
pub struct Swapping {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapping {
    pub fn start(site: &Site, swap: Swap) -> Result<Self> {
        let (over, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (whole, pause) = match swap {
            Swap::Slow => (slow_to_compile(), SLOW_PAUSE),
            Swap::Damaged => (site.read("modest.wasm")?, PAUSE),
        };
        let (site, stopped, counted) = (site.clone(), over.clone(), done.clone());
        let thread = std::thread::Builder::new().name("swaps".into()).spawn(move || {
            yield_to_others();
            // Another damage in each round.
            let mut numbers = Numbers(1 + u64::from(std::process::id()) + rest_of_clock());
            while !stopped.load(Ordering::Relaxed) {
                let bytes = match swap {
                    Swap::Slow => marked(&whole, numbers.below(usize::MAX)),
                    Swap::Damaged => damaged(&whole, &mut numbers),
                };
                if site.write("own.wasm", &bytes).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                rest(pause, &stopped);
            }
        });
        Ok(Self { over, done, thread: Some(thread.context("starting to swap")?) })
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panicked, and has said so.
            let _ = thread.join();
        }
    }
}

/// Sleeps, but not beyond the end.
fn rest(pause: Duration, over: &AtomicBool) {
    let start = Instant::now();
    while start.elapsed() < pause && !over.load(Ordering::Relaxed) {
        std::thread::sleep(GLANCE);
    }
}

/// Something that differs from round to round.
fn rest_of_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.subsec_nanos().into())
}

/// The same component as another file: with a custom section at its end that holds a number.
fn marked(component: &[u8], number: usize) -> Vec<u8> {
    let number = number.to_be_bytes();
    // The length of what follows, that of an empty name, and the number.
    let section = [&[0, 1 + number.len() as u8, 0][..], &number].concat();
    [component, &section].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_custom_section() {
        assert_eq!(marked(b"whole", 7), b"whole\0\x09\0\0\0\0\0\0\0\0\x07");
    }
}
