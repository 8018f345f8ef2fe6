//! HTTP: the head of a request, and who answers it.
//!
//! hyper reads the head within its limits; then the path decides: a WebSocket route, a file, or 404. What becomes a
//! WebSocket leaves hyper behind, with its buffers.
//! Invariant: a request head is bounded in size, count of headers and time before anything else happens.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::body::Body;
use super::lent::{Owner, Returned, lend};
use super::listener::Accepted;
use super::refusal::{self, Refusal};
use super::stream::Stream;
use super::worker::{Load, Worker};
use super::{files, head, peer, upgrade};
use crate::id::{ConnectionId, TenantId};
use crate::metrics::Failure;
use crate::path;

/// Clones of a socket's load while nothing goes on: its own and its service's. Each request and each WebSocket has another.
const IDLE: usize = 2;
/// How long a client has for its request once the server stops, to be told so.
const LATE: Duration = Duration::from_secs(1);
/// Requests and WebSockets that one HTTP/2 connection may have at once; more are refused by a reset of their streams.
const MAX_STREAMS: u32 = 100;
/// What a client may send before it is read, and what is kept of what it does not take, by stream; by connection, the first is
/// sixteen times that.
const WINDOW: u32 = 64 * 1024;

/// Why a connection ended badly.
type Failed = dyn Error + Send + Sync;

/// Serves a socket until it is closed or becomes a WebSocket.
pub async fn serve(worker: Rc<Worker>, accepted: Accepted, load: Load) {
    let deadline = Instant::now() + worker.limits().head();
    let Ok(mut stream) = Stream::new(accepted.socket) else { return };
    let Some(peer) = peer::of_socket(&worker, &mut stream).await else { return };
    let Some(stream) = decipher(&worker, (stream, accepted.tls), deadline).await else { return };
    let asked = Rc::new(Asked::default());
    let service = service_fn({
        let (worker, asked, load) = (worker.clone(), asked.clone(), load.clone());
        move |request| {
            asked.note(&request);
            answer(worker.clone(), request, peer, load.clone())
        }
    });
    let http = builder(&worker, deadline);
    // Boxed, so that the task of a WebSocket is not as large as hyper's.
    let (stream, owner) = lend(stream);
    let mut connection = Box::pin(http.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut stopping = worker.shared().stopping.subscribe();
    let served = tokio::select! {
        served = connection.as_mut() => {
            drop(connection);
            part(&worker, owner, (served.as_ref().err().map(AsRef::as_ref), &asked)).await;
            served
        }
        () = abandoned(&worker, (&asked, &load), deadline) => {
            if !asked.anything() {
                worker.metrics().fail(Failure::BadHead, ConnectionId::NONE);
                drop(connection);
                return part(&worker, owner, (None, &asked)).await;
            }
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LATE, connection).await.unwrap_or(Ok(()))
        }
        _ = stopping.wait_for(|stopping| *stopping) => {
            // Not HTTP/1.1, whose 101 would say `Connection: close` then.
            if asked.shared.get() {
                connection.as_mut().graceful_shutdown();
            }
            tokio::select! {
                served = connection => served,
                () = worker.cutting() => return,
                () = unused(&worker, (&asked, &load)) => return,
            }
        }
    };
    if let Err(error) = served {
        worker.metrics().count(Failure::BadHead);
        tracing::debug!(%peer, whose = Failure::BadHead.whose(), "request head: {error}");
    }
}

/// Sees off a client after its last answer: one that cannot have read it yet, as it still sends, or that got none.
async fn part(worker: &Worker, owner: Owner<Stream>, (error, asked): (Option<&Failed>, &Asked)) {
    let is_late = error.is_none_or(|error| error.downcast_ref().is_some_and(hyper::Error::is_timeout));
    // Whoever keeps still has nothing to read.
    let is_heard = |stream: &Returned<_>| stream.is_owed || asked.has_body.get() || !is_late;
    let Some(stream) = owner.returned().filter(is_heard) else { return };
    let answer: &[u8] = match stream.is_owed {
        true if is_late => refusal::LATE,
        true => refusal::UNREADABLE,
        false => b"",
    };
    tokio::select! {
        _ = tokio::time::timeout(worker.limits().close(), stream.part(answer)) => {}
        () = worker.cutting() => {}
    }
}

