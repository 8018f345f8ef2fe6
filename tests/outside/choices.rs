//! Random choices that can be made again: of the seed in `SWITCHBOARD_STRESS_SEED`, or of one that is said.

use std::time::{SystemTime, UNIX_EPOCH};

pub struct Choices(u64);

impl Choices {
    /// Of this run, whose seed is said.
    pub fn new() -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let seed = std::env::var("SWITCHBOARD_STRESS_SEED").ok();
        let seed = seed.map_or_else(now, |seed| seed.parse().expect("SWITCHBOARD_STRESS_SEED is a number"));
        // Nothing is printed for a test that passes.
        eprintln!("SWITCHBOARD_STRESS_SEED={seed}");
        Self(seed)
    }

    /// Those of somebody else, which follow from these.
    pub fn another(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }

    /// Below this number (splitmix64).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
