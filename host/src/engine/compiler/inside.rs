//! What runs in the compiling process: limits on itself first, then a component from stdin, compiled code to stdout.
//!
//! Started by [`super::child`] through the hidden subcommand, never by a person. The limits are set before a byte of the
//! component is read. What went wrong is one line on stderr, and whose fault it is, is the exit code.
//! Invariant: it opens no files, writes none, and does not outlive its server.

use std::io::{self, Read};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use wasmparser::{KnownCustom, Name, Naming, Parser, Payload};
use wasmtime::{InstanceAllocationStrategy, WasmBacktraceDetails};

use super::{Order, artifact};
use crate::engine::cache::fingerprint;
use crate::engine::settings;

/// The exit code where the component does not compile.
pub(super) const INVALID: u8 = 10;
/// The exit code where this process cannot do its work.
pub(super) const UNABLE: u8 = 11;
/// The pipes, and what the standard library opens for a moment, such as to count the cores.
const FILES: u64 = 16;

/// Bytes of the name of one function or module: more than the longest that compilers make of nested types.
const MAX_NAME: usize = 64 * 1024;

/// Compiles stdin to stdout within the order's limits.
pub fn run(order: &Order) -> ExitCode {
    let (code, reason) = match confine(order).and_then(|()| receive(order)) {
        Err(reason) => (UNABLE, reason),
        Ok((engine, component)) => match compile(&engine, &component) {
            Err(reason) => (INVALID, reason),
            Ok(code) => match artifact::write(&mut io::stdout().lock(), &code) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => (UNABLE, format!("the compiled code cannot be handed over: {error}")),
            },
        },
    };
    eprintln!("{}", reason.replace('\n', " "));
    ExitCode::from(code)
}

/// Compiled code of a component, or what is wrong with it.
pub(super) fn compile(engine: &wasmtime::Engine, component: &[u8]) -> Result<Vec<u8>, String> {
    check_names(component)?;
    engine.precompile_component(component).map_err(|error| error.root_cause().to_string())
}

/// Refuses names that no compiler makes. Each fault copies those of the functions that it went through, some twenty times.
/// What does not parse is left to who compiles.
fn check_names(component: &[u8]) -> Result<(), String> {
    for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
        let Payload::CustomSection(section) = payload else { continue };
        let KnownCustom::Name(names) = section.as_known() else { continue };
        for name in names.map_while(Result::ok).flat_map(of_functions) {
            let length = name.name.len();
            if length > MAX_NAME {
                let index = name.index;
                return Err(format!("the name of function {index} has {length} bytes; there may be {MAX_NAME}"));
            }
        }
    }
    Ok(())
}

/// The names in a section that a backtrace shows.
fn of_functions(names: Name<'_>) -> Vec<Naming<'_>> {
    match names {
        Name::Module { name, .. } => vec![Naming { index: 0, name }],
        Name::Function(functions) => functions.into_iter().map_while(Result::ok).collect(),
        _ => Vec::new(),
    }
}

/// Takes from this process all that compiling does not need. Memory is counted as what may be written to, since the
/// allocator reserves address space for each thread that it never touches.
fn confine(order: &Order) -> Result<(), String> {
    let seconds = order.cpu_ms.div_ceil(1000).max(1);
    // The soft limit ends it by a signal that says why; the hard one is a second later, for what survives that.
    limit(Resource::Cpu, seconds, seconds + 1)?;
    limit(Resource::Data, order.memory_bytes as u64, order.memory_bytes as u64)?;
    limit(Resource::Nofile, FILES, FILES)?;
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Core, 0, 0)?;
    end_with_parent()?;
    let nicer = nice(i32::from(order.nice));
    nicer.map(drop).map_err(|error| format!("its priority cannot be lowered: {error}"))
}

fn limit(resource: Resource, current: u64, maximum: u64) -> Result<(), String> {
    let new = Rlimit { current: Some(current), maximum: Some(maximum) };
    setrlimit(resource, new).map_err(|error| format!("the limit {resource:?} cannot be set: {error}"))
}

/// A server that is killed takes what compiles for it along.
#[cfg(target_os = "linux")]
fn end_with_parent() -> Result<(), String> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("it would outlive its server: {error}"))
}

/// Elsewhere its limit on CPU time ends it.
#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> Result<(), String> {
    Ok(())
}

/// An engine without room for instances, which compiles the same code, and the component.
fn receive(order: &Order) -> Result<(wasmtime::Engine, Vec<u8>), String> {
    // With and without what a backtrace needs for files and lines: the fingerprint says which the server has.
    let engines = [WasmBacktraceDetails::Disable, WasmBacktraceDetails::Enable]
        .map(|details| wasmtime::Engine::new(&settings(InstanceAllocationStrategy::OnDemand, details)));
    let fits = |engine: &wasmtime::Engine| fingerprint(engine) == order.engine;
    let engine = engines.into_iter().filter_map(Result::ok).find(fits);
    let engine = engine.ok_or("it is of another version than the server; restart the server")?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(|error| format!("the component cannot be read: {error}"))?;
    Ok((engine, component))
}
