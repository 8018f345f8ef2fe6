//! What one server logs, kept for the test to look at and to wait for.
//!
//! Each server has a dispatcher of its own, which all of its threads take over, so that servers of other tests are not
//! heard. Only the server's own records and those of its guests are kept.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::deadline::within;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How much it matters.
    pub level: Level,
    /// Where it comes from: a module of the server, or `guest` for what a plugin wrote.
    pub target: String,
    /// The text.
    pub message: String,
    /// The named values, as text.
    pub fields: BTreeMap<String, String>,
}

impl Record {
    /// A named value; empty where the record has none of this name.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Whether a plugin wrote it.
    pub fn is_of_guest(&self) -> bool {
        self.target == "guest"
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value:?}"))
    }
}

/// A handle to the log of one server.
#[derive(Clone)]
pub struct Log {
    records: Arc<Mutex<Vec<Record>>>,
    /// How many there are, for those who wait.
    count: Arc<watch::Sender<usize>>,
    /// The text of the record at which the server is to panic.
    panic_at: Arc<Mutex<Option<String>>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { records: Arc::default(), count: Arc::new(watch::Sender::new(0)), panic_at: Arc::default() }
    }

    pub(crate) fn dispatch(&self) -> Dispatch {
        Dispatch::new(tracing_subscriber::registry().with(self.clone()))
    }

    /// All records so far.
    pub fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// Has the server panic where it writes the next record with this text: for tests of the server itself, in which that is a
    /// bug at this place.
    pub fn panic_at(&self, message: &str) {
        *self.panic_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.to_owned());
    }

    fn is_to_panic(&self, message: &str) -> bool {
        let mut panic_at = self.panic_at.lock().unwrap_or_else(PoisonError::into_inner);
        panic_at.take_if(|wanted| wanted == message).is_some()
    }

    /// The first record, past or future, that is wanted.
    pub async fn wait_for(&self, wanted: impl Fn(&Record) -> bool) -> Record {
        let mut count = self.count.subscribe();
        within("a record in the log", async {
            loop {
                if let Some(found) = self.lock().iter().find(|record| wanted(record)) {
                    return found.clone();
                }
                count.changed().await.expect("the log is held here");
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = metadata.target() == "guest" || metadata.target().starts_with("switchboard");
        ours && *metadata.level() <= Level::DEBUG
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let metadata = event.metadata();
        let (level, target) = (*metadata.level(), metadata.target().to_owned());
        let is_to_panic = self.is_to_panic(&values.message);
        self.lock().push(Record { level, target, message: values.message, fields: values.fields });
        self.count.send_modify(|count| *count += 1);
        assert!(!is_to_panic, "the test has the server panic here");
    }
}

#[derive(Default)]
struct Values {
    message: String,
    fields: BTreeMap<String, String>,
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => write!(self.message, "{value:?}").expect("a string takes everything"),
            name => drop(self.fields.insert(name.to_owned(), format!("{value:?}"))),
        }
    }
}
