//! One request on its way: looked up, connected, sent, and answered.
//!
//! Everything lies within one time, the tenant's `http-ms`; what a guest sets itself can only be shorter. Redirects are answers
//! like any other. What goes wrong gets the word that `wasi:http` has for it.
//! Invariants: the address that is connected to is the one that was checked; its slot among the tenant's requests is held
//! until the socket, and the lookup, are done with.

use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::{Inbound, explain};
use super::tls;
use crate::clock::{Clock, Moment};
use crate::config::Destination;
use crate::engine::generation::Grants;
use crate::metrics::Metrics;
use crate::slot::Slot;

/// The most bytes of an answer's head, and what hyper reads ahead of a body.
const MAX_HEAD: usize = 32 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 100;
/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// What `wasi:http` is given: the answer, and what has to run until its body is read.
pub type Outcome = Result<(Response<WasiBody>, Driver), Error>;
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;
/// What moves the bytes of a connection.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A request that was admitted.
pub struct Exchange {
    /// As what it is counted.
    pub errand: Arc<Errand>,
    /// Time.
    pub clock: Clock,
    /// Of these, which addresses may be connected to.
    pub grants: Arc<Grants>,
    /// Where it goes.
    pub destination: Destination,
    /// Whether by TLS.
    pub secure: bool,
    /// What the guest says of time.
    pub options: RequestOptions,
    /// What all of it may take.
    pub time: Duration,
    /// The most bytes of the answer's body.
    pub response_bytes: usize,
    /// Closed as the event ends.
    pub event: watch::Receiver<()>,
}

/// A request that is on its way, counted until it is dropped.
pub struct Errand {
    metrics: Arc<Metrics>,
    _slot: Slot,
}

/// Why a request had to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It took too long.
    Late,
    /// Its event ended.
    Over,
}

