//! Chat rooms: a handler that tells everyone in a room who joins, what is said, and who leaves.
//!
//! A client connects with `?room=lobby&user=ann` and says what `Said` can be; `Told` is what it is told. What is said goes to
//! the host's room `chat/ROOM`, and who joins and leaves to `presence/ROOM`, so that a crowd that comes and goes does not push
//! messages out of what the host keeps of the first (`[[room]]` in its configuration). A newcomer first gets the newest of them,
//! oldest first. With `&since=` it is then told where in the room it is; it counts on, and comes back after a loss with
//! `&since=PLACE` for what it missed.
//!
//! Configuration: `rooms`, the names of the rooms that there are, with commas between them, any without it; `replay`, how many
//! messages a newcomer gets, 50 without it. A client without room or user is closed with 1008 "Missing parameters", one with
//! another room with "Room not found", one with a place that is none with "Bad place".

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use switchboard_sdk::room::{Replay, Room};
use switchboard_sdk::{
    Accept, Close, Connection, Failure, FailureKind, Handler, Joined, Message, Refusal, Request, RoomEvents, config,
    export,
};

/// The host's limit of 128 bytes for the name of a room, without `presence/`.
const ROOM_NAME_LIMIT: usize = 119;
/// How many messages a newcomer gets where the configuration does not say.
const REPLAY: u32 = 50;

#[derive(Default)]
struct Chat;

/// What a connection remembers: where it sits, and as whom.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Seat {
    room: String,
    user: String,
}

/// What a client says: `{"type":"message","content":"hello"}`, or `{"type":"presence"}` to ask how many members there are. Other
/// types are ignored.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Message {
        content: String,
    },
    Presence,
    #[serde(other)]
    SomethingElse,
}

/// What a client is told, for instance `{"type":"message","user":"ann","content":"hello","timestamp":1700000000000}`.
/// Timestamps are milliseconds since the Unix epoch.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    /// To the others.
    UserJoined { user: &'a str, timestamp: u64 },
    /// To all, the one who said it included.
    Message { user: &'a str, content: &'a str, timestamp: u64 },
    /// To the others.
    UserLeft { user: &'a str, timestamp: u64 },
    /// To who asked.
    Presence { count: u32 },
    /// To who gave a `since`, behind what was kept: where in the room it is, `"7-42"`. Each message after it is one further. Not
    /// `complete` where something that it missed is no longer kept; null where the host keeps nothing.
    Joined { place: Option<String>, complete: bool },
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
        let replay = match given("since").map(str::parse) {
            None => Replay::Newest(config::parse("replay").unwrap_or(REPLAY)),
            Some(Ok(place)) => Replay::Since(place),
            Some(Err(_)) => return Err(Close::policy("Bad place").into()),
        };
        *seat = Seat { room: room.to_owned(), user: user.to_owned() };
        seat.enter(connection, replay)?;
        connection.join(&seat.presence())?;
        seat.tell_others(connection, &Told::UserJoined { user, timestamp: now() })?;
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, message: Message, seat: &mut Seat) -> Result<(), Close> {
        match message.json()? {
            Said::Message { content } => {
                let told = Told::Message { user: &seat.user, content: &content, timestamp: now() };
                connection.room(&seat.messages()).publish_json(&told)?;
            }
            Said::Presence => {
                let count = Room::named(&seat.presence()).count()?;
                connection.send_json(&Told::Presence { count })?;
            }
            Said::SomethingElse => {}
        }
        Ok(())
    }

    fn disconnect(&self, connection: &Connection, _: &Close, seat: &mut Seat) -> Result<(), Close> {
        Ok(seat.tell_others(connection, &Told::UserLeft { user: &seat.user, timestamp: now() })?)
    }
}

impl RoomEvents for Chat {
    type State = Seat;

    fn joined(&self, connection: &Connection, joined: Joined<'_>, _: &mut Seat) -> Result<(), Close> {
        if wants_places(&connection.handshake()?) {
            let place = Some(joined.newest.to_string());
            connection.send_json(&Told::Joined { place, complete: joined.complete })?;
        }
        Ok(())
    }
}

impl Seat {
    /// The host's room for what is said.
    fn messages(&self) -> String {
        format!("chat/{}", self.room)
    }

    /// The host's room for who joins and leaves.
    fn presence(&self) -> String {
        format!("presence/{}", self.room)
    }

    /// Joins with a replay, or without one where the host keeps nothing.
    fn enter(&self, connection: &Connection, replay: Replay) -> Result<(), Failure> {
        match connection.join_with(&self.messages(), replay) {
            Err(failure) if *failure.kind() == FailureKind::Unsupported => connection.join(&self.messages())?,
            outcome => return outcome,
        }
        if wants_places(&connection.handshake()?) {
            connection.send_json(&Told::Joined { place: None, complete: false })?;
        }
        Ok(())
    }

    fn tell_others(&self, connection: &Connection, told: &Told) -> Result<(), Failure> {
        connection.room(&self.presence()).publish_except(Message::from_json(told)?, &[connection.id()])
    }
}

fn wants_places(request: &Request) -> bool {
    request.query("since").is_some()
}

fn is_room(name: &str) -> bool {
    let configured = config::list("rooms").is_none_or(|rooms| rooms.iter().any(|room| room == name));
    configured && name.len() <= ROOM_NAME_LIMIT && !name.contains(char::is_control)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

export!(Chat: handler, room_events);

#[cfg(test)]
mod tests;
