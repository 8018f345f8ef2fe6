//! `[server]`: where it listens, what it trusts, and where it keeps things.
//!
//! A part of `config/resolve`, which has the problems and the folder that paths are relative to. Limits are checked here as a
//! whole; what each means is said in `limits`.
//! Invariant: what is left out has its default here or in the module of what is configured.

use std::path::PathBuf;

use super::Resolver;
use crate::config::listen::{ListenConfig, TlsConfig};
use crate::config::raw::{self, Text};
use crate::config::watch::WatchError;
use crate::config::{ProxiesConfig, WatchConfig, parse_network};
use crate::id::MAX_WORKERS;
use crate::limits::Limits;

/// The folder of the tenants' files, of a configuration without one.
const TENANTS: &str = "tenants";
/// What is wrong with saying how proxies report where there are none.
const ALONE: &str = "has no meaning without `trusted-proxies`";

impl Resolver<'_> {
    pub(super) fn server(&mut self, server: &raw::Server) -> (Option<usize>, Limits) {
        if let Some(workers) = &server.workers
            && !(1..=MAX_WORKERS).contains(workers.as_ref())
        {
            self.problem(workers, "workers", format!("must be 1 to {MAX_WORKERS}; leave it out for one per core"));
        }
        if let Some(limits) = &server.limits
            && let Some((key, reason)) = limits.as_ref().problem()
        {
            self.problem(limits, key, reason);
        }
        let limits = server.limits.as_ref().map(|limits| limits.as_ref().clone()).unwrap_or_default();
        (server.workers.as_ref().map(|workers| *workers.as_ref()), limits)
    }

    pub(super) fn is_on_disk(&mut self, store: Option<&Text>) -> bool {
        match store.map(|store| (store, store.as_ref().as_str())) {
            None | Some((_, "memory")) => false,
            Some((_, "disk")) => true,
            Some((store, other)) => {
                self.problem(store, "store", format!("`{other}` is no place for the store; write `memory` or `disk`"));
                false
            }
        }
    }

    pub(super) fn watch(&mut self, server: &raw::Server) -> WatchConfig {
        let (watch, poll_ms) = (server.watch.as_ref(), server.poll_ms.as_ref());
        let read = WatchConfig::read(watch.map(|at| at.as_ref().as_str()), poll_ms.map(|at| *at.as_ref()));
        match (&read, watch, poll_ms) {
            (Err(WatchError::Way(wrong)), Some(at), _) => self.problem(at, "watch", wrong),
            (Err(WatchError::Interval(wrong)), _, Some(at)) => self.problem(at, "poll-ms", wrong),
            _ => {}
        }
        read.unwrap_or_default()
    }

    /// Where it listens: one place or several, and what it proves itself with there.
    pub(super) fn listen(&mut self, server: &raw::Server) -> (Vec<ListenConfig>, Option<TlsConfig>) {
        let tls = server
            .tls
            .as_ref()
            .map(|tls| TlsConfig { certificate: self.folder.join(&tls.certificate), key: self.folder.join(&tls.key) });
        let Some(written) = &server.listen else { return (vec![ListenConfig::unsaid(tls.is_some())], tls) };
        let texts = match written.as_ref() {
            toml::Value::Array(texts) if !texts.is_empty() => texts.iter().collect(),
            one => vec![one],
        };
        let parse = |text: &toml::Value| match text.as_str() {
            Some(text) => ListenConfig::parse(text, &self.folder, tls.is_some()),
            None => Err(format!("`{text}` is no address, and no list of addresses")),
        };
        let read: Result<Vec<_>, _> = texts.into_iter().map(parse).collect();
        let listen = read.unwrap_or_else(|wrong| {
            self.problem(written, "listen", wrong);
            Vec::new()
        });
        (listen, tls)
    }

    pub(super) fn proxies(&mut self, server: &raw::Server) -> ProxiesConfig {
        let mut trusted = Vec::new();
        for proxy in &server.trusted_proxies {
            match parse_network(proxy.as_ref()) {
                Some(network) => trusted.push(network),
                None => {
                    let message = format!("`{}` is no address and no network like `10.0.0.0/8`", proxy.as_ref());
                    self.problem(proxy, "trusted-proxies", message);
                }
            }
        }
        let forwarded = server.forwarded.as_ref().map(|forwarded| *forwarded.as_ref()).unwrap_or_default();
        let protocol = server.proxy_protocol.as_ref().is_some_and(|protocol| *protocol.as_ref());
        if let (true, Some(at)) = (server.trusted_proxies.is_empty(), &server.forwarded) {
            self.problem(at, "forwarded", ALONE);
        }
        if let (true, true, Some(at)) = (server.trusted_proxies.is_empty(), protocol, &server.proxy_protocol) {
            self.problem(at, "proxy-protocol", ALONE);
        }
        ProxiesConfig { trusted, forwarded, protocol }
    }

    /// Where the files of tenants lie: where the configuration says, or beside it where there is such a folder.
    pub(super) fn tenants_folder(&mut self, named: Option<&Text>) -> Option<PathBuf> {
        match named {
            Some(named) => Some(self.folder(named, "tenants")),
            None => Some(self.folder.join(TENANTS)).filter(|folder| folder.is_dir()),
        }
    }
}
