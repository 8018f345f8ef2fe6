//! HTTP: the head of a request, and who answers it.
//!
//! hyper reads the head within its limits; then the path decides: a WebSocket route, a file, or 404. What becomes a
//! WebSocket leaves hyper behind, with its buffers.
//! Invariant: a request head is bounded in size, count of headers and time before anything else happens.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use http::header::HOST;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::head::asks_for_websocket;
use super::refusal::{Body, Refusal};
use super::worker::{Load, Worker};
use super::{files, peer, upgrade};
use crate::id::TenantId;
use crate::metrics::Failure;
use crate::path;

/// The most bytes of a head; hyper accepts no smaller bound.
const MAX_HEAD: usize = 8192;
/// The most headers.
const MAX_HEADERS: usize = 100;

/// Serves a socket until it is closed or becomes a WebSocket.
pub async fn serve(worker: Rc<Worker>, socket: std::net::TcpStream, load: Load) {
    let Ok(mut stream) = TcpStream::from_std(socket) else { return };
    let begun = Instant::now();
    let Some(peer) = peer::of_socket(&worker, &mut stream).await else { return };
    let service = service_fn(|request| answer(worker.clone(), request, peer, &load));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(worker.limits().head().saturating_sub(begun.elapsed()))
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    // Boxed, so that the task of a WebSocket is not as large as hyper's.
    let mut connection = Box::pin(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let mut stopping = worker.shared().stopping.subscribe();
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = stopping.wait_for(|stopping| *stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        worker.metrics().count(Failure::BadHead);
        tracing::debug!(%peer, whose = Failure::BadHead.whose(), "request head: {error}");
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
    let owner = plan.routes.owner(host(&request));
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
    let peer = peer::of_request(&plan.proxies, peer, request.headers()).to_string();
    let target = upgrade::Target { chain: layout.chain(route), path: &path, params, peer };
    upgrade::open(worker, request, target, load.clone()).await
}

/// The host that the client means; a request without one, or with several, is refused where it is checked.
fn host(request: &Request<Incoming>) -> &str {
    request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}
