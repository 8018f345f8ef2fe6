//! Chat rooms: a handler that tells everyone in a room who joins, what is said, and who leaves.
//!
//! A client connects with `?room=lobby&user=ann` and sends `{"type":"message","content":"hello"}`. All members get
//! `{"type":"message","user":"ann","content":"hello","timestamp":1700000000000}`, the others `user_joined` and `user_left`
//! with the same `user` and `timestamp` (milliseconds since the Unix epoch). Other types are ignored.
//!
//! Configuration: `rooms`, the names of the rooms that there are, with commas between them; without it, any name is a room.
//! A client without room or user is closed with 1008 "Missing parameters", one with another room with "Room not found".
//! The host's room is `chat/ROOM`, so that other plugins can speak to it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use switchboard_sdk::{Accept, Close, Connection, Failure, Handler, Message, Refusal, Request, config, export};

/// The host's limit of 128 bytes for the name of a room, without `chat/`.
const ROOM_NAME_LIMIT: usize = 123;

#[derive(Default)]
struct Chat;

/// What a connection remembers: where it sits, and as whom.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Seat {
    room: String,
    user: String,
}

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Message {
        content: String,
    },
    #[serde(other)]
    SomethingElse,
}

/// What the members are told.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    UserJoined { user: &'a str, timestamp: u64 },
    Message { user: &'a str, content: &'a str, timestamp: u64 },
    UserLeft { user: &'a str, timestamp: u64 },
}

impl Handler for Chat {
    type State = Seat;

    fn connect(&self, connection: &Connection, request: &Request, seat: &mut Seat) -> Result<Accept, Refusal> {
        let given = |name| request.query(name).filter(|value| !value.is_empty());
        let (Some(room), Some(user)) = (given("room"), given("user")) else {
            return Err(Close::policy("Missing parameters").into());
        };
        if !is_room(room) {
            return Err(Close::policy("Room not found").into());
        }
        *seat = Seat { room: format!("chat/{room}"), user: user.to_owned() };
        connection.join(&seat.room)?;
        seat.tell_others(connection, &Told::UserJoined { user, timestamp: now() })?;
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, message: Message, seat: &mut Seat) -> Result<(), Close> {
        if let Said::Message { content } = message.json()? {
            let told = Told::Message { user: &seat.user, content: &content, timestamp: now() };
            connection.room(&seat.room).publish_json(&told)?;
        }
        Ok(())
    }

    fn disconnect(&self, connection: &Connection, _: &Close, seat: &mut Seat) -> Result<(), Close> {
        Ok(seat.tell_others(connection, &Told::UserLeft { user: &seat.user, timestamp: now() })?)
    }
}

impl Seat {
    fn tell_others(&self, connection: &Connection, told: &Told) -> Result<(), Failure> {
        connection.room(&self.room).publish_except(Message::from_json(told)?, &[connection.id()])
    }
}

fn is_room(name: &str) -> bool {
    let configured = config::list("rooms").is_none_or(|rooms| rooms.iter().any(|room| room == name));
    configured && name.len() <= ROOM_NAME_LIMIT
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

export!(Chat);

#[cfg(test)]
mod tests;