/// How long something may go on.
struct Bounds {
    clock: Clock,
    deadline: Moment,
    event: watch::Receiver<()>,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Exchange {
    /// Sends it, and gives the answer as soon as its head is there.
    pub async fn run(self, request: Request<WasiBody>) -> Outcome {
        let (metrics, errand) = (self.errand.metrics.clone(), self.errand.clone());
        let deadline = self.clock.now().saturating_add(self.time);
        let mut bounds = Bounds { clock: self.clock.clone(), deadline, event: self.event.clone() };
        let begun = bounds.within(Box::pin(self.begin(deadline, request))).await;
        let (answer, connection) = match begun {
            Ok(begun) => begun?,
            Err(ending) => return Err(ending.counted(&metrics).error()),
        };
        if answer.body().size_hint().lower() > self.response_bytes as u64 {
            metrics.http_over_limit.inc();
            return Err(Error::HttpResponseBodySize(Some(answer.body().size_hint().lower())));
        }
        let ended = Arc::new(OnceLock::new());
        let timeout = self.options.between_bytes_timeout.map(|timeout| (self.clock.clone(), timeout.min(self.time)));
        let body = |body| Inbound::new(body, (self.response_bytes, metrics.clone()), ended.clone(), timeout);
        let answer = answer.map(|incoming| body(incoming).boxed_unsync());
        let driver = async move {
            if let Some(mut connection) = connection
                && let Err(ending) = bounds.within(&mut connection).await
            {
                // Before the connection is dropped, which would look like the body's end.
                let _ = ended.set(ending.counted(&metrics));
            }
            drop(errand);
            Ok(())
        };
        Ok((answer, Box::new(driver)))
    }

    /// Up to the answer's head. No connection is left where all of the answer is there.
    async fn begin(
        &self,
        deadline: Moment,
        request: Request<WasiBody>,
    ) -> Result<(Response<Incoming>, Option<Connection>), Error> {
        let socket = self.stage(self.options.connect_timeout, Error::ConnectionTimeout, self.connect(deadline)).await?;
        let sent =
            self.stage(self.options.first_byte_timeout, Error::ConnectionReadTimeout, send(socket, request)).await;
        sent.inspect_err(|error| {
            if matches!(error, Error::HttpResponseHeaderSectionSize(_)) {
                self.errand.metrics.http_over_limit.inc();
            }
        })
    }

    /// Within a time that the guest has set, if it did.
    async fn stage<T>(
        &self,
        timeout: Option<Duration>,
        late: Error,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(timeout) = timeout else { return work.await };
        tokio::select! {
            biased;
            done = work => done,
            () = self.clock.sleep(timeout.min(self.time)) => Err(late),
        }
    }

    /// Connects to the first address that answers; each has its share of the time that is left.
    async fn connect(&self, deadline: Moment) -> Result<Box<dyn Socket>, Error> {
        let addresses = self.checked(self.look_up().await?)?;
        let mut reason = Error::DestinationUnavailable;
        for (left, address) in (1..=addresses.len()).rev().zip(&addresses) {
            let share = deadline.saturating_sub(self.clock.now()) / u32::try_from(left).unwrap_or(1);
            let stream = tokio::select! {
                biased;
                stream = TcpStream::connect(address) => stream.map_err(|error| unreached(&error)),
                () = self.clock.sleep(share) => Err(Error::ConnectionTimeout),
            };
            match stream {
                Ok(stream) if self.secure => return Ok(Box::new(tls::wrap(stream, &self.destination.host).await?)),
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }

    /// Those of a destination's addresses that may be connected to.
    fn checked(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Error> {
        let may = |address: &SocketAddr| self.grants.http.allow_address(address.ip(), &self.destination);
        let allowed: Vec<_> = addresses.into_iter().filter(may).take(MAX_ADDRESSES).collect();
        if allowed.is_empty() {
            self.errand.metrics.denied.inc();
            return Err(Error::DestinationIpProhibited);
        }
        Ok(allowed)
    }

    /// The destination's addresses. The system's resolver blocks and cannot be given up, so it has a thread of its own, which
    /// holds the slot for as long as it takes, and which no worker waits for as it stops.
    async fn look_up(&self) -> Result<Vec<SocketAddr>, Error> {
        let Destination { host, port, .. } = self.destination.clone();
        if let Some(address) = self.destination.address() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (answer, answered) = oneshot::channel();
        let errand = self.errand.clone();
        let look_up = move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            // Nobody is there for the answer where the event ended meanwhile.
            let _ = answer.send(found);
            drop(errand);
        };
        let unknown = || Error::DnsError { rcode: Some("the name has no address".to_owned()), info_code: None };
        std::thread::Builder::new().name("lookup".to_owned()).spawn(look_up).map_err(|_| unknown())?;
        let found = answered.await.ok().and_then(Result::ok).filter(|found| !found.is_empty());
        found.ok_or_else(unknown)
    }
}

/// Sends a request on a fresh connection, and reads the head of the answer.
async fn send(
    socket: Box<dyn Socket>,
    request: Request<WasiBody>,
) -> Result<(Response<Incoming>, Option<Connection>), Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_header_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(socket)).await.map_err(|error| explain(&error))?;
    let mut connection: Connection = Box::pin(connection);
    let mut answer = pin!(sender.send_request(request));
    let (answer, connection) = tokio::select! {
        biased;
        answer = &mut answer => (answer, Some(connection)),
        _ = &mut connection => (answer.await, None),
    };
    Ok((answer.map_err(|error| explain(&error))?, connection))
}

fn unreached(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        _ => Error::DestinationUnavailable,
    }
}

impl Bounds {
    async fn within<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Ending> {
        tokio::select! {
            biased;
            _ = self.event.changed() => Err(Ending::Over),
            done = work => Ok(done),
            () = self.clock.sleep_until(self.deadline) => Err(Ending::Late),
        }
    }
}

impl Ending {
    fn counted(self, metrics: &Metrics) -> Self {
        if self == Self::Late {
            metrics.http_late.inc();
        }
        self
    }

    /// The word for the guest.
    pub fn error(self) -> Error {
        match self {
            Self::Late => Error::HttpResponseTimeout,
            Self::Over => Error::ConnectionTerminated,
        }
    }
}

impl Errand {
    /// Counts a request that has this slot.
    pub fn new(slot: Slot, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.http_requests.inc();
        metrics.http_open.inc();
        Arc::new(Self { metrics, _slot: slot })
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.metrics.http_open.dec();
    }
}
