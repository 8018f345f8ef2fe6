//! Outgoing HTTP: what guests ask of other hosts through `wasi:http`.
//!
//! Handles and streams are wasmtime's own implementation; here it is decided what may leave (the plugin's `http`, the limits of
//! its tenant), and [`exchange`] carries it out in a task of its own, so that an instance that waits does not hold its worker.
//! Made at the first call of an instance: a guest that asks nobody pays a pointer.
//! Invariant: nothing leaves without an event, or to what is not listed, and nothing goes on once its event has ended.

mod body;
mod exchange;
mod tls;

use std::sync::Arc;

use http::uri::Scheme;
use http::{Method, Request, Uri, header};
use http_body_util::BodyExt;
use tokio::sync::watch;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, p2,
};

use super::Abilities;
use super::generation::{Grants, Identity};
use super::guest::Guest;
use crate::config::Destination;
use crate::slot::Slot;
use exchange::{Errand, Exchange, Outcome};

/// The most bytes of a path with its query, and of the headers of one request in memory. An answer's head is bounded too
/// (`exchange`). Handles may be kept, so these are small: there are a thousand of an instance at most.
const MAX_URI: usize = 8 * 1024;
const MAX_FIELDS: usize = 16 * 1024;
/// What a guest may write of a body before the socket has taken it.
const CHUNK: usize = 16 * 1024;

/// One instance's side of it.
pub struct Outgoing {
    context: WasiHttpCtx,
    dispatcher: Dispatcher,
}

/// Who decides whether a request leaves.
struct Dispatcher {
    abilities: Arc<Abilities>,
    identity: Arc<Identity>,
    grants: Arc<Grants>,
    /// Whether an event runs; none does while the component is instantiated.
    during_event: bool,
    /// Dropped as the event ends, and with it ends what the event has on its way. None where it sent nothing.
    event: Option<watch::Sender<()>>,
}

type Sent = Box<dyn Future<Output = Outcome> + Send>;

impl Outgoing {
    fn new(guest: &Guest) -> Box<Self> {
        let (abilities, identity, grants) = (guest.abilities.clone(), guest.identity.clone(), guest.grants.clone());
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS);
        let dispatcher = Dispatcher { abilities, identity, grants, during_event: false, event: None };
        Box::new(Self { context, dispatcher })
    }

    /// The event ends, and with it all that it has on its way; whether it sent anything.
    pub fn end(&mut self) -> bool {
        self.dispatcher.event.take().is_some()
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let during_event = self.transaction.is_some();
        let mut outgoing = self.outgoing.take().unwrap_or_else(|| Outgoing::new(self));
        outgoing.dispatcher.during_event = during_event;
        let Outgoing { context, dispatcher } = &mut **self.outgoing.insert(outgoing);
        WasiHttpCtxView { ctx: context, table: &mut self.resources, hooks: dispatcher }
    }
}

impl WasiHttpHooks for Dispatcher {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sent {
        match self.admit(&request) {
            Ok((destination, slot)) => self.dispatch((destination, slot), request, options.unwrap_or_default()),
            Err(error) => Box::new(async { Err(error) }),
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    /// Others than those that `exchange` has words for; a guest must not fill the log with them.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> p2::bindings::http::types::ErrorCode {
        p2::bindings::http::types::ErrorCode::HttpProtocolError
    }
}

impl Dispatcher {
    /// Where a request goes, and its place among those of its tenant; or why it does not leave.
    fn admit(&self, request: &Request<WasiBody>) -> Result<(Destination, Slot), Error> {
        let destination = destination(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        if !self.during_event || !self.grants.http.allow(&destination) {
            self.abilities.metrics.denied.inc();
            return Err(Error::HttpRequestDenied);
        }
        if request.method() == Method::CONNECT {
            // What would be asked for is a way to somewhere else.
            return Err(Error::HttpRequestMethodInvalid);
        }
        let limits = self.identity.tenant.limits();
        let over = |error| {
            self.abilities.metrics.http_over_limit.inc();
            Err(error)
        };
        match self.identity.tenant.take_request() {
            _ if path(request.uri()).len() > MAX_URI => over(Error::HttpRequestUriTooLong),
            _ if announced(request) > limits.http_request_bytes as u64 => {
                over(Error::HttpRequestBodySize(Some(announced(request))))
            }
            None => over(Error::ConnectionLimitReached),
            Some(slot) => Ok((destination, slot)),
        }
    }

    /// Sends what was admitted.
    fn dispatch(
        &mut self,
        (destination, slot): (Destination, Slot),
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Sent {
        let limits = self.identity.tenant.limits();
        let event = self.event.get_or_insert_with(|| watch::Sender::new(())).subscribe();
        let secure = request.uri().scheme() == Some(&Scheme::HTTPS);
        // The host itself is asked, not a proxy, so the request's line has the path alone (RFC 9112, section 3.2.1).
        *request.uri_mut() = path(request.uri()).parse().expect("a part of a URI is one");
        let abilities = &self.abilities;
        let body =
            |body| body::Outbound::new(body, limits.http_request_bytes, abilities.metrics.clone()).boxed_unsync();
        let exchange = Exchange {
            errand: Errand::new(slot, abilities.metrics.clone()),
            clock: abilities.clock.clone(),
            grants: self.grants.clone(),
            destination,
            secure,
            options,
            time: limits.http(),
            response_bytes: limits.http_response_bytes,
            event,
        };
        Box::new(exchange.run(request.map(body)))
    }
}

/// Where a request wants to go; none where that is not said as it should be.
fn destination(uri: &Uri) -> Option<Destination> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let usual = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = match authority.port() {
        Some(port) => Some(port.as_u16()).filter(|port| *port > 0)?,
        None if authority.as_str() == authority.host() => usual,
        None => return None,
    };
    let host = authority.host().to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    (!bare.is_empty()).then(|| Destination { host: bare.to_owned(), port, usual })
}

/// The path with its query, as it stands in a request's line.
fn path(uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The length that a request says its body has.
fn announced(request: &Request<WasiBody>) -> u64 {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Option<(String, u16, u16)> {
        let destination = destination(&uri.parse().expect("a URI"))?;
        Some((destination.host, destination.port, destination.usual))
    }

    #[test]
    fn a_destination_is_a_host_in_one_way_of_writing_and_a_port() {
        for (uri, host, port, usual) in [
            ("http://Api.Example.com/v1", "api.example.com", 80, 80),
            ("https://api.example.com./v1", "api.example.com", 443, 443),
            ("https://api.example.com:80?q", "api.example.com", 80, 443),
            ("http://[::FFFF:127.0.0.1]:8080/", "::ffff:127.0.0.1", 8080, 80),
            ("http://127.0.0.1", "127.0.0.1", 80, 80),
        ] {
            assert_eq!(of(uri), Some((host.to_owned(), port, usual)), "{uri}");
        }
    }

    #[test]
    fn one_that_could_be_read_in_two_ways_is_none() {
        for uri in ["http://api.example.com@127.0.0.1/", "http://host:0/", "http://host:/", "http://host:99999/", "/v1"]
        {
            let Ok(uri) = uri.parse() else { continue };
            assert_eq!(destination(&uri), None, "{uri}");
        }
    }

    #[test]
    fn the_path_of_a_request_begins_with_a_slash() {
        for (uri, expected) in [("http://a", "/"), ("http://a/b?c=d", "/b?c=d"), ("http://a?c=d", "/?c=d")] {
            assert_eq!(path(&uri.parse().expect("a URI")), expected);
        }
    }
}