/// The connection below TLS, where that is spoken; none where the client cannot do it in time.
async fn decipher(worker: &Worker, (stream, tls): (Stream, bool), deadline: Instant) -> Option<Stream> {
    let (stream, tls) = match (stream, worker.shared().tls.as_ref().filter(|_| tls)) {
        (Stream::Tcp(stream), Some(tls)) => (stream, tls),
        (stream, _) => return Some(stream),
    };
    let mut stopping = worker.shared().stopping.subscribe();
    let handshake = tokio::select! {
        handshake = timeout_at(deadline, tls.accept(stream)) => handshake,
        _ = stopping.wait_for(|stopping| *stopping) => return None,
    };
    let reason = match handshake {
        Ok(Ok(stream)) => return Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took longer than `head-ms`".to_owned(),
    };
    worker.metrics().count(Failure::BadTls);
    tracing::debug!(whose = Failure::BadTls.whose(), "TLS handshake: {reason}");
    None
}

fn builder(worker: &Worker, deadline: Instant) -> auto::Builder<OnThisThread> {
    let limits = worker.limits();
    let mut http = auto::Builder::new(OnThisThread);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(deadline.saturating_duration_since(Instant::now()))
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers);
    http.http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(16 * WINDOW)
        .max_send_buf_size(WINDOW as usize);
    http
}

/// Waits until the client has sent no request in time, or, over HTTP/2, has had none and no WebSocket for as long as a head may
/// take. Between two requests of HTTP/1.1 it is hyper that waits.
async fn abandoned(worker: &Worker, (asked, load): (&Asked, &Load), deadline: Instant) {
    sleep_until(deadline).await;
    let mut known = 0;
    while asked.anything() && !(asked.shared.get() && load.clones() == IDLE && asked.requests.get() == known) {
        known = asked.requests.get();
        tokio::time::sleep(worker.limits().head()).await;
    }
}

/// Waits until nothing goes on for a moment, whether the client has ended the connection or not. Where another process has taken
/// over, who has not said anything is waited for: there, the client would be welcome.
async fn unused(worker: &Worker, (asked, load): (&Asked, &Load)) {
    loop {
        tokio::time::sleep(LATE).await;
        let may_go = asked.anything() || !worker.shared().succession.has_begun();
        if may_go && load.clones() == IDLE {
            return;
        }
    }
}

/// What was asked on one socket.
#[derive(Default)]
struct Asked {
    requests: Cell<u64>,
    /// Whether it is HTTP/2, which has several at once.
    shared: Cell<bool>,
    /// Whether the last one has a body, of which nothing is read.
    has_body: Cell<bool>,
}

impl Asked {
    fn note(&self, request: &Request<Incoming>) {
        self.requests.set(self.requests.get() + 1);
        self.shared.set(request.version() == Version::HTTP_2);
        self.has_body.set(!request.body().is_end_stream());
    }

    fn anything(&self) -> bool {
        self.requests.get() > 0
    }
}

/// Runs the streams of HTTP/2 beside their connection.
#[derive(Clone)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

async fn answer(
    worker: Rc<Worker>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    load: Load,
) -> Result<Response<Body>, Infallible> {
    head::name_host(&mut request);
    let answered = route(&worker, request, peer, &load).await;
    Ok(answered.unwrap_or_else(|refusal| {
        worker.metrics().refused.inc();
        refusal.response()
    }))
}

async fn route(
    worker: &Rc<Worker>,
    request: Request<Incoming>,
    peer: SocketAddr,
    load: &Load,
) -> Result<Response<Body>, Refusal> {
    if request.headers().len() > worker.limits().headers {
        worker.metrics().fail(Failure::BadHead, ConnectionId::NONE);
        return Err(Refusal::TooManyHeaders);
    }
    let layout = worker.plan();
    let plan = &layout.plan;
    let path = path::normalize(request.uri().path()).ok_or(Refusal::BadPath)?;
    let owner = plan.routes.owner(head::host(request.uri(), request.version(), request.headers())?);
    if !head::asks_for_websocket(&request) {
        // Files are the server's own, not those of a tenant with a host of its own.
        let statics = if owner == TenantId::UNNAMED { plan.statics.as_slice() } else { &[] };
        let file = files::serve(statics, request.method(), &path).await;
        return match (file, plan.routes.find(owner, &path)) {
            (Err(_), Some(_)) => Err(Refusal::NotAnUpgrade),
            (file, _) => file,
        };
    }
    let (route, params) = plan.routes.find(owner, &path).ok_or(Refusal::NotFound)?;
    let peer = peer::of_request(&plan.proxies, peer, request.headers());
    let target = upgrade::Target { chain: layout.chain(route), path: &path, params, peer };
    upgrade::open(worker, request, target, load.clone()).await
}
