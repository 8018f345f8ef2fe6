//! The opening handshake: from a request for a WebSocket to an open connection, or to a refusal.
//!
//! The checks in order: head, Origin, capacity, then the guests, gates first. The handshake is one transaction: accepted, its
//! effects are committed and then the 101 is written; refused, nothing happened but what on-disconnect asks for.
//! Invariant: once a guest was asked, the handshake goes on to its end even if the client is gone meanwhile.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, request};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::Connection;
use super::head::{self, Upgrade};
use super::refusal::{Body, Refusal};
use super::socket::Socket;
use super::worker::{Load, Worker};
use crate::chain::{Admission, Chain, Connected};
use crate::config::WhenFull;
use crate::engine::fault::brief;
use crate::event::{Header, Kept, Subject};
use crate::handshake::{Handshake, Parts};
use crate::hub::commit::{Commit, Joins, abandon};
use crate::hub::mailbox::{Bounds, Mailbox};
use crate::id::{ConnectionId, TenantId};
use crate::message::{CloseFrame, close};
use crate::metrics::Failure;
use crate::routes::{Captures, Route};
use crate::slot::Slot;
use crate::store::Lost;
use crate::tenants::Tenant;

/// The largest body of a guest's response.
const MAX_BODY: usize = 64 * 1024;
/// What the guests of one handshake may add to its response: headers, and bytes of them. More would pass what clients take,
/// and soon what the map of headers can hold.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Headers that belong to the handshake or to HTTP's framing; a guest may not set them.
const RESERVED: [&str; 11] = [
    "connection",
    "upgrade",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-version",
    "sec-websocket-key",
    "content-length",
    "transfer-encoding",
    "trailer",
    "te",
];

/// Where a request leads.
pub struct Target<'a> {
    /// The chain of the route, and with it the route, under the plan that the request came in under.
    pub chain: Rc<Chain>,
    /// The normalized path.
    pub path: &'a str,
    /// What the pattern captured.
    pub params: Captures,
    /// "ip:port" of the client.
    pub peer: String,
}

/// A handshake that the host's own checks have passed.
struct Opening {
    worker: Rc<Worker>,
    chain: Rc<Chain>,
    mailbox: Rc<Mailbox>,
    upgrade: Upgrade,
    upgraded: OnUpgrade,
    held: Held,
}

/// What a connection counts for, given back when its end is over.
struct Held {
    _load: Load,
    /// Of its route and of its tenant; none for one that is let in only to be closed.
    _slots: Option<(Slot, Slot)>,
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
    if let Err(refusal) = head::check_origin(&head.headers, &target.chain.route().origins) {
        worker.metrics().fail(Failure::Origin, ConnectionId::NONE);
        return Err(refusal);
    }
    if *worker.shared().stopping.borrow() {
        return Err(Refusal::Draining);
    }
    let route = target.chain.route();
    if route.tenant.is_suspended() {
        return Err(Refusal::Suspended);
    }
    if target.chain.is_stopped() {
        worker.metrics().fail(Failure::Stopped, ConnectionId::NONE);
        return Err(Refusal::Stopped);
    }
    let slot = match route.capacity.take() {
        Ok(slot) => slot,
        Err(when_full) => return full(worker, when_full, (&upgrade.key, upgraded), load),
    };
    let Some(place) = route.tenant.take_place() else {
        worker.metrics().fail(Failure::TenantFull, ConnectionId::NONE);
        return Err(Refusal::Full(StatusCode::TOO_MANY_REQUESTS));
    };
    let held = Held { _load: load, _slots: Some((slot, place)) };
    let chain = target.chain.clone();
    let handshake = Arc::new(pack(&head, &target, &upgrade));
    let mailbox = Mailbox::new(worker.ids.next(), chain.route().tenant.id(), bounds(chain.route()));
    let opening = Opening { worker: worker.clone(), chain, mailbox, upgrade, upgraded, held };
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
    (key, upgraded): (&str, OnUpgrade),
    load: Load,
) -> Result<Response<Body>, Refusal> {
    worker.metrics().fail(Failure::RouteFull, ConnectionId::NONE);
    let frame = match when_full {
        WhenFull::Respond(status) => return Err(Refusal::Full(status)),
        WhenFull::Close(frame) => frame,
    };
    let response = switching(key, None).map_err(|_| Refusal::Fault)?;
    // Refusals by a status are counted where they are answered.
    worker.metrics().refused.inc();
    let held = Held { _load: load, _slots: None };
    tokio::task::spawn_local(close_at_once(worker.clone(), upgraded, frame, held));
    Ok(response)
}

fn bounds(route: &Route) -> Bounds {
    let limits = route.tenant.limits();
    Bounds { bytes: limits.mailbox_bytes, messages: limits.mailbox_messages, slow: route.slow }
}

