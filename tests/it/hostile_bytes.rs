//! Hostile components as bytes: the core modules in text of `tests/guests/hostile` as components of our world, what is made
//! by adding to one of them, and what is made by damaging a good one.
//!
//! The load generator makes its attacks with it too, so it knows nothing of servers and of what a test has around it, and
//! this file is found from both by the folder of their package, which lies beside `tests` and `wit`.
//! Invariant: the same call gives the same bytes in each run.

use std::fs;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/hostile");

/// An attack in text beside the hostile component, as a handler.
pub fn attack(name: &str) -> Vec<u8> {
    component(&text(name), "handler-plugin")
}

/// The most bytes of a function's name.
pub const LONGEST_NAME: usize = 64 * 1024;

/// The one that recurses, under a name of this length, which is in each frame of the backtrace.
pub fn endless_recursion(name: usize) -> Vec<u8> {
    let core = text("recursion").replace("$name", &format!("${}", "a".repeat(name)));
    component(&core, "handler-plugin")
}

/// The one that takes handles, which imports something of WASI.
pub fn handles() -> Vec<u8> {
    let (resolve, world) = handler_with("import wasi:cli/stdout@0.2.0;");
    encode(&text("handles"), &resolve, world)
}

/// One function with a long chain of blocks, each of which depends on all before.
pub fn slow_to_compile() -> Vec<u8> {
    let step = "(local.set $x (i64.mul (i64.add (local.get $x) (i64.const 7)) (local.get $x)))
        (if (i64.eqz (local.get $x)) (then (local.set $x (i64.const 3))))";
    let core = format!("(func (export \"slow\") (local $x i64) {})", step.repeat(10_000));
    world("export slow: func();", &core)
}

/// The handler that does nothing, with more in its world and more in its core module; imports stand before a `|`.
pub fn world(more: &str, core: &str) -> Vec<u8> {
    let (resolve, world) = handler_with(more);
    let plain = text("plain");
    let (head, end) = plain.rsplit_once(')').expect("it ends");
    let (before, after) = head.split_once("(module").expect("it begins");
    let (imports, rest) = core.split_once('|').unwrap_or(("", core));
    encode(&format!("{before}(module {imports} {after} {rest}){end}"), &resolve, world)
}

fn text(name: &str) -> String {
    let file = format!("{GUESTS}/{name}.wat");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A core module in text as a component of this world of `switchboard:ws`.
fn component(core: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(CONTRACT).expect("the contract can be read");
    let world = resolve.select_world(&[package], Some(world)).expect("it is there");
    encode(core, &resolve, world)
}

/// The handler's world with more in it, in text.
fn handler_with(more: &str) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    resolve.push_dir(CONTRACT).expect("the contract can be read");
    // As much of WASI as attacks use.
    let text = format!(
        "package test:more;
        world more {{ export switchboard:ws/handler@0.1.0; {more} }}
        package wasi:io@0.2.0 {{ interface streams {{ resource output-stream; }} }}
        package wasi:cli@0.2.0 {{
            interface stdout {{
                use wasi:io/streams@0.2.0.{{output-stream}};
                get-stdout: func() -> output-stream;
            }}
        }}"
    );
    let package = resolve.push_str("more.wit", &text).expect("the text is right");
    let world = resolve.select_world(&[package], Some("more")).expect("it is there");
    (resolve, world)
}

/// A core module in text as a component of a world in text.
fn encode(core: &str, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = wat::parse_str(core).expect("the text is right");
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).expect("it can be added");
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module).expect("it is a module").encode().expect("it fits its world")
}

/// Numbers from a seed, by xorshift.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// A component that is damaged in one of three ways.
pub fn damaged(whole: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    match numbers.below(3) {
        0 => bytes.truncate(numbers.below(whole.len())),
        1 => (0..=numbers.below(8)).for_each(|_| bytes[numbers.below(whole.len())] ^= 1 << numbers.below(8)),
        _ => bytes[8..].iter_mut().take(numbers.below(2000)).for_each(|byte| *byte = numbers.below(256) as u8),
    }
    bytes
}
