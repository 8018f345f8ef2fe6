//! A work queue: JSON goes in as text, and the same text comes out in order.
//!
//! Use it as the handler of a route such as `/queue/{name}`; without a name there is one queue. A client that connects with
//! `?work` is a worker: what anybody else puts into its queue is dealt to the workers in turn. Where there is no worker, an
//! item comes back to whoever sent it. What is no JSON closes its sender with 1007.
//!
//! It holds no items itself. An item that is sent to a worker waits in that connection's mailbox, which the host bounds
//! (`mailbox-messages`, 1000), and what happens when one is full is said at the route: `slow = "drop-oldest"` makes of it a
//! queue that keeps the newest 1000, the default closes the worker with 1013, so that its items are dealt to others from
//! then on. What waits for a worker that goes away is lost: it is a queue for work that may be asked for again.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use switchboard_sdk::{Accept, Close, Connection, Handler, Message, Refusal, Request, Room, export};

/// More workers of one queue than this are not dealt to.
const WORKERS: u32 = 1000;

#[derive(Default)]
struct Queue;

/// What a connection remembers: its queue, as the name of the workers' room, and how many items it has dealt.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Dealer {
    room: String,
    dealt: usize,
}

impl Handler for Queue {
    type State = Dealer;

    fn connect(&self, connection: &Connection, request: &Request, dealer: &mut Dealer) -> Result<Accept, Refusal> {
        dealer.room = format!("queue/{}", request.param::<String>("name").unwrap_or_default());
        if request.query("work").is_some() {
            connection.join(&dealer.room)?;
        }
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, message: Message, dealer: &mut Dealer) -> Result<(), Close> {
        message.json::<IgnoredAny>()?;
        let mut workers = Room::named(&dealer.room).members(WORKERS)?;
        workers.retain(|worker| *worker != connection.id());
        if workers.is_empty() {
            return Ok(connection.send(message)?);
        }
        // They come in no order; a turn needs one.
        workers.sort_unstable();
        let worker = workers[dealer.dealt % workers.len()];
        dealer.dealt = dealer.dealt.wrapping_add(1);
        Ok(connection.send_to(worker, message)?)
    }
}

export!(Queue);

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_sdk::testing::{FakeConnection, FakeHost, FakeRequest};

    fn connect(host: &FakeHost, target: &str, name: &str) -> FakeConnection {
        let connection = host.connection(FakeRequest::new(target).param("name", name));
        connection.connect::<Queue>().unwrap();
        connection
    }

    #[test]
    fn json_comes_back_as_it_went_in() {
        let ann = connect(&FakeHost::new(), "/queue", "a");
        let items = [r#"{"b":1,  "a":[2]}"#, "3", "\"x\"", "null"];
        items.iter().for_each(|item| ann.message::<Queue>(*item));
        assert_eq!(ann.take_received(), items);
    }

    #[test]
    fn workers_take_turns_and_other_queues_hear_nothing() {
        let host = FakeHost::new();
        let [ann, bob] = [connect(&host, "/queue?work", "a"), connect(&host, "/queue?work", "a")];
        let (eve, cy) = (connect(&host, "/queue?work", "b"), connect(&host, "/queue", "a"));
        ["0", "1", "2", "3"].iter().for_each(|item| cy.message::<Queue>(*item));
        assert_eq!(
            (ann.take_received(), bob.take_received()),
            (vec!["0".into(), "2".into()], vec!["1".into(), "3".into()])
        );
        assert_eq!((cy.take_received(), eve.take_received()), (vec![], vec![]));
    }

    #[test]
    fn what_is_no_json_closes() {
        let ann = connect(&FakeHost::new(), "/queue", "a");
        ann.message::<Queue>("{bad");
        assert_eq!(ann.closed().map(|close| close.code()), Some(1007));
    }
}
