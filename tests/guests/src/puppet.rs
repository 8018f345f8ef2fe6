//! A handler that does what its client says: a message is a script, and so all lines of it are one event.
//!
//! Before it is connected it runs the `do` values of the query, and refuses with `respond=STATUS` or `close=CODE REASON`; what it
//! is told as `subprotocol=NAME` and `header=NAME VALUE` it puts into the answer.
//! When the connection is gone it tells the room `observers` how, and runs the `bye` values. Bytes come back as they are.
//! How a join with a replay went it says as `joined ROOM EPOCH-OFFSET complete`, and then runs the `joined` values.
//! Each event is a line in the log.

use switchboard_sdk::room::Room;
use switchboard_sdk::{Accept, Close, Connection, Handler, Joined, Message, Refusal, Request, RoomEvents, export, log};

#[derive(Default)]
struct Puppet;

impl Handler for Puppet {
    type State = ();

    fn connect(&self, connection: &Connection, request: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        log::info("connect");
        request.query_all("do").for_each(|line| script::command(connection, line));
        match (request.query("respond"), request.query("close")) {
            (Some(status), _) => Err(Refusal::respond(status.parse()?, "refused by the puppet")),
            (_, Some(words)) => Err(script::close(words).into()),
            _ => Ok(accept(request)),
        }
    }

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        match message {
            Message::Text(text) => {
                log::info(format_args!("in {text}"));
                script::run(connection, &text);
                Ok(())
            }
            bytes => Ok(connection.send(bytes)?),
        }
    }

    fn disconnect(&self, connection: &Connection, close: &Close, _: &mut ()) -> Result<(), Close> {
        log::info(format_args!("disconnect {close}"));
        Room::named("observers").publish(format!("left {close}"))?;
        connection.handshake()?.query_all("bye").for_each(|line| script::command(connection, line));
        Ok(())
    }
}

fn accept(request: &Request) -> Accept {
    let headers = request.query_all("header").map(script::split);
    let accept = headers.fold(Accept::new(), |accept, (name, value)| accept.header(name, value));
    request.query("subprotocol").into_iter().fold(accept, |accept, name| accept.subprotocol(name))
}

impl RoomEvents for Puppet {
    type State = ();

    fn joined(&self, connection: &Connection, joined: Joined<'_>, _: &mut ()) -> Result<(), Close> {
        let complete = if joined.complete { "complete" } else { "incomplete" };
        connection.send_text(format!("joined {} {} {complete}", joined.room, joined.newest))?;
        connection.handshake()?.query_all("joined").for_each(|line| script::command(connection, line));
        Ok(())
    }
}

export!(Puppet: handler, room_events);
