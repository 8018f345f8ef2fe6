//! The opening handshake: from a request for a WebSocket to an open connection, or to a refusal.
//!
//! The checks in order: head, Origin, capacity, then the guests, gates first. The handshake is one transaction: accepted, its
//! effects are committed and then the 101 is written; refused, nothing happened but what on-disconnect asks for.
//! Invariant: once a guest was asked, the handshake goes on to its end even if the client is gone meanwhile.

mod answer;

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;

use answer::{add, respond, switching};

use super::body::Body;
use super::connection::Connection;
use super::deflate::{self, Agreed, Deflating};
use super::door::Place;
use super::head::{self, Upgrade};
use super::lent::Lent;
use super::refusal::Refusal;
use super::socket::Socket;
use super::stream::Stream;
use super::worker::{Load, Worker};
use crate::chain::{Admission, Chain, Connected};
use crate::config::WhenFull;
use crate::engine::fault::brief;
use crate::event::{Kept, Subject};
use crate::handshake::{Handshake, Parts};
use crate::hub::commit::{Commit, Joins, abandon};
use crate::hub::mailbox::{Bounds, Mailbox};
use crate::id::ConnectionId;
use crate::limits::Limits;
use crate::message::{CloseFrame, close};
use crate::metrics::Failure;
use crate::routes::{Captures, Route};
use crate::slot::Slot;
use crate::store::Lost;

/// Where a request leads.
pub struct Target<'a> {
    /// The chain of the route, and with it the route, under the plan that the request came in under.
    pub chain: Rc<Chain>,
    /// The normalized path.
    pub path: &'a str,
    /// What the pattern captured.
    pub params: Captures,
    /// The client.
    pub peer: SocketAddr,
}

/// A handshake that the host's own checks have passed.
struct Opening {
    worker: Rc<Worker>,
    chain: Rc<Chain>,
    mailbox: Rc<Mailbox>,
    upgrade: Upgrade,
    upgraded: OnUpgrade,
    held: Held,
    /// How its messages are to be compressed, and what the client is told of that.
    deflating: Option<(Agreed, Deflating)>,
}

/// What a connection counts for, given back when its end is over.
struct Held {
    _load: Load,
    /// Of the server and of the client's address; none for one that is let in only because the server stops.
    _place: Option<Place>,
    /// Of its route and of its tenant; none for one that is let in only to be closed.
    _slots: Option<(Slot, Slot)>,
}

impl Held {
    fn new(load: Load) -> Self {
        Self { _load: load, _place: None, _slots: None }
    }
}

/// Answers a request for a WebSocket.
pub async fn open(
    worker: &Rc<Worker>,
    mut request: Request<Incoming>,
    target: Target<'_>,
    load: Load,
) -> Result<Response<Body>, Refusal> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let upgrade = head::check(&head)?;
    if let Err(refusal) = head::check_origin(&head.headers, &upgrade.host, &target.chain.route().origins) {
        worker.metrics().fail(Failure::Origin, ConnectionId::NONE);
        return Err(refusal);
    }
    if *worker.shared().stopping.borrow() {
        return draining(worker, (upgrade.key.as_deref(), upgraded), load);
    }
    let route = target.chain.route();
    if route.tenant.is_suspended() {
        return Err(Refusal::Suspended);
    }
    if target.chain.is_stopped() {
        worker.metrics().fail(Failure::Stopped, ConnectionId::NONE);
        return Err(Refusal::Stopped);
    }
    let place = worker.shared().door.enter(target.peer.ip(), &worker.limits()).map_err(|full| {
        worker.metrics().fail(full, ConnectionId::NONE);
        Refusal::of_full(full)
    })?;
    let slot = match route.capacity.take() {
        Ok(slot) => slot,
        Err(when_full) => return full(worker, when_full, (upgrade.key.as_deref(), upgraded), (load, place)),
    };
    let Some(own) = route.tenant.take_place() else {
        worker.metrics().fail(Failure::TenantFull, ConnectionId::NONE);
        return Err(Refusal::Full(StatusCode::TOO_MANY_REQUESTS));
    };
    let held = Held { _load: load, _place: Some(place), _slots: Some((slot, own)) };
    let chain = target.chain.clone();
    let handshake = Arc::new(pack(&head, &target, &upgrade));
    let mailbox = Mailbox::new(worker.ids.next(), chain.route().tenant.id(), bounds(chain.route()));
    let deflating = deflating(&head.headers, chain.route());
    let opening = Opening { worker: worker.clone(), chain, mailbox, upgrade, upgraded, held, deflating };
    // A task of its own: hyper drops this future when the client goes away, and a gate that passed must hear of it.
    let opened = tokio::task::spawn_local(opening.in_turns(handshake)).await;
    opened.unwrap_or_else(|_| {
        let whose = Failure::Panic.whose();
        tracing::error!(whose, "the host panicked in a handshake, which is refused; this is a bug of the server");
        Err(Refusal::Fault)
    })
}

