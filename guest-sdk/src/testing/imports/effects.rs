//! The host functions that an event's effects come from: connections, flow, control, rooms and timers.
//!
//! What they ask for is carried out when the event returns; their checks are made at once. Rooms keep messages where the
//! test has them do so; about others it answers `unsupported`, as the host does.

/// The connections.
pub mod connections {
    use super::super::{ask, failure, own, sized};
    use crate::{
        host::types::{CloseFrame, Failure, Message, Request},
        testing::world::{Effect, World},
    };

    /// Keys and values of one connection together.
    const STATE_BYTES: usize = 16 << 10;

    pub fn send(to: u64, message: &Message) -> Result<(), Failure> {
        ask(Effect::Send(to, message.clone()), message.len())
    }

    pub fn close(connection: u64, frame: &CloseFrame) -> Result<(), Failure> {
        if !matches!(frame.code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return failure("invalid", "the code must be 1000-1003, 1007-1014 or 3000-4999");
        }
        if frame.reason.len() > 123 {
            return failure("invalid", "a reason has at most 123 bytes");
        }
        ask(Effect::Close(connection, frame.clone()), frame.reason.len())
    }

    pub fn ping(connection: u64, payload: &[u8]) -> Result<(), Failure> {
        if payload.len() > 125 {
            return failure("too-large", "a ping has at most 125 bytes");
        }
        ask(Effect::Ping(connection, payload.to_vec()), payload.len())
    }

    pub fn handshake(connection: u64) -> Result<Request, Failure> {
        own(connection)?;
        Ok(World::with(|world| world.peer(connection).request.clone()))
    }

    pub fn get_state(connection: u64, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        own(connection)?;
        Ok(World::with(|world| world.peer(connection).state.get(key).cloned()))
    }

    pub fn set_state(connection: u64, key: &str, value: Option<&[u8]>) -> Result<(), Failure> {
        own(connection)?;
        sized(key)?;
        World::with(|world| {
            let state = &mut world.peer(connection).state;
            let others = state.iter().filter(|(name, _)| *name != key);
            let taken: usize = others.map(|(name, bytes)| name.len() + bytes.len()).sum();
            let Some(value) = value else {
                state.remove(key);
                return Ok(());
            };
            if taken + key.len() + value.len() > STATE_BYTES {
                return failure("too-large", "the state of one connection takes at most 16 KiB");
            }
            state.insert(key.to_owned(), value.to_vec());
            Ok(())
        })
    }
}

/// How much waits to be written: what the client has not taken yet, and what this event sent.
pub mod flow {
    use super::super::{own, running};
    use crate::{
        host::types::{Failure, Message},
        testing::world::{Effect, World},
    };

    pub fn queued(connection: u64) -> Result<u32, Failure> {
        own(connection)?;
        let sizes = |effect: &Effect| match effect {
            Effect::Send(to, message) if *to == connection => message.len(),
            _ => 0,
        };
        let sent: usize = World::with(|world| running(world).effects.iter().map(sizes).sum());
        let waiting: usize = World::with(|world| world.peer(connection).received.iter().map(Message::len).sum());
        let bytes = waiting + sent;
        Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
    }
}

/// Pongs by hand.
pub mod control {
    use super::super::{ask, failure};
    use crate::{host::types::Failure, testing::world::Effect};

    pub fn pong(connection: u64, payload: &[u8]) -> Result<(), Failure> {
        if payload.len() > 125 {
            return failure("too-large", "a pong has at most 125 bytes");
        }
        ask(Effect::Pong(connection, payload.to_vec()), payload.len())
    }
}

/// The rooms.
pub mod rooms {
    use super::super::{ask, failure, not_outbound, own, sized};
    pub use crate::bindings::imports::switchboard::ws::rooms::{Entry, Page, Replay};
    use crate::{
        host::types::{Failure, Message},
        testing::world::{Effect, World},
    };

    /// Rooms of one connection.
    const ROOMS: usize = 100;

    pub fn join(connection: u64, room: &str, replay: Replay) -> Result<(), Failure> {
        enter(connection, room)?;
        if replay != Replay::Nothing {
            keeping(room)?;
        }
        if World::with(|world| world.peer(connection).rooms.len()) >= ROOMS {
            return failure("quota", "a connection can be in 100 rooms");
        }
        ask(Effect::Join(connection, room.to_owned(), replay), 0)
    }

    pub fn leave(connection: u64, room: &str) -> Result<(), Failure> {
        enter(connection, room)?;
        ask(Effect::Leave(connection, room.to_owned()), 0)
    }

    pub fn publish(room: &str, message: &Message, exclude: &[u64]) -> Result<(), Failure> {
        not_outbound()?;
        printable(room)?;
        ask(Effect::Publish(room.to_owned(), message.clone(), exclude.to_vec()), message.len())
    }

    pub fn members(room: &str, limit: u32) -> Result<Vec<u64>, Failure> {
        printable(room)?;
        let mut members = World::with(|world| world.members(room));
        members.truncate(limit.min(10_000) as usize);
        Ok(members)
    }

    pub fn count(room: &str) -> Result<u32, Failure> {
        printable(room)?;
        Ok(World::with(|world| world.members(room).len()) as u32)
    }

    pub fn history(room: &str, since: Option<u64>, limit: u32) -> Result<Page, Failure> {
        printable(room)?;
        keeping(room)?;
        Ok(World::with(|world| world.kept.page(room, since, limit)))
    }

    fn keeping(room: &str) -> Result<(), Failure> {
        match World::with(|world| world.kept.count_of(room)) {
            Some(_) => Ok(()),
            None => failure("unsupported", "the room keeps no messages; FakeHost::keep has it keep some"),
        }
    }

    fn printable(room: &str) -> Result<(), Failure> {
        sized(room)?;
        match room.contains(char::is_control) {
            false => Ok(()),
            true => failure("invalid", "a room's name has no control characters"),
        }
    }

    /// What joining and leaving have in common.
    fn enter(connection: u64, room: &str) -> Result<(), Failure> {
        not_outbound()?;
        own(connection)?;
        printable(room)?;
        match room.starts_with('@') {
            false => Ok(()),
            true => failure("invalid", "names that begin with @ belong to the host"),
        }
    }
}

/// The timers.
pub mod timers {
    use std::time::Duration;

    use super::super::{ask, own};
    use crate::{host::types::Failure, testing::world::Effect};

    pub fn set(connection: u64, token: u32, after_ms: u32) -> Result<(), Failure> {
        own(connection)?;
        ask(Effect::SetTimer(connection, token, Duration::from_millis(after_ms.into())), 0)
    }

    pub fn cancel(connection: u64, token: u32) -> Result<(), Failure> {
        own(connection)?;
        ask(Effect::CancelTimer(connection, token), 0)
    }
}
