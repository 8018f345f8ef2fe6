//! The command `switchboard`. What it does is in the library's `cli`.
//!
//! Decided here is what belongs to the whole process: how many arenas its allocator has.

use std::process::ExitCode;

fn main() -> ExitCode {
    bound_arenas();
    switchboard::cli::run()
}

/// One arena for each core, as many as there are workers, and one for all others. The C library would give one to nearly every
/// thread, and swaps are carried out by many in turn, each of which leaves holes in another: a process that was swapped a
/// thousand times held a fifth more of its own memory than after a hundred.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the standard library has no door to the C library's settings")]
fn bound_arenas() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = i32::try_from(cores.saturating_add(1)).unwrap_or(i32::MAX);
    // SAFETY: it sets one number and reads no memory of ours; no other thread runs yet. A setting that is refused changes nothing.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

#[cfg(not(target_env = "gnu"))]
fn bound_arenas() {}
