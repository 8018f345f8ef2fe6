//! How a server gets its listeners: it binds them, is given them by who started it, or takes them over from the server before.
//!
//! Given are descriptors of systemd's protocol (sd_listen_fds(3)). Taken over are those of a running server of the same project,
//! through its control socket; it ends then, and this one goes on once that is over.
//! Invariant: what is taken over and not configured any more is let go of, and what is configured and was not there is bound.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use listenfd::ListenFd;

use crate::admin::{Answer, HAND_OVER, PATIENCE, descriptors};
use crate::config::{Address, Config, ListenConfig};
use crate::server::listener::Listener;

/// How long the end of the server before is waited for: it has connections to close, and a store.
const ENDING: Duration = Duration::from_secs(30);

/// Binds all of these, or takes what was given.
pub fn bind_or_adopt(config: &Config) -> Result<Vec<Listener>> {
    match adopt(config)? {
        given if given.is_empty() => bind(config),
        given => Ok(given),
    }
}

/// Binds all of these.
pub fn bind(config: &Config) -> Result<Vec<Listener>> {
    bind_all(&config.listen, Vec::new())
}

/// Takes over from the server that runs; where none does, all is bound.
pub fn take_over(config: &Config) -> Result<Vec<Listener>> {
    let stream = match UnixStream::connect(&config.control) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            tracing::info!("there is no server to take over from");
            return bind_or_adopt(config);
        }
        Err(error) => bail!("{}: the server there cannot be asked: {error}", config.control.display()),
    };
    let shown = || format!("{}: the server there did not hand over", config.control.display());
    let taken = ask(&stream).with_context(shown)?;
    let listeners = bind_all(&config.listen, taken)?;
    wait_for_end(stream);
    Ok(listeners)
}

fn ask(mut stream: &UnixStream) -> Result<Vec<Listener>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{HAND_OVER}\n").as_bytes())?;
    match serde_json::from_str(&line(stream)?)? {
        Answer::Done(_) => {}
        Answer::Refused(reason) => bail!("{reason}"),
        Answer::Plugins(_) => bail!("it answered something else"),
    }
    let taken = descriptors::receive(stream)?.into_iter();
    Ok(taken.map(|descriptor| Listener::from_descriptor(descriptor, false)).collect::<Result<_, _>>()?)
}

/// Not a byte more, since the sockets come with what follows.
fn line(mut stream: &UnixStream) -> Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8(line)?)
}

fn wait_for_end(mut stream: UnixStream) {
    tracing::info!("the server before hands over; clients that come now wait for its end");
    let waited = stream.set_read_timeout(Some(ENDING)).and_then(|()| stream.read(&mut [0; 1]));
    if waited.is_err_and(|error| error.kind() != ErrorKind::ConnectionReset) {
        tracing::warn!("the server before does not end; this one goes on");
    }
}

/// What systemd, or something like it, has bound for this process. TLS is spoken where the configuration says so of the same
/// address, or, of one that it does not name, where there is a certificate.
fn adopt(config: &Config) -> Result<Vec<Listener>> {
    let mut given = ListenFd::from_env();
    let adopted = (0..given.len()).map(|index| {
        let descriptor = match given.take_unix_listener(index) {
            Ok(listener) => listener.map(OwnedFd::from),
            Err(_) => given.take_tcp_listener(index)?.map(OwnedFd::from),
        };
        let listener = descriptor.map(|descriptor| Listener::from_descriptor(descriptor, config.tls.is_some()));
        listener.transpose().map(|listener| listener.map(|listener| as_configured(listener, &config.listen)))
    });
    let adopted: std::io::Result<Vec<_>> = adopted.collect();
    Ok(adopted.context("LISTEN_FDS: a descriptor is no listening socket")?.into_iter().flatten().collect())
}

fn as_configured(listener: Listener, places: &[ListenConfig]) -> Listener {
    let own = listener.place().address;
    match places.iter().find(|place| place.address == own) {
        Some(place) => listener.with_tls(place.tls),
        None => listener,
    }
}

/// A listener for each place: of these where one is bound to it, and else a new one.
fn bind_all(places: &[ListenConfig], mut bound: Vec<Listener>) -> Result<Vec<Listener>> {
    let mut listen = |place: &ListenConfig| {
        let found = bound.iter().position(|listener| serves(&place.address, &listener.place().address));
        match found {
            Some(found) => Ok(bound.swap_remove(found).with_tls(place.tls)),
            None => Listener::bind(place, places).map_err(|error| not_bound(place, &error)),
        }
    };
    places.iter().map(&mut listen).collect()
}

/// Whether what is wanted is what is bound; port 0 wants any.
fn serves(wanted: &Address, bound: &Address) -> bool {
    let with_any_port = |wanted: &SocketAddr, bound: &SocketAddr| wanted.port() == 0 && wanted.ip() == bound.ip();
    match (wanted, bound) {
        (Address::Tcp(wanted), Address::Tcp(bound)) => wanted == bound || with_any_port(wanted, bound),
        (wanted, bound) => wanted == bound,
    }
}

fn not_bound(place: &ListenConfig, error: &std::io::Error) -> anyhow::Error {
    let place = match &place.address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => place.to_string(),
    };
    match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!(
                "{place} is in use; stop the other server, or take another address with `--listen` (port 0 takes a free one)"
            )
        }
        _ => anyhow!("cannot listen on {place}: {error}; change `listen` in [server], or give `--listen`"),
    }
}