/// Turns away one connection too many, with a WebSocket that is opened only for that where the route wants it so.
fn full(
    worker: &Rc<Worker>,
    when_full: WhenFull,
    asked: (Option<&str>, OnUpgrade),
    (load, place): (Load, Place),
) -> Result<Response<Body>, Refusal> {
    worker.metrics().fail(Failure::RouteFull, ConnectionId::NONE);
    match when_full {
        WhenFull::Respond(status) => Err(Refusal::Full(status)),
        WhenFull::Close(frame) => open_to_close(worker, asked, frame, Held { _place: Some(place), ..Held::new(load) }),
    }
}

/// Turns away who came a moment too late. Where another process has taken over, it would not have been too late there: that client
/// is told what all are told who were in time, and to whom no connection is refused.
fn draining(worker: &Rc<Worker>, asked: (Option<&str>, OnUpgrade), load: Load) -> Result<Response<Body>, Refusal> {
    if !worker.shared().succession.has_begun() {
        return Err(Refusal::Draining);
    }
    open_to_close(worker, asked, close::RESTART, Held::new(load))
}

fn open_to_close(
    worker: &Rc<Worker>,
    (key, upgraded): (Option<&str>, OnUpgrade),
    frame: CloseFrame,
    held: Held,
) -> Result<Response<Body>, Refusal> {
    let response = switching(key, None, None).map_err(|_| Refusal::Fault)?;
    // Refusals by a status are counted where they are answered.
    worker.metrics().refused.inc();
    tokio::task::spawn_local(close_at_once(worker.clone(), upgraded, frame, held));
    Ok(response)
}

fn bounds(route: &Route) -> Bounds {
    let limits = route.limits();
    Bounds { bytes: limits.mailbox_bytes, messages: limits.mailbox_messages, slow: route.slow }
}

/// Copies the head into one allocation, so that hyper's buffer can go.
fn pack(head: &request::Parts, target: &Target<'_>, upgrade: &Upgrade) -> Handshake {
    let lossy = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), lossy(value))).collect();
    let parts = Parts {
        path: target.path,
        query: head.uri.query().unwrap_or_default(),
        peer: &target.peer.to_string(),
        host: &upgrade.host,
        params: target.params.clone(),
        headers,
        subprotocols: upgrade.subprotocols.clone(),
    };
    Handshake::pack(&parts, target.chain.route().names.clone())
}

impl Opening {
    /// In its tenant's share of the worker's time.
    async fn in_turns(self, handshake: Arc<Handshake>) -> Result<Response<Body>, Refusal> {
        let (worker, tenant) = (self.worker.clone(), self.mailbox.tenant());
        let opening = pin!(self.run(handshake));
        let opening = pin!(worker.counted(opening));
        worker.shares.run(tenant, opening).await
    }

    async fn run(self, handshake: Arc<Handshake>) -> Result<Response<Body>, Refusal> {
        let kept = Kept { handshake, ..Kept::default() };
        let connected = self.chain.connect(self.subject(), kept).await;
        match self.response(&connected) {
            Ok(response) if matches!(connected.admission, Admission::Accept { .. }) => {
                self.accept(connected).await;
                Ok(response)
            }
            Ok(response) => {
                let worker = self.worker.clone();
                self.refuse(connected).await.map_err(|Lost| Refusal::Fault)?;
                // Refusals of the host are counted where they are answered.
                worker.metrics().refused.inc();
                Ok(response)
            }
            Err(reason) => {
                if let Some((plugin, reason)) = reason {
                    self.report(&plugin, &reason);
                }
                let passed = connected.passed.gates();
                let _ = self.refuse(Connected { admission: Admission::Fault, passed, ..connected }).await;
                Err(Refusal::Fault)
            }
        }
    }

    fn subject(&self) -> Subject {
        Subject { connection: self.mailbox.id(), tenant: self.mailbox.tenant(), queued: 0 }
    }

    /// An answer of a guest that cannot be given to a client.
    fn report(&self, plugin: &str, reason: &str) {
        self.worker.metrics().faults.inc();
        let connection = self.mailbox.id();
        tracing::error!(plugin, %connection, event = "on-connect", cause = "answer", "guest fault: {reason}");
    }

