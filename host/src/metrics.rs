//! What the server counts.
//!
//! One struct of counters, shared by all threads; whoever decides something counts it here. [`Metrics::text`] gives
//! all of them in the Prometheus text format.
//! Invariant: counting never blocks and never fails.

mod failure;

pub use failure::Failure;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The counters of one server.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Connections that are open now.
    pub connections: Gauge,
    /// Connections whose peer takes nothing at the moment, while something waits for it.
    pub blocked_peers: Gauge,
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Handshakes that were refused, by the host or by a guest.
    pub refused: Counter,
    /// Of these, for a foreign Origin.
    pub refused_origin: Counter,
    /// Of these, because the route has as many connections as it may.
    pub refused_capacity: Counter,
    /// Of these, because the tenant has as many connections as it may.
    pub refused_tenant: Counter,
    /// Of these, because the server has as many connections as it may.
    pub refused_server: Counter,
    /// Of these, because the client's address has as many connections as it may.
    pub refused_address: Counter,
    /// Times that accepting waited, because too many sockets came in a second.
    pub accept_waits: Counter,
    /// Times that no socket could be accepted, as without a free descriptor.
    pub failed_accepts: Counter,
    /// Of these, because a plugin gets no events after too many faults.
    pub refused_stopped: Counter,
    /// Messages from clients.
    pub messages_in: Counter,
    /// Host calls that were denied: not granted, or not allowed where they were made.
    pub denied: Counter,
    /// Panics of the host, each a bug, of which the connection or task at hand ended.
    pub panics: Counter,
    /// Messages to clients.
    pub messages_out: Counter,
    /// Times that a message of a client waited for the rate of its tenant.
    pub throttled_in: Counter,
    /// Times that a message to a client waited for the rate of its tenant.
    pub throttled_out: Counter,
    /// Times that a plugin was kept from events after too many faults.
    pub plugins_stopped: Counter,
    /// Events that faulted, by the guest's doing.
    pub faults: Counter,
    /// Of these, by a trap, or by an answer that cannot be carried out.
    pub faults_trap: Counter,
    /// Of these, out of CPU or wall time.
    pub faults_deadline: Counter,
    /// Of these, out of memory.
    pub faults_memory: Counter,
    /// Calls that failed because there was no room for one more instance.
    pub faults_load: Counter,
    /// Values of connections' states that did not fit the generation that read them.
    pub state_mismatches: Counter,
    /// Values that a new generation migrated.
    pub state_migrated: Counter,
    /// Values that went back to what they were before a migration; what was stored since is lost.
    pub state_rolled_back: Counter,
    /// Host calls that were answered with "quota" or "too-large".
    pub over_quota: Counter,
    /// Connections that were closed because they read too slowly.
    pub slow_consumers: Counter,
    /// Messages that made room for newer ones in a full mailbox.
    pub dropped_oldest: Counter,
    /// Messages that found a full mailbox and were left out.
    pub dropped_newest: Counter,
    /// Messages of clients over the limit.
    pub too_big: Counter,
    /// Connections that ended because the peer broke the protocol.
    pub protocol_errors: Counter,
    /// Connections closed for messages or bytes over the rate of one.
    pub over_rate: Counter,
    /// Connections closed for too many pings and pongs.
    pub control_floods: Counter,
    /// Connections closed for a message in too many fragments.
    pub over_fragments: Counter,
    /// Connections closed for a message that took too long to come.
    pub slow_messages: Counter,
    /// Connections that ended because the peer took nothing of what waited for it.
    pub stalled: Counter,
    /// Close handshakes that the peer did not finish in time.
    pub close_timeouts: Counter,
    /// Connections without a sign of life after a ping.
    pub no_pong: Counter,
    /// Connections without a message for longer than allowed.
    pub idle: Counter,
    /// Pings and pongs of clients that guests were not told of, because there were too many.
    pub control_dropped: Counter,
    /// Request heads that did not come in time or did not parse.
    pub bad_heads: Counter,
    /// TLS handshakes that did not come in time, or failed.
    pub bad_tls: Counter,
    /// Headers of the PROXY protocol that were missing, malformed, late, or not this client's to send.
    pub bad_proxy_headers: Counter,
    /// Calls of services that faulted; these are counted among the faults as well.
    pub service_faults: Counter,
    /// Live instances in the pools of the workers.
    pub instances: Gauge,
    /// Events that waited for an instance.
    pub instance_waits: Counter,
    /// Mails that waited for room in an inbox.
    pub inbox_waits: Counter,
    /// Messages that a room was to keep and could not.
    pub history_dropped: Counter,
    /// Events that waited for room in the queue of the store's disk.
    pub store_waits: Counter,
    /// Writes to the store's disk that failed.
    pub store_failures: Counter,
    /// Bytes of log lines of guests that were over their quota.
    pub log_dropped: Counter,
    /// Outgoing HTTP requests of guests that are on their way.
    pub http_open: Gauge,
    /// Outgoing HTTP requests of guests, those apart that were refused at once.
    pub http_requests: Counter,
    /// Of these, the ones that took longer than they may.
    pub http_late: Counter,
    /// Outgoing HTTP requests that were too many at once, or too large, or whose answers were.
    pub http_over_limit: Counter,
    /// Generations that took over.
    pub reloads: Counter,
    /// Generations that were rolled back.
    pub rollbacks: Counter,
    /// Events that were run again on the generation before.
    pub events_again: Counter,
    /// Plugin files that could not be loaded.
    pub failed_loads: Counter,
    /// Loads that were given up, because the file changed meanwhile.
    pub outdated_loads: Counter,
    /// Of the failed ones, because compiling passed a limit.
    pub compile_limits: Counter,
    /// Bytes of compiled code in the cache.
    pub cache_bytes: Gauge,
    /// Files of the cache that made room for others.
    pub cache_evicted: Counter,
    /// Files of the cache that were damaged, and so compiled again.
    pub cache_damaged: Counter,
    /// Configurations that were applied while the server ran.
    pub reconfigurations: Counter,
    /// Configurations that were not applied, because something in them was wrong.
    pub failed_reconfigurations: Counter,
}

