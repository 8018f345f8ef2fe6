//! Listeners: where sockets come from. TCP addresses, Unix sockets, and descriptors that another process has bound.
//!
//! Bound by `app`, accepted from by `server/acceptor`, all in turn.
//! Invariant: a Unix socket's file is removed by who bound it or has taken it over, and by nobody who handed it on.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, Type};

use crate::config::{Address, ListenConfig};

/// Connections that wait in the kernel's queue at most; it may be told to hold fewer.
const BACKLOG: i32 = 4096;

/// Something that is bound and can be accepted from.
#[derive(Debug)]
pub struct Listener {
    bound: Bound,
    tls: bool,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A socket that was accepted.
#[derive(Debug)]
pub enum Socket {
    /// Through the network.
    Tcp(TcpStream),
    /// From this machine.
    Unix(UnixStream),
}

/// A socket, and whether its client has to speak TLS.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// Whether that comes before all else.
    pub tls: bool,
}

impl Listener {
    /// Listens where this says; `all` are the places of the same server.
    pub fn bind(listen: &ListenConfig, all: &[ListenConfig]) -> io::Result<Self> {
        let bound = match &listen.address {
            Address::Tcp(address) => Bound::Tcp(bind_tcp(*address, all)?),
            Address::Unix(path) => Bound::Unix(bind_unix(path)?, path.clone()),
        };
        Self { bound, tls: listen.tls }.ready()
    }

    /// What another process has bound. An address has TLS where `tls` says so; a Unix socket has none.
    pub fn from_descriptor(descriptor: OwnedFd, tls: bool) -> io::Result<Self> {
        let socket = socket2::Socket::from(descriptor);
        let address = socket.local_addr()?;
        if let Some(path) = address.as_pathname() {
            let path = path.to_owned();
            return Self { bound: Bound::Unix(OwnedFd::from(socket).into(), path), tls: false }.ready();
        }
        if address.as_socket().is_none() || !socket.is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no socket that listens at an address or a file",
            ));
        }
        Self { bound: Bound::Tcp(OwnedFd::from(socket).into()), tls }.ready()
    }

    /// The same with TLS, or without; a Unix socket has none.
    pub fn with_tls(self, tls: bool) -> Self {
        let tls = tls && matches!(self.bound, Bound::Tcp(_));
        Self { tls, ..self }
    }

    /// Where it listens.
    pub fn place(&self) -> ListenConfig {
        let address = match &self.bound {
            Bound::Tcp(listener) => Address::Tcp(listener.local_addr().unwrap_or(SocketAddr::from(([0; 4], 0)))),
            Bound::Unix(_, path) => Address::Unix(path.clone()),
        };
        ListenConfig { address, tls: self.tls }
    }

    /// The same, for another owner.
    pub fn try_clone(&self) -> io::Result<Self> {
        let bound = match &self.bound {
            Bound::Tcp(listener) => Bound::Tcp(listener.try_clone()?),
            Bound::Unix(listener, path) => Bound::Unix(listener.try_clone()?, path.clone()),
        };
        Ok(Self { bound, tls: self.tls })
    }

    /// One that waits in the kernel's queue; none where nobody does.
    pub fn take_waiting(&self) -> Option<Accepted> {
        let socket = match &self.bound {
            Bound::Tcp(listener) => Socket::Tcp(listener.accept().ok()?.0),
            Bound::Unix(listener, _) => Socket::Unix(listener.accept().ok()?.0),
        };
        Some(Accepted { socket, tls: self.tls })
    }

    /// Removes the file of a Unix socket, so that whoever comes is refused at once.
    pub fn remove(&self) {
        if let Bound::Unix(_, path) = &self.bound {
            // One that is gone is as good.
            let _ = std::fs::remove_file(path);
        }
    }

    fn ready(self) -> io::Result<Self> {
        match &self.bound {
            Bound::Tcp(listener) => listener.set_nonblocking(true)?,
            Bound::Unix(listener, _) => listener.set_nonblocking(true)?,
        }
        Ok(self)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.bound {
            Bound::Tcp(listener) => listener.as_fd(),
            Bound::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// The unspecified IPv6 address takes clients with IPv4 addresses too, unless they have a listener of their own.
fn bind_tcp(address: SocketAddr, all: &[ListenConfig]) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        let is_own_of_v4 = |other: &ListenConfig| match other.address {
            Address::Tcp(other) => other.is_ipv4() && other.port() == address.port(),
            Address::Unix(_) => false,
        };
        socket.set_only_v6(address.ip() != IpAddr::from([0_u16; 8]) || all.iter().any(is_own_of_v4))?;
    }
    // So that a server that is started again need not wait for the connections of the one before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that a server left behind which is gone is replaced; that of one that lives is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            std::fs::remove_file(path)?
        }
        Err(_) => {}
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    UnixListener::bind(path)
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Listeners in use: all are asked in turn.
pub(super) struct Listening {
    listeners: Vec<(Watched, Listener)>,
    next: usize,
}

/// A listener that the runtime watches.
enum Watched {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listening {
    /// Within a runtime.
    pub(super) fn new(listeners: Vec<Listener>) -> io::Result<Self> {
        let watch = |listener: Listener| {
            let watched = match listener.try_clone()?.bound {
                Bound::Tcp(listener) => Watched::Tcp(tokio::net::TcpListener::from_std(listener)?),
                Bound::Unix(listener, _) => Watched::Unix(tokio::net::UnixListener::from_std(listener)?),
            };
            Ok((watched, listener))
        };
        Ok(Self { listeners: listeners.into_iter().map(watch).collect::<io::Result<_>>()?, next: 0 })
    }

    /// Waits for the next socket of any listener.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The listeners, for whoever is left in their queues.
    pub(super) fn into_listeners(self) -> impl Iterator<Item = Listener> {
        self.listeners.into_iter().map(|(_, listener)| listener)
    }

    /// Begins behind the one that had something last, so that a busy one starves nobody.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let count = self.listeners.len();
        for at in (self.next..self.next + count).map(|at| at % count) {
            let (watched, listener) = &self.listeners[at];
            if let Poll::Ready(socket) = watched.poll_accept(cx) {
                self.next = at + 1;
                return Poll::Ready(socket.map(|socket| Accepted { socket, tls: listener.tls }));
            }
        }
        Poll::Pending
    }
}

impl Watched {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => ready!(listener.poll_accept(cx))?.0.into_std().map(Socket::Tcp),
            Self::Unix(listener) => ready!(listener.poll_accept(cx))?.0.into_std().map(Socket::Unix),
        })
    }
}