    /// The response to what the guests said; an error says whose cannot be given and why, if it was not reported before.
    fn response(&self, connected: &Connected) -> Result<Response<Body>, Option<(Arc<str>, String)>> {
        let decided = |reason| Some((connected.plugin.clone(), reason));
        match &connected.admission {
            Admission::Accept { subprotocol, headers } => {
                let chosen = subprotocol.as_deref();
                if let Some(chosen) = chosen.filter(|chosen| !self.upgrade.subprotocols.iter().any(|p| p == chosen)) {
                    return Err(decided(format!("the subprotocol `{}` was not offered", brief(&chosen))));
                }
                let agreed = self.deflating.map(|(agreed, _)| agreed);
                let mut response = switching(self.upgrade.key.as_deref(), chosen, agreed).map_err(decided)?;
                for (plugin, added) in headers {
                    add(response.headers_mut(), added).map_err(|reason| Some((plugin.clone(), reason)))?;
                }
                Ok(response)
            }
            Admission::Close(_) => switching(self.upgrade.key.as_deref(), None, None).map_err(decided),
            Admission::Respond { status, headers, body } => respond(*status, headers, body).map_err(decided),
            Admission::Fault => Err(None),
        }
    }

    /// Opens the connection and commits the handshake; the socket follows once the 101 is written.
    async fn accept(self, connected: Connected) {
        let Connected { kept, effects, passed, .. } = connected;
        let worker = self.worker.clone();
        let mut connection = Connection::open(self.worker, self.chain, self.mailbox, (kept, passed));
        // Where that fails, the connection is closed as soon as it is open.
        let _ = connection.commit(effects).await;
        let (upgraded, held, deflating) = (self.upgraded, self.held, self.deflating.map(|(_, deflating)| deflating));
        let (turns, tenant) = (worker.clone(), connection.tenant().id());
        // Boxed where it is made: what is moved into a future and pinned there takes its room twice.
        let mut serving = Box::pin(async move {
            let _held = held;
            let mut socket = socket((&worker, &connection.limits()), upgraded, deflating).await;
            connection.run(&mut socket).await;
        });
        tokio::task::spawn_local(async move {
            let serving = pin!(turns.counted(serving.as_mut()));
            turns.shares.run(tenant, serving).await;
        });
    }

    /// Takes back what was asked for, tells the gates that passed, and closes a WebSocket that is opened only for that.
    async fn refuse(self, connected: Connected) -> Result<(), Lost> {
        let Connected { admission, kept, passed, effects, .. } = connected;
        let answers = abandon(effects).await;
        let frame = match admission {
            _ if answers.is_err() => close::LOST,
            Admission::Close(frame) => frame,
            Admission::Fault => close::LOST,
            _ => close::REFUSED,
        };
        let ended = self.chain.disconnect(self.subject(), kept, &frame, passed).await;
        let mut kept = ended.kept;
        self.mailbox.shut();
        let (local, own, joins) = (&self.worker.local, &self.mailbox, &mut Joins::default());
        // Nobody is left to hear that it failed.
        let _ = Commit { local, own, kept: &mut kept, joins }.run(ended.effects).await;
        if close::may_send(frame.code) {
            // Its slot is free from here on: what is left is to tell the client.
            let held = Held { _slots: None, ..self.held };
            tokio::task::spawn_local(close_at_once(self.worker, self.upgraded, frame, held));
        }
        answers
    }
}

/// What the client offers and the route wants.
fn deflating(headers: &HeaderMap, route: &Route) -> Option<(Agreed, Deflating)> {
    let config = route.compression.as_ref()?;
    let agreed = deflate::agree(headers, config.window_bits)?;
    Some((agreed, Deflating::new(config, agreed)))
}

async fn close_at_once(worker: Rc<Worker>, upgraded: OnUpgrade, frame: CloseFrame, _held: Held) {
    let limits = worker.limits().clone();
    let Some(socket) = socket((&worker, &limits), upgraded, None).await else { return };
    let closing = tokio::time::timeout(worker.limits().close(), socket.close(&frame));
    if closing.await.is_err() {
        worker.metrics().fail(Failure::CloseTimeout, ConnectionId::NONE);
    }
}

/// The socket, once the response is written; none where the client went away before.
async fn socket(
    (worker, limits): (&Rc<Worker>, &Limits),
    upgraded: OnUpgrade,
    deflating: Option<Deflating>,
) -> Option<Socket> {
    let upgraded = tokio::time::timeout(worker.limits().handshake(), upgraded).await.ok()?.ok()?;
    Some(Socket::new(stream(upgraded)?, deflating, limits, worker.clone()).await)
}

/// What the WebSocket speaks over from now on, with what was read of it already.
fn stream(upgraded: Upgraded) -> Option<(Stream, Bytes)> {
    match auto::upgrade::downcast::<TokioIo<Lent<Stream>>>(upgraded) {
        Ok(parts) => Some((parts.io.into_inner().take()?, parts.read_buf)),
        Err(shared) => Some((Stream::shared(shared), Bytes::new())),
    }
}
