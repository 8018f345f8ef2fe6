//! What a guest hears of a failed stream: `wasi:io/error`.
//!
//! WASI's own words are for who debugs the host: with a backtrace of it, where the environment asks for one.
//! Invariant: a guest hears what went wrong, and nothing of where in the host.

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::io::error;

use super::guest::Guest;

/// Puts this in the place of what WASI has; the linker has to allow that.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    error::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

impl error::Host for Guest {}

impl error::HostError for Guest {
    fn to_debug_string(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<String> {
        Ok(self.ctx().table.get(&error)?.to_string())
    }

    fn drop(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<()> {
        self.ctx().table.delete(error)?;
        Ok(())
    }
}
