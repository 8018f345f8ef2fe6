//! Failures: what went wrong, and whose doing it was.
//!
//! Each has a counter of its own, and all are one metric with the labels `whose` and `why`. Whoever finds that something went
//! wrong counts it here, and writes one record with the same two words, unless [`Metrics::fail`] does both.
//! Invariant: what a client, a guest or too much load did is never called the host's, or the other way round.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

use super::Metrics;
use crate::id::ConnectionId;

/// Something that went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A guest panicked, did what WebAssembly forbids, or answered something that cannot be done.
    Trap,
    /// A guest ran out of time.
    Deadline,
    /// A guest ran out of memory.
    Memory,
    /// A value of a connection's state does not fit the generation that reads it.
    State,
    /// A handshake for a plugin that gets no events after too many faults.
    Stopped,
    /// A client's message is over the limit.
    TooBig,
    /// A client broke the protocol.
    Protocol,
    /// A client read too slowly.
    Slow,
    /// A client did not finish the close handshake.
    CloseTimeout,
    /// A client gave no sign of life.
    NoPong,
    /// A client sent nothing for longer than allowed.
    Idle,
    /// A client's request did not come in time or did not parse.
    BadHead,
    /// A client's TLS handshake did not come in time, or failed.
    BadTls,
    /// A header of the PROXY protocol is missing, malformed, late, or not this client's to send.
    BadProxyHeader,
    /// A page of a foreign origin asked.
    Origin,
    /// A client sent messages or bytes faster than it may.
    Rate,
    /// A client sent too many pings and pongs.
    Controls,
    /// A client sent a message in too many fragments.
    Fragments,
    /// A client's message took too long to come.
    SlowMessage,
    /// A client took nothing of what waited for it.
    Stalled,
    /// The client's address has as many connections as it may.
    AddressFull,
    /// The server has as many connections as it may.
    ServerFull,
    /// No socket could be accepted, as without a free descriptor.
    NoSocket,
    /// The route has as many connections as it may.
    RouteFull,
    /// The tenant has as many connections as it may.
    TenantFull,
    /// There was no room for one more instance.
    NoInstance,
    /// The host panicked.
    Panic,
    /// The disk of the store failed.
    Store,
}

const ALL: [Failure; 28] = [
    Failure::Trap,
    Failure::Deadline,
    Failure::Memory,
    Failure::State,
    Failure::Stopped,
    Failure::TooBig,
    Failure::Protocol,
    Failure::Slow,
    Failure::CloseTimeout,
    Failure::NoPong,
    Failure::Idle,
    Failure::BadHead,
    Failure::BadTls,
    Failure::BadProxyHeader,
    Failure::Origin,
    Failure::Rate,
    Failure::Controls,
    Failure::Fragments,
    Failure::SlowMessage,
    Failure::Stalled,
    Failure::AddressFull,
    Failure::ServerFull,
    Failure::NoSocket,
    Failure::RouteFull,
    Failure::TenantFull,
    Failure::NoInstance,
    Failure::Panic,
    Failure::Store,
];

