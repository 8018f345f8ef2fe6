//! Where components are compiled: in a process of their own, or, for a library without a binary, in this one.
//!
//! Input: a component's bytes; output: compiled code, which only `engine/cache` loads. [`child`] starts the process and
//! holds it to its time, [`inside`] is what runs there, [`artifact`] is what comes back. Compiling has a lower priority than
//! serving, and for a large component the lowest and half of the cores, so that a reload takes longer and nobody else waits.
//! Invariant: in a child, a component can exhaust nothing but that child.

pub mod artifact;
pub mod child;
pub mod inside;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cache::fingerprint;
use crate::limits::Limits;
use child::ChildError;

/// The hidden subcommand of the binary that compiles.
pub const SUBCOMMAND: &str = "compile-component";
/// Components above it are large.
const LARGE: usize = 1024 * 1024;
/// What each compiling thread is given of the memory, in bytes, so that many cores do not take more than there is.
const EACH: usize = 16 * 1024 * 1024;
/// The niceness of what gives way to everything else.
const NICEST: u8 = 19;
/// That of a small component, above the server's: about a quarter of a core that the server would use whole. So connections
/// under load notice little of a reload, which takes longer there, and as long as always where the server is idle.
const NICE: u8 = 5;
/// Held open by the kernel while the server runs, even where the binary was replaced or removed since.
const OWN_IMAGE: &str = "/proc/self/exe";

/// How whoever has a newer component tells that one is not to be compiled to its end.
#[derive(Clone, Default, Debug)]
pub struct Outdated(Arc<AtomicBool>);

impl Outdated {
    /// Tells it.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where components are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without limits: for tests, whose binary has no such subcommand.
    #[default]
    InProcess,
    /// By this program's subcommand [`SUBCOMMAND`], in a process with limits.
    Child(PathBuf),
}

/// What a compiling process is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The fingerprint of the engine that will run the code; another one must not compile it.
    pub engine: u64,
    /// CPU time of all of its threads, in milliseconds, rounded up to seconds.
    pub cpu_ms: u64,
    /// Memory that it may write to, in bytes.
    pub memory_bytes: usize,
    /// Its niceness above the server's, 0 to 19.
    pub nice: u8,
    /// Its compiling threads; none for as many as the environment says.
    pub threads: Option<usize>,
    /// From its start to its end.
    pub wall: Duration,
}

/// Why there is no compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is at fault: what the compiler says.
    #[error("{0}")]
    Invalid(String),
    /// The process that compiles is.
    #[error(transparent)]
    Child(#[from] ChildError),
}

impl Compiler {
    /// The binary that runs, as the compiling program of its own server.
    pub fn own() -> io::Result<Self> {
        let held = Path::new(OWN_IMAGE);
        Ok(Self::Child(if held.exists() { held.to_owned() } else { std::env::current_exe()? }))
    }

    /// Compiles a component for this engine, or, in a child, until it is outdated. Takes from 35 ms to minutes: not for a
    /// worker's thread.
    pub(super) fn compile(
        &self,
        engine: &wasmtime::Engine,
        limits: &Limits,
        (component, outdated): (&[u8], &Outdated),
    ) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::InProcess => inside::compile(engine, component).map_err(CompileError::Invalid),
            Self::Child(program) => {
                child::compile(program, &Order::new(engine, limits, component), (component, outdated))
            }
        }
    }
}

impl Order {
    fn new(engine: &wasmtime::Engine, limits: &Limits, component: &[u8]) -> Self {
        let large = component.len() > LARGE;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            engine: fingerprint(engine),
            cpu_ms: limits.compile_cpu_ms,
            memory_bytes: limits.compile_memory_bytes,
            nice: if large { NICEST } else { NICE },
            threads: Some((if large { cores / 2 } else { cores }).min(limits.compile_memory_bytes / EACH).max(1)),
            wall: limits.compile_wall(),
        }
    }

    /// Whether it gives way to everything else.
    fn is_large(&self) -> bool {
        self.nice == NICEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_component_gives_way_and_a_small_one_does_not() {
        let engine = wasmtime::Engine::default();
        let order = |length| Order::new(&engine, &Limits::default(), &vec![0; length]);
        assert_eq!((order(LARGE).nice, order(LARGE + 1).nice), (NICE, NICEST));
        assert!(order(LARGE).threads >= order(LARGE + 1).threads && order(LARGE + 1).threads >= Some(1));
    }

    #[test]
    fn threads_share_the_memory_that_there_is() {
        let limits = Limits { compile_memory_bytes: EACH, ..Limits::default() };
        assert_eq!(Order::new(&wasmtime::Engine::default(), &limits, &[]).threads, Some(1));
    }
}
