//! What the fake host knows: connections, the store, the log, and the event that runs.
//!
//! State and store are written in place and restored when the event faults; everything else an event asks for is collected
//! and carried out when it returns. The world is one value for each thread, borrowed for a moment at a time: no plugin code
//! runs while it is.

use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet, time::Duration};

use super::kept::Kept;
use crate::host::{
    rooms::Replay,
    types::{CloseFrame, Message, Place, Request},
};

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// All that the fake host of one thread knows.
#[derive(Default)]
pub struct World {
    /// By id. Those that are gone stay, so that a test can look at them.
    pub connections: BTreeMap<u64, Peer>,
    pub config: BTreeMap<String, String>,
    pub store: BTreeMap<String, Stored>,
    /// How far the test has moved the time.
    pub now: Duration,
    /// Level and text, in order.
    pub log: Vec<(String, String)>,
    /// What was published to which room, in order.
    pub published: Vec<(String, Message)>,
    pub kept: Kept,
    /// What other hosts answer, by URL: a status and a body.
    #[cfg(feature = "http")]
    pub answers: BTreeMap<String, (u16, Vec<u8>)>,
    #[cfg(feature = "http")]
    pub requests: Vec<crate::http::Request>,
    pub event: Option<Event>,
}

/// One connection and what its client was sent.
pub struct Peer {
    pub request: Request,
    pub state: BTreeMap<String, Vec<u8>>,
    pub rooms: BTreeSet<String>,
    /// Joins with a replay that no plugin was told of yet: the room, the place that was reached, whether all was kept.
    pub joined: Vec<(String, Place, bool)>,
    /// By token, when they are due.
    pub timers: BTreeMap<u32, Duration>,
    /// What the client has not taken yet: its mailbox.
    pub received: Vec<Message>,
    pub pings: Vec<Vec<u8>>,
    pub pongs: Vec<Vec<u8>>,
    /// The frame that it was closed with, once it is.
    pub closed: Option<CloseFrame>,
}

/// A value of the store, and when it ends.
#[derive(Clone)]
pub struct Stored {
    pub value: Value,
    pub ends: Option<Duration>,
}

/// What the store holds under a key.
#[derive(Clone)]
pub enum Value {
    Bytes(Vec<u8>),
    Counter(i64),
}

/// The event that runs.
pub struct Event {
    /// The event's own connection; none for a service.
    pub connection: Option<u64>,
    pub outbound: bool,
    pub effects: Vec<Effect>,
    /// How many bytes the effects hold together.
    pub bytes: usize,
    /// Keys of the store that it wrote, with the bytes that they hold.
    pub written: BTreeMap<String, usize>,
    state_before: BTreeMap<String, Vec<u8>>,
    store_before: BTreeMap<String, Stored>,
}

/// What an event asked for.
pub enum Effect {
    Send(u64, Message),
    Ping(u64, Vec<u8>),
    Pong(u64, Vec<u8>),
    Close(u64, CloseFrame),
    Join(u64, String, Replay),
    Leave(u64, String),
    Publish(String, Message, Vec<u64>),
    SetTimer(u64, u32, Duration),
    CancelTimer(u64, u32),
}

impl World {
    /// Lends the world of this thread.
    pub fn with<R>(look: impl FnOnce(&mut Self) -> R) -> R {
        WORLD.with(|world| look(&mut world.borrow_mut()))
    }

    /// A value of the store whose time is not over.
    pub fn stored(&self, key: &str) -> Option<&Stored> {
        self.store.get(key).filter(|stored| stored.ends.is_none_or(|ends| ends > self.now))
    }

    /// When a value of this time to live ends.
    pub fn ends(&self, ttl_ms: Option<u32>) -> Option<Duration> {
        ttl_ms.map(|ttl| self.now + Duration::from_millis(ttl.into()))
    }

    /// Opens a connection that no plugin has seen yet.
    pub fn open(&mut self, request: Request) -> u64 {
        let id = self.connections.len() as u64 + 1;
        self.connections.insert(id, Peer::new(request));
        id
    }

