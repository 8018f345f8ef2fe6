//! Being told to stop: SIGINT and SIGTERM set a flag, and everything that waits asks for it.
//!
//! The flag becomes an error, the error unwinds to `main`, and on the way the guards of the servers end them. So no
//! server outlives the generator, however the generator is stopped short of SIGKILL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Called once, before the first server is started.
pub fn watch() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

pub fn check() -> Result<()> {
    let interrupted = INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed));
    ensure!(!interrupted, "interrupted");
    Ok(())
}
