//! Stocks, weather and news, every second: a service that publishes them and a handler for who listens, in one component.
//!
//! Use it as the handler of a route with a kind, `/stream/{kind}`: `stocks`, `weather` and `news` are allowed, another closes
//! with 1008 "Invalid data type". A client gets `{"type":"stocks","data":{...},"timestamp":1700000000000}` each second; to
//! the text `ping` it hears `pong`, and `unsubscribe` closes with 1000. The room of a kind is `stream/KIND`.
//!
//! Configuration: `source`. `walk`, the default, makes the data up; it lies in the store under `stocks/walk`, so that any
//! instance goes on where the last one was. `store:KEY` takes what lies under this key, written by whoever feeds it: a JSON
//! object with a field for each kind. Where that is missing or no JSON, the log says so, the clients stay, and it is tried
//! again after 5 seconds.

mod walk;

use std::error::Error;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};
use switchboard_sdk::{
    Accept, Close, Connection, Handler, Message, Refusal, Request, Room, Service, config, export, log, store,
};

/// What there is to listen to.
const KINDS: [&str; 3] = ["stocks", "weather", "news"];
/// From one publication to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// From a failure to the next attempt.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

struct Stocks {
    source: Source,
}

/// Where the data comes from.
enum Source {
    Walk,
    /// The store, under this key.
    Store(String),
}

/// What the clients are told.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    data: &'a Value,
    timestamp: u64,
}

impl Default for Stocks {
    /// Reads the configuration, once for each instance.
    fn default() -> Self {
        let source = config::get("source").unwrap_or_else(|| "walk".into());
        let source = match source.split_once(':') {
            None if source == "walk" => Source::Walk,
            Some(("store", key)) if !key.is_empty() => Source::Store(key.to_owned()),
            _ => panic!("the configuration of \"source\" is \"walk\" or \"store:KEY\", not \"{source}\""),
        };
        Self { source }
    }
}

impl Handler for Stocks {
    type State = ();

    fn connect(&self, connection: &Connection, request: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        let kind: String = request.param("kind")?;
        if !KINDS.contains(&kind.as_str()) {
            return Err(Close::policy("Invalid data type").into());
        }
        connection.join(&room(&kind))?;
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        match message.text()? {
            "ping" => Ok(connection.send_text("pong")?),
            "unsubscribe" => Err(Close::normal("Unsubscribed")),
            _ => Ok(()),
        }
    }
}

impl Service for Stocks {
    fn tick(&self) -> Duration {
        match self.publish() {
            Ok(()) => PAUSE,
            Err(reason) => {
                log::error(format_args!("no data, trying again in {} s: {reason}", PAUSE_AFTER_FAILURE.as_secs()));
                PAUSE_AFTER_FAILURE
            }
        }
    }
}

impl Stocks {
    fn publish(&self) -> Result<(), Box<dyn Error>> {
        let all = match &self.source {
            Source::Walk => walk::step()?,
            Source::Store(key) => stored(key)?,
        };
        for kind in KINDS {
            if let Some(data) = all.get(kind) {
                Room::named(&room(kind)).publish_json(&Told { kind, data, timestamp: now() })?;
            }
        }
        Ok(())
    }
}

/// The data of all kinds that somebody put into the store.
fn stored(key: &str) -> Result<Map<String, Value>, Box<dyn Error>> {
    let bytes = store::get(key)?.ok_or_else(|| format!("the store has nothing under \"{key}\""))?;
    let all = serde_json::from_slice(&bytes);
    Ok(all.map_err(|error| format!("what the store has under \"{key}\" is no JSON object: {error}"))?)
}

fn room(kind: &str) -> String {
    format!("stream/{kind}")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

export!(Stocks: handler, service);

#[cfg(test)]
mod tests;
