//! Components put in the place of a tenant's own one, again and again, as somebody would who may upload them.
//!
//! Each is another one for the server: a slow one gets a section of its own at its end, a damaged one is damaged elsewhere.
//! They are made beforehand as far as possible, since what makes them shares the generator's core.
//! Invariant: a file takes another's place by a rename, so the server reads none that is half written by accident.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::attacker::{Attacker, Progress};
use super::corpus::Swap;
use super::hostile_bytes::{Numbers, damaged, slow_to_compile};
use super::site::Site;

/// Between two damaged ones; the server takes a file some ten milliseconds after it appeared.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two slow ones. One that comes while another is compiled ends that, up to three times in a row.
const SLOW_PAUSE: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(10);

/// Puts one after the other in the place of the tenant's own.
pub fn start(site: &Site, swap: Swap) -> Result<Attacker> {
    let (whole, pause) = match swap {
        Swap::Slow => (slow_to_compile(), SLOW_PAUSE),
        Swap::Damaged => (site.read("modest.wasm")?, PAUSE),
    };
    let site = site.clone();
    Attacker::start("swaps", move |progress| {
        // Another damage in each round.
        let mut numbers = Numbers(1 + u64::from(std::process::id()) + rest_of_clock());
        while !progress.is_over() {
            let bytes = match swap {
                Swap::Slow => marked(&whole, numbers.below(usize::MAX)),
                Swap::Damaged => damaged(&whole, &mut numbers),
            };
            progress.note_events(u64::from(site.write("own.wasm", &bytes).is_ok()));
            rest(pause, &progress);
        }
    })
}

/// Sleeps, but not beyond the end.
fn rest(pause: Duration, progress: &Progress) {
    let start = Instant::now();
    while start.elapsed() < pause && !progress.is_over() {
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
