//! HTTP: the head of a request, and who answers it.
//!
//! hyper reads the head within its limits; then the path decides: a WebSocket route, a file, or 404. What becomes a
//! WebSocket leaves hyper behind, with its buffers.
//! Invariant: a request head is bounded in size, count of headers and time before anything else happens.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::Body;
use super::head::{self, asks_for_websocket};
use super::lent::{Owner, Returned, lend};
use super::refusal::{self, Refusal};
use super::worker::{Load, Worker};
use super::{files, peer, upgrade};
use crate::id::TenantId;
use crate::metrics::Failure;
use crate::path;

/// How long a client has for its request once the server stops, to be told so.
const LATE: Duration = Duration::from_secs(1);

/// Serves a socket until it is closed or becomes a WebSocket.
pub async fn serve(worker: Rc<Worker>, socket: std::net::TcpStream, load: Load) {
    let Ok(mut stream) = TcpStream::from_std(socket) else { return };
    let begun = Instant::now();
    let Some(peer) = peer::of_socket(&worker, &mut stream).await else { return };
    let (asked, has_body) = (Cell::new(false), Cell::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        asked.set(true);
        has_body.set(!request.body().is_end_stream());
        answer(worker.clone(), request, peer, &load)
    });
    let limits = worker.limits();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head().saturating_sub(begun.elapsed()))
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers);
    drop(limits);
    // Boxed, so that the task of a WebSocket is not as large as hyper's.
    let (stream, owner) = lend(stream);
    let mut connection = Box::pin(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let mut stopping = worker.shared().stopping.subscribe();
    let served = tokio::select! {
        served = connection.as_mut() => {
            drop(connection);
            part(&worker, owner, (served.as_ref().err(), has_body.get())).await;
            served
        }
        _ = stopping.wait_for(|stopping| *stopping) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection => served,
                () = worker.cutting() => return,
                () = tokio::time::sleep(LATE), if !asked.get() => return,
            }
        }
    };
    if let Err(error) = served {
        worker.metrics().count(Failure::BadHead);
        tracing::debug!(%peer, whose = Failure::BadHead.whose(), "request head: {error}");
    }
}

/// Sees off a client after its last answer: one that cannot have read it yet, as it still sends, or that got none.
async fn part(worker: &Worker, owner: Owner<TcpStream>, (error, has_body): (Option<&hyper::Error>, bool)) {
    let (is_late, is_bad) = (error.is_some_and(hyper::Error::is_timeout), error.is_some());
    // Whoever keeps still has nothing to read.
    let is_heard = |stream: &Returned<_>| stream.is_owed || has_body || is_bad && !is_late;
    let Some(stream) = owner.returned().filter(is_heard) else { return };
    let answer: &[u8] = match stream.is_owed && is_bad {
        true if is_late => refusal::LATE,
        true => refusal::UNREADABLE,
        false => b"",
    };
    let grace = worker.limits().close();
    tokio::select! {
        _ = tokio::time::timeout(grace, stream.part(answer)) => {}
        () = worker.cutting() => {}
    }
}

async fn answer(
    worker: Rc<Worker>,
    request: Request<Incoming>,
    peer: SocketAddr,
    load: &Load,
) -> Result<Response<Body>, Infallible> {
    let answered = route(&worker, request, peer, load).await;
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
    let layout = worker.plan();
    let plan = &layout.plan;
    let path = path::normalize(request.uri().path()).ok_or(Refusal::BadPath)?;
    let owner = plan.routes.owner(head::host(request.uri(), request.version(), request.headers())?);
    if !asks_for_websocket(request.headers()) {
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