    pub fn peer(&mut self, id: u64) -> &mut Peer {
        self.connections.get_mut(&id).expect("the connection was made before FakeHost::new made this world")
    }

    pub fn begin(&mut self, connection: Option<u64>, outbound: bool) {
        let state_before = connection.map(|id| self.peer(id).state.clone()).unwrap_or_default();
        let (store_before, written) = (self.store.clone(), BTreeMap::new());
        self.event =
            Some(Event { connection, outbound, effects: Vec::new(), bytes: 0, written, state_before, store_before });
    }

    /// The event returned: all that it asked for takes effect, in the order of its calls.
    pub fn commit(&mut self) {
        let effects = self.event.take().map(|event| event.effects).unwrap_or_default();
        for effect in effects {
            self.apply(effect);
        }
    }

    /// The event faulted or refused: nothing of it happened.
    pub fn discard(&mut self) {
        let Some(event) = self.event.take() else {
            return;
        };
        self.store = event.store_before;
        if let Some(id) = event.connection {
            self.peer(id).state = event.state_before;
        }
    }

    /// The timer of a connection that is due first, if it is due by then; of two at one time the lower token.
    pub fn next_timer(&mut self, id: u64, until: Duration) -> Option<(u32, Duration)> {
        let peer = self.peer(id);
        let open = peer.closed.is_none();
        let due = peer.timers.iter().map(|(token, due)| (*token, *due)).filter(|(_, due)| open && *due <= until);
        due.min_by_key(|(token, due)| (*due, *token))
    }

    /// Ends a connection; the first close counts.
    pub fn close(&mut self, id: u64, frame: CloseFrame) {
        if let Some(peer) = self.connections.get_mut(&id) {
            peer.closed.get_or_insert(frame);
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Send(to, message) => self.deliver(to, message),
            Effect::Close(id, frame) => self.close(id, frame),
            Effect::Publish(room, message, exclude) => self.publish(room, message, &exclude),
            Effect::Ping(id, payload) => self.change(id, |peer| peer.pings.push(payload)),
            Effect::Pong(id, payload) => self.change(id, |peer| peer.pongs.push(payload)),
            Effect::Join(id, room, replay) => self.join(id, room, replay),
            Effect::Leave(id, room) => self.change(id, |peer| {
                peer.rooms.remove(&room);
            }),
            Effect::SetTimer(id, token, after) => {
                let due = self.now + after;
                self.change(id, |peer| {
                    peer.timers.insert(token, due);
                });
            }
            Effect::CancelTimer(id, token) => self.change(id, |peer| {
                peer.timers.remove(&token);
            }),
        }
    }

    /// What is asked of a connection that is gone falls away.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.connections.get_mut(&id).filter(|peer| peer.closed.is_none()) {
            change(peer);
        }
    }

    fn deliver(&mut self, to: u64, message: Message) {
        self.change(to, |peer| peer.received.push(message));
    }

    fn publish(&mut self, room: String, message: Message, exclude: &[u64]) {
        self.kept.push(&room, &message);
        for id in self.members(&room) {
            if !exclude.contains(&id) {
                self.deliver(id, message.clone());
            }
        }
        self.published.push((room, message));
    }

    /// The members of a room, those of the implicit rooms included.
    pub fn members(&self, room: &str) -> Vec<u64> {
        let open = self.connections.iter().filter(|(_, peer)| peer.closed.is_none());
        open.filter(|(_, peer)| peer.is_in(room)).map(|(id, _)| *id).collect()
    }
}

impl Peer {
    fn new(request: Request) -> Self {
        Self {
            request,
            state: BTreeMap::new(),
            rooms: BTreeSet::new(),
            joined: Vec::new(),
            timers: BTreeMap::new(),
            received: Vec::new(),
            pings: Vec::new(),
            pongs: Vec::new(),
            closed: None,
        }
    }

    fn is_in(&self, room: &str) -> bool {
        let detail =
            |key: &str| self.request.details.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        match room.strip_prefix('@') {
            None => self.rooms.contains(room),
            Some("all") => true,
            Some(name) => name.strip_prefix("route/").is_some_and(|route| detail("route") == Some(route)),
        }
    }
}
