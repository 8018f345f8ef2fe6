//! Random numbers that a guest may keep secrets with: `wasi:random/random`, for plugins that are granted it.
//!
//! The interface has no word for a refusal, and numbers that can be guessed would be taken for good ones; so a call that is not
//! granted ends the event. What the standard libraries seed their maps with, `insecure` and `insecure-seed`, is there for
//! all: the system's randomness too, fresh for each instance, so that nobody can make keys collide.
//! Invariant: who is not granted secure numbers never gets something in their place.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random::random;

use super::guest::Guest;
use crate::config::Grant;

/// Puts this in the place of what WASI has; the linker has to allow that.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    random::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_granted()?.ctx().ctx.random().get_random_bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_granted()?.ctx().ctx.random().get_random_u64()
    }
}

impl Guest {
    fn random_granted(&mut self) -> wasmtime::Result<&mut Self> {
        let granted = self.granted(Grant::Random);
        granted.map_err(|refused| wasmtime::format_err!("wasi:random/random: {}", refused.message))?;
        Ok(self)
    }
}
