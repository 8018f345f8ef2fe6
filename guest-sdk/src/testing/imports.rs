//! The host functions of the fake host, with the signatures that `wit-bindgen` gives those of the real one.
//!
//! Each checks its arguments as the contract says, and adds an effect to the running event. Limits are the contract's and
//! the host's defaults. Only [`host`](crate::host) names what is here.

use super::world::{Effect, Event, World};
use crate::host::types::Failure;

mod effects;
mod values;

pub use effects::{connections, control, flow, rooms, timers};
#[cfg(feature = "http")]
pub use values::http;
pub use values::{config, log, store};

/// The most effects of one event, and the most bytes that they may hold together.
const EFFECTS: usize = 1000;
const EFFECT_BYTES: usize = 4 << 20;

fn failure<T>(kind: &str, message: &str) -> Result<T, Failure> {
    Err(Failure { kind: kind.to_owned(), message: message.to_owned() })
}

fn running(world: &mut World) -> &mut Event {
    world.event.as_mut().expect("a plugin asked something of the host outside of an event")
}

/// Adds an effect that holds this many bytes of content.
fn ask(effect: Effect, bytes: usize) -> Result<(), Failure> {
    World::with(|world| {
        let event = running(world);
        if event.effects.len() >= EFFECTS || event.bytes + bytes > EFFECT_BYTES {
            return failure("quota", "one event may ask for at most 1000 effects with 4 MiB together");
        }
        event.bytes += bytes;
        event.effects.push(effect);
        Ok(())
    })
}

fn own(connection: u64) -> Result<(), Failure> {
    match World::with(|world| running(world).connection) {
        Some(id) if id == connection => Ok(()),
        _ => failure("invalid", "only the event's own connection can do this"),
    }
}

fn not_outbound() -> Result<(), Failure> {
    match World::with(|world| running(world).outbound) {
        false => Ok(()),
        true => failure("denied", "an outbound filter cannot publish, join or leave"),
    }
}

fn sized(name: &str) -> Result<(), Failure> {
    match name.len() {
        1..=128 => Ok(()),
        _ => failure("invalid", "a name has 1 to 128 bytes"),
    }
}