impl Failure {
    /// Whose doing it was: of the guest, the client, the load, or the host.
    pub fn whose(self) -> &'static str {
        match self {
            Self::Trap | Self::Deadline | Self::Memory | Self::State | Self::Stopped => "guest",
            Self::TooBig | Self::Protocol | Self::Slow | Self::CloseTimeout | Self::NoPong | Self::Idle => "client",
            Self::BadHead | Self::BadTls | Self::BadProxyHeader | Self::Origin | Self::AddressFull => "client",
            Self::Rate | Self::Controls | Self::Fragments | Self::SlowMessage | Self::Stalled => "client",
            Self::ServerFull | Self::NoSocket => "load",
            Self::RouteFull | Self::TenantFull | Self::NoInstance => "load",
            Self::Panic | Self::Store => "host",
        }
    }

    /// What it was, in a word.
    pub fn why(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::State => "state",
            Self::Stopped => "stopped",
            Self::TooBig => "too-big",
            Self::Protocol => "protocol",
            Self::Slow => "slow",
            Self::CloseTimeout => "close-timeout",
            Self::NoPong => "no-pong",
            Self::Idle => "idle",
            Self::BadHead => "bad-head",
            Self::BadTls => "bad-tls",
            Self::BadProxyHeader => "bad-proxy-header",
            Self::Origin => "origin",
            Self::Rate => "rate",
            Self::Controls => "control-frames",
            Self::Fragments => "fragments",
            Self::SlowMessage => "slow-message",
            Self::Stalled => "stalled",
            Self::AddressFull => "address-full",
            Self::ServerFull => "server-full",
            Self::NoSocket => "no-socket",
            Self::RouteFull => "route-full",
            Self::TenantFull => "tenant-full",
            Self::NoInstance => "no-instance",
            Self::Panic => "panic",
            Self::Store => "store",
        }
    }

    fn counter(self, metrics: &Metrics) -> &Counter {
        match self {
            Self::Trap => &metrics.faults_trap,
            Self::Deadline => &metrics.faults_deadline,
            Self::Memory => &metrics.faults_memory,
            Self::State => &metrics.state_mismatches,
            Self::Stopped => &metrics.refused_stopped,
            Self::TooBig => &metrics.too_big,
            Self::Protocol => &metrics.protocol_errors,
            Self::Slow => &metrics.slow_consumers,
            Self::CloseTimeout => &metrics.close_timeouts,
            Self::NoPong => &metrics.no_pong,
            Self::Idle => &metrics.idle,
            Self::BadHead => &metrics.bad_heads,
            Self::BadTls => &metrics.bad_tls,
            Self::BadProxyHeader => &metrics.bad_proxy_headers,
            Self::Origin => &metrics.refused_origin,
            Self::Rate => &metrics.over_rate,
            Self::Controls => &metrics.control_floods,
            Self::Fragments => &metrics.over_fragments,
            Self::SlowMessage => &metrics.slow_messages,
            Self::Stalled => &metrics.stalled,
            Self::AddressFull => &metrics.refused_address,
            Self::ServerFull => &metrics.refused_server,
            Self::NoSocket => &metrics.failed_accepts,
            Self::RouteFull => &metrics.refused_capacity,
            Self::TenantFull => &metrics.refused_tenant,
            Self::NoInstance => &metrics.faults_load,
            Self::Panic => &metrics.panics,
            Self::Store => &metrics.store_failures,
        }
    }
}

impl Metrics {
    /// Counts it; gives how often it had happened before. The caller writes the record.
    pub fn count(&self, failure: Failure) -> u64 {
        failure.counter(self).inc()
    }

    /// Counts what went wrong in a connection, or before there was one, and writes its record, which is for who looks
    /// closely: clients can cause as many as they like.
    pub fn fail(&self, failure: Failure, connection: ConnectionId) {
        self.count(failure);
        let (whose, why) = (failure.whose(), failure.why());
        tracing::debug!(%connection, whose, why, "a connection failed or was refused");
    }

    pub(super) fn failures(&self) -> Failures {
        Failures(ALL.map(|failure| (failure, failure.counter(self).clone())))
    }
}

/// All failures as one metric.
#[derive(Debug)]
pub(super) struct Failures([(Failure, Counter); ALL.len()]);

impl Collector for Failures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let help = "What went wrong, by whose doing it was and why";
        let mut family = encoder.encode_descriptor("failures", help, None, MetricType::Counter)?;
        for (failure, counter) in &self.0 {
            let labels = [("whose", failure.whose()), ("why", failure.why())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&counter.get(), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_metric_says_whose_doing_each_failure_was() {
        let metrics = Metrics::default();
        metrics.fail(Failure::TooBig, ConnectionId::NONE);
        metrics.faults_deadline.inc();
        let text = metrics.text();
        for line in [
            r#"switchboard_failures_total{whose="client",why="too-big"} 1"#,
            r#"switchboard_failures_total{whose="guest",why="deadline"} 1"#,
            r#"switchboard_failures_total{whose="host",why="panic"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert_eq!((metrics.too_big.get(), ALL.len()), (1, Failure::Store as usize + 1), "all are in the list");
    }
}