/// Copies the head into one allocation, so that hyper's buffer can go.
fn pack(head: &request::Parts, target: &Target<'_>, upgrade: &Upgrade) -> Handshake {
    let lossy = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), lossy(value))).collect();
    let host = head.headers.get(http::header::HOST).map(lossy).unwrap_or_default();
    let parts = Parts {
        path: target.path,
        query: head.uri.query().unwrap_or_default(),
        peer: &target.peer,
        host: &host,
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
                let mut response = switching(&self.upgrade.key, chosen).map_err(decided)?;
                for (plugin, added) in headers {
                    add(response.headers_mut(), added).map_err(|reason| Some((plugin.clone(), reason)))?;
                }
                Ok(response)
            }
            Admission::Close(_) => switching(&self.upgrade.key, None).map_err(decided),
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
        let (upgraded, held) = (self.upgraded, self.held);
        let (turns, tenant) = (worker.clone(), connection.tenant().id());
        // Boxed where it is made: what is moved into a future and pinned there takes its room twice.
        let mut serving = Box::pin(async move {
            let _held = held;
            match socket(&worker, upgraded, connection.tenant()).await {
                Some(socket) => connection.run(socket).await,
                None => connection.lost().await,
            }
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

async fn close_at_once(worker: Rc<Worker>, upgraded: OnUpgrade, frame: CloseFrame, _held: Held) {
    let unnamed = worker.abilities().tenants.of(TenantId::UNNAMED);
    let Some(socket) = socket(&worker, upgraded, &unnamed).await else { return };
    let closing = tokio::time::timeout(worker.limits().close(), socket.close(&frame));
    if closing.await.is_err() {
        worker.metrics().fail(Failure::CloseTimeout, ConnectionId::NONE);
    }
}

/// The socket, once the response is written; none where the client went away before.
async fn socket(worker: &Rc<Worker>, upgraded: OnUpgrade, tenant: &Tenant) -> Option<Socket> {
    let upgraded = tokio::time::timeout(worker.limits().handshake(), upgraded).await.ok()?.ok()?;
    let parts = downcast(upgraded)?;
    Some(Socket::new((parts.0, parts.1), &tenant.limits(), worker.clone()).await)
}

fn downcast(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// The 101 (RFC 6455, section 4.2.2).
fn switching(key: &str, subprotocol: Option<&str>) -> Result<Response<Body>, String> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.map_err(|_| "the accept key is no header".to_owned())?);
    if let Some(subprotocol) = subprotocol {
        let value = HeaderValue::from_str(subprotocol).map_err(|_| "the subprotocol is no header".to_owned())?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(response)
}

/// A guest's response in place of a WebSocket.
fn respond(status: u16, added: &[Header], body: &Bytes) -> Result<Response<Body>, String> {
    let good = (200..600).contains(&status);
    let status = StatusCode::from_u16(status).ok().filter(|_| good);
    let status = status.ok_or_else(|| "the status of a response must be 200 to 599".to_owned())?;
    if body.len() > MAX_BODY {
        return Err(format!("the body of a response has at most {MAX_BODY} bytes, not {}", body.len()));
    }
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    add(response.headers_mut(), added)?;
    Ok(response)
}

/// Adds a guest's headers, none of which may break out of its line or speak for the host.
fn add(headers: &mut HeaderMap, added: &[Header]) -> Result<(), String> {
    let mut bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    for (name, value) in added {
        bytes += name.len() + value.len();
        if headers.len() >= MAX_HEADERS || bytes > MAX_HEADER_BYTES {
            return Err(format!("a response has at most {MAX_HEADERS} headers with {MAX_HEADER_BYTES} bytes together"));
        }
        let bad = |what: &str| format!("the header {name:?} {what}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("has a name that is not allowed"))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(bad("belongs to the host"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| bad("has a value with a control character"))?;
        headers.append(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Vec<Header> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_accept_key_is_that_of_the_specification() {
        let response = switching("dGhlIHNhbXBsZSBub25jZQ==", Some("chat")).expect("it can be built");
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_guests_header_cannot_break_out_or_speak_for_the_host() {
        for (name, value) in
            [("x-a", "1\r\nx-b: 2"), ("x a", "1"), ("Upgrade", "h2c"), ("content-length", "5"), ("", "1")]
        {
            assert!(respond(200, &header(name, value), &Bytes::new()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_guests_response_is_bounded() {
        assert!(respond(101, &[], &Bytes::new()).is_err());
        assert!(respond(600, &[], &Bytes::new()).is_err());
        assert!(respond(200, &[], &Bytes::from(vec![0; MAX_BODY])).is_ok());
        assert!(respond(200, &[], &Bytes::from(vec![0; MAX_BODY + 1])).is_err());
    }
}