/// The name, the help text and the metric itself.
type Named<'a, T> = (&'static str, &'static str, &'a T);

impl Metrics {
    /// All counters in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut registry = Registry::with_prefix("switchboard");
        self.register(&mut registry);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in self.gauges() {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in self.counters() {
            registry.register(name, help, counter.clone());
        }
        registry.register_collector(Box::new(self.failures()));
    }

    fn gauges(&self) -> Vec<Named<'_, Gauge>> {
        vec![
            ("connections", "Open connections", &self.connections),
            ("blocked_peers", "Connections whose peer takes nothing at the moment", &self.blocked_peers),
            ("instances", "Live instances in the pools", &self.instances),
            ("http_open", "Outgoing requests that are on their way", &self.http_open),
            ("cache_bytes", "Bytes of compiled code in the cache", &self.cache_bytes),
        ]
    }

    fn counters(&self) -> Vec<Named<'_, Counter>> {
        vec![
            ("accepted", "Accepted connections", &self.accepted),
            ("refused", "Refused handshakes", &self.refused),
            ("refused_origin", "Handshakes with a foreign Origin", &self.refused_origin),
            ("refused_capacity", "Handshakes for a route that is full", &self.refused_capacity),
            ("refused_server", "Handshakes for a server that is full", &self.refused_server),
            ("refused_address", "Handshakes of an address with all its connections", &self.refused_address),
            ("accept_waits", "Times that accepting waited for its rate", &self.accept_waits),
            ("failed_accepts", "Times that no socket could be accepted", &self.failed_accepts),
            ("refused_stopped", "Handshakes for a plugin that is stopped", &self.refused_stopped),
            ("refused_tenant", "Handshakes for a tenant with all its connections", &self.refused_tenant),
            ("messages_in", "Messages from clients", &self.messages_in),
            ("messages_out", "Messages to clients", &self.messages_out),
            ("throttled_in", "Messages from clients that waited for the rate of their tenant", &self.throttled_in),
            ("throttled_out", "Messages to clients that waited for the rate of their tenant", &self.throttled_out),
            ("faults", "Events that faulted by the guest's doing", &self.faults),
            ("faults_trap", "Events that trapped or answered what cannot be done", &self.faults_trap),
            ("faults_deadline", "Events out of time", &self.faults_deadline),
            ("faults_memory", "Events out of memory", &self.faults_memory),
            ("plugins_stopped", "Times that a plugin was stopped after too many faults", &self.plugins_stopped),
            ("faults_load", "Calls for which there was no room", &self.faults_load),
            ("state_mismatches", "Values of the state that did not fit", &self.state_mismatches),
            ("state_migrated", "Values of the state that were migrated", &self.state_migrated),
            ("state_rolled_back", "Values of the state from before a migration", &self.state_rolled_back),
            ("over_quota", "Host calls answered with quota or too-large", &self.over_quota),
            ("denied", "Host calls that were denied", &self.denied),
            ("panics", "Panics of the host", &self.panics),
            ("slow_consumers", "Connections closed for reading too slowly", &self.slow_consumers),
            ("dropped_oldest", "Messages that made room in a full mailbox", &self.dropped_oldest),
            ("dropped_newest", "Messages that found no room in a full mailbox", &self.dropped_newest),
            ("too_big", "Messages over the limit", &self.too_big),
            ("protocol_errors", "Connections ended by a protocol error", &self.protocol_errors),
            ("over_rate", "Connections closed for messages over their rate", &self.over_rate),
            ("control_floods", "Connections closed for too many pings and pongs", &self.control_floods),
            ("over_fragments", "Connections closed for too many fragments", &self.over_fragments),
            ("slow_messages", "Connections closed for a message that took too long", &self.slow_messages),
            ("stalled", "Connections whose peer took nothing", &self.stalled),
            ("close_timeouts", "Close handshakes out of time", &self.close_timeouts),
            ("no_pong", "Connections without a sign of life after a ping", &self.no_pong),
            ("idle", "Connections without a message for longer than allowed", &self.idle),
            ("control_dropped", "Pings and pongs that guests were not told of", &self.control_dropped),
            ("bad_heads", "Request heads late or malformed", &self.bad_heads),
            ("bad_tls", "TLS handshakes late or failed", &self.bad_tls),
            ("bad_proxy_headers", "Headers of the PROXY protocol that were refused", &self.bad_proxy_headers),
            ("service_faults", "Calls of services that faulted", &self.service_faults),
            ("instance_waits", "Events that waited for an instance", &self.instance_waits),
            ("inbox_waits", "Mails that waited for room in an inbox", &self.inbox_waits),
            ("history_dropped", "Messages that a room could not keep", &self.history_dropped),
            ("store_waits", "Events that waited for the store's disk to take more", &self.store_waits),
            ("store_failures", "Writes to the store's disk that failed", &self.store_failures),
            ("log_dropped_bytes", "Bytes of guests' log lines over their quota", &self.log_dropped),
            ("http_requests", "Outgoing requests of guests", &self.http_requests),
            ("http_late", "Outgoing requests out of time", &self.http_late),
            ("http_over_limit", "Outgoing requests too many or too large", &self.http_over_limit),
            ("reloads", "Generations that took over", &self.reloads),
            ("rollbacks", "Generations that were rolled back", &self.rollbacks),
            ("events_again", "Events that were run again on the generation before", &self.events_again),
            ("failed_loads", "Plugin files that could not be loaded", &self.failed_loads),
            ("outdated_loads", "Loads given up because the file changed meanwhile", &self.outdated_loads),
            ("compile_limits", "Plugin files whose compiling passed a limit", &self.compile_limits),
            ("cache_evicted", "Files of the cache that made room for others", &self.cache_evicted),
            ("cache_damaged", "Files of the cache that were damaged", &self.cache_damaged),
            ("reconfigurations", "Configurations applied while the server ran", &self.reconfigurations),
            ("failed_reconfigurations", "Configurations that were not applied", &self.failed_reconfigurations),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Metrics::default();
        metrics.accepted.inc();
        metrics.connections.inc();
        let text = metrics.text();
        assert!(text.contains("switchboard_accepted_total 1"), "{text}");
        assert!(text.contains("switchboard_connections 1"), "{text}");
    }
}
