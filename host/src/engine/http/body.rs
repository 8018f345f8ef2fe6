//! Bodies of requests and answers, with an end.
//!
//! Both are handed on as they come, piece by piece: what the receiver does not take holds back the sender.
//! Invariant: no more of a body passes than the tenant's limit, and an answer that was cut off never looks whole.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use wasmtime_wasi_http::Error;

use super::exchange::Ending;
use crate::clock::Clock;
use crate::metrics::Metrics;

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// How much of a body may still come.
struct Left {
    bytes: usize,
    limit: usize,
    metrics: Arc<Metrics>,
}

/// What a guest sends.
pub struct Outbound {
    body: UnsyncBoxBody<Bytes, Error>,
    left: Left,
}

/// What a guest is answered.
pub struct Inbound {
    body: Incoming,
    left: Left,
    /// Set where the connection had to be dropped before the body's end.
    ended: Arc<OnceLock<Ending>>,
    silence: Option<Silence>,
}

/// How long a guest waits for the next piece of a body.
struct Silence {
    clock: Clock,
    limit: Duration,
    ends: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Left {
    fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self { bytes: limit, limit, metrics }
    }

    /// Takes a piece off; gives the limit where it is one too many.
    fn take(&mut self, frame: &Frame<Bytes>) -> Result<(), u64> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match self.bytes.checked_sub(length) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => {
                self.metrics.http_over_limit.inc();
                Err(self.limit as u64)
            }
        }
    }
}

impl Outbound {
    /// A body with a limit.
    pub fn new(body: UnsyncBoxBody<Bytes, Error>, limit: usize, metrics: Arc<Metrics>) -> Self {
        Self { body, left: Left::new(limit, metrics) }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            self.left.take(&frame).map_err(|limit| Error::HttpRequestBodySize(Some(limit)))?;
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Inbound {
    /// A body with a limit, and with a time between two pieces if the guest has set one.
    pub fn new(
        body: Incoming,
        (limit, metrics): (usize, Arc<Metrics>),
        ended: Arc<OnceLock<Ending>>,
        silence: Option<(Clock, Duration)>,
    ) -> Self {
        let silence = silence.map(|(clock, limit)| Silence { ends: sleep(&clock, limit), clock, limit });
        Self { body, left: Left::new(limit, metrics), ended, silence }
    }

    /// What the end of the connection means: the body's end only where it did not have to be ended.
    fn cut_off(&self) -> Option<Error> {
        self.ended.get().filter(|_| !self.body.is_end_stream()).map(|ending| ending.error())
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return match &mut self.silence {
                Some(silence) => silence.ends.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout))),
                None => Poll::Pending,
            };
        };
        if let Some(silence) = &mut self.silence {
            silence.ends = sleep(&silence.clock, silence.limit);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => match self.left.take(&frame) {
                Ok(()) => Some(Ok(frame)),
                Err(limit) => Some(Err(Error::HttpResponseBodySize(Some(limit)))),
            },
            Some(Err(error)) => Some(Err(self.cut_off().unwrap_or_else(|| explain(&error)))),
            // hyper itself tells the two apart, but for versions that did not.
            None => self.cut_off().map(Err),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn sleep(clock: &Clock, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(time).await })
}

/// The word of `wasi:http` for what went wrong with a connection.
pub fn explain(error: &hyper::Error) -> Error {
    let of_guest = error.source().and_then(|source| source.downcast_ref::<Error>());
    match of_guest {
        Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
        Some(_) => Error::HttpProtocolError,
        None if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        None if error.is_parse() => Error::HttpProtocolError,
        None if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        None => Error::ConnectionTerminated,
    }
}
