//! Tells the client the request that it connected with, as JSON, once the connection is open and at each message.
//!
//! At a message the request is read again from the host, so that both ways to it are seen.

use serde_json::{Value, json};
use switchboard_sdk::{Accept, Close, Connection, Handler, Message, Refusal, Request, export};

#[derive(Default)]
struct Mirror;

impl Handler for Mirror {
    type State = ();

    fn connect(&self, connection: &Connection, request: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        connection.send_json(&shown(request))?;
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, _: Message, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send_json(&shown(&connection.handshake()?))?)
    }
}

fn shown(request: &Request) -> Value {
    json!({
        "path": request.path(),
        "query_string": request.query_string(),
        "query": request.queries().collect::<Vec<_>>(),
        "params": request.params().collect::<Vec<_>>(),
        "headers": request.headers().collect::<Vec<_>>(),
        "cookies": request.cookies().collect::<Vec<_>>(),
        "subprotocols": request.subprotocols(),
        "peer": request.peer(),
        "host": request.detail("host"),
        "route": request.detail("route"),
    })
}

export!(Mirror);
