//! A client's connection, whatever it comes through: TCP, a Unix socket, TLS, or a stream of HTTP/2.
//!
//! What it is matters to nobody above. TLS is `server/tls`'s, HTTP/2 hyper's.
//! Invariant: a message on a plain TCP connection pays one branch for each call.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::listener::Socket;
use super::tls::TlsStream;

/// A stream of bytes to a client.
pub enum Stream {
    /// Of its own.
    Tcp(TcpStream),
    /// From this machine.
    Unix(UnixStream),
    /// Of its own, encrypted.
    Tls(Box<TlsStream>),
    /// One of several that a client has in one connection (RFC 8441).
    Shared(Box<TokioIo<Upgraded>>),
}

impl Stream {
    /// A socket that was accepted; fails where the worker's runtime has no room for it.
    pub fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Self::Unix(UnixStream::from_std(socket)?),
        })
    }

    /// What an HTTP/2 connection opened for one WebSocket.
    pub fn shared(upgraded: Upgraded) -> Self {
        Self::Shared(Box::new(TokioIo::new(upgraded)))
    }

    /// Who is at the other end. Whoever comes through a Unix socket is on this machine, and counts as 127.0.0.1.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            Self::Tls(_) | Self::Shared(_) => None,
        }
    }

    /// Waits for the first bytes and leaves them there; none where that cannot be done.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(buffer).await,
            _ => Ok(0),
        }
    }
}

/// Calls the same of what it is.
macro_rules! each {
    ($stream:expr, $own:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($own) => $call,
            Stream::Unix($own) => $call,
            Stream::Tls($own) => $call,
            Stream::Shared($own) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), own => Pin::new(own).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), own => Pin::new(own).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), own => Pin::new(own).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), own => Pin::new(own).poll_shutdown(cx))
    }
}
