//! Every limit of the server: its default, its configuration key, its unit, in one table.
//!
//! Read from `[server.limits]` of `switchboard.toml`; each field is its own key. Whoever enforces a limit counts
//! what it refused in `metrics`.
//! Invariant: no limit is infinite, and all are checked together by [`Limits::problem`].

mod bounds;
mod of_route;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use bounds::MIN_HEAD;
pub use of_route::RouteLimits;

use crate::state::Bounds;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// What each part of the server may take. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    /// One message, whole, in either direction on the wire.
    pub message_bytes: usize,
    /// A message of a client from its first byte to its last, and its fragments.
    pub message_ms: u64,
    /// The same, in fragments.
    pub fragments: usize,
    /// For how long a client may take no byte of what waits for it.
    pub write_ms: u64,
    /// Pings and pongs of one client, a second.
    pub control_frames: u64,
    /// Messages of one client, a second; 0 for as many as come.
    pub connection_messages: u64,
    /// The same, in bytes.
    pub connection_bytes: u64,
    /// From the accepted socket to the end of the request's head.
    pub head_ms: u64,
    /// The head of a request; more than hyper's own least.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Sockets that are accepted, a second; 0 for as many as come.
    pub accepts: u64,
    /// Connections of the server.
    pub connections: usize,
    /// Connections of one client address, an IPv6 network of 64 bits counting as one; 0 for any.
    pub address_connections: usize,
    /// Silence on a socket after which the system asks whether the peer is still there; 0 for never.
    pub tcp_keepalive_ms: u64,
    /// For how long the peer's system may leave what was sent to it unanswered; 0 leaves that to the own system.
    pub tcp_user_timeout_ms: u64,
    /// From the answer to a handshake to the open connection.
    pub handshake_ms: u64,
    /// From a close frame to the end of the socket.
    pub close_ms: u64,
    /// What others sent to one connection and it has not read, in bytes.
    pub mailbox_bytes: usize,
    /// The same, in messages.
    pub mailbox_messages: usize,
    /// Mail waiting for one worker.
    pub inbox_mails: usize,
    /// What one event may ask for, in bytes of payloads.
    pub effects_bytes: usize,
    /// The same, in effects.
    pub effects: usize,
    /// State of one connection, keys and values together.
    pub state_bytes: usize,
    /// Keys of one connection's state that have a value.
    pub state_keys: usize,
    /// Rooms of one connection, implicit ones apart.
    pub rooms: usize,
    /// Connections of one tenant.
    pub tenant_connections: usize,
    /// Live instances of one tenant, on all workers together.
    pub tenant_instances: usize,
    /// Rooms of one tenant that have members or keep something, implicit ones apart.
    pub tenant_rooms: usize,
    /// Members of one room, implicit ones apart.
    pub room_members: usize,
    /// Messages of the clients of one tenant, a second, over all workers; 0 for as many as come.
    pub messages_in: u64,
    /// The same, in bytes.
    pub bytes_in: u64,
    /// Messages to the clients of one tenant, a second, over all workers; 0 for as many as there are.
    pub messages_out: u64,
    /// The same, in bytes.
    pub bytes_out: u64,
    /// What the rooms of one tenant keep together, and what slow readers still hold of it.
    pub history_bytes: usize,
    /// One value of the store.
    pub store_value_bytes: usize,
    /// What one tenant has in the store: keys.
    pub store_keys: usize,
    /// The same, in bytes of keys and values, with 64 for each.
    pub store_bytes: usize,
    /// Changes that wait to be written to the store's disk.
    pub store_writes: usize,
    /// Timers of one connection.
    pub timers: usize,
    /// An outgoing HTTP request of a guest, from the lookup of its host to the end of the answer's body.
    pub http_ms: u64,
    /// The body of such a request.
    pub http_request_bytes: usize,
    /// The body of its answer.
    pub http_response_bytes: usize,
    /// Such requests of one tenant that are on their way at once.
    pub http_requests: usize,
    /// The client's pings and pongs that guests are told of, a second; the host answers those beyond it all the same.
    pub control_events: u32,
    /// Silence of a client after which it is pinged; 0 for never.
    pub ping_ms: u64,
    /// From such a ping to the end of a connection that nothing came from.
    pub pong_ms: u64,
    /// Time without a message in either direction after which a connection is closed; 0 for never. A route may have its own.
    pub idle_ms: u64,
    /// CPU of one event, in ticks of a millisecond that it was seen running.
    pub event_cpu_ms: u64,
    /// One event from its start to its end, waiting included.
    pub event_wall_ms: u64,
    /// Linear memory of one instance.
    pub guest_memory_bytes: usize,
    /// Instances of one plugin on one worker.
    pub instances: usize,
    /// Lines that the instances of a plugin write, in bytes a second; what is over is dropped.
    pub log_bytes: usize,
    /// Events that a new generation handles before it is promoted.
    pub rollout_events: u64,
    /// The least time until then.
    pub rollout_ms: u64,
    /// Faults until then; with one more it is rolled back.
    pub rollout_faults: u64,
    /// Faults of a plugin after which it gets no events for a while; 0 for never.
    pub breaker_faults: u64,
    /// The time within which they are counted.
    pub breaker_ms: u64,
    /// The first such pause; each that follows at once is twice as long, up to a minute.
    pub breaker_pause_ms: u64,
    /// From the order to stop to the end of the last connection.
    pub drain_ms: u64,
    /// The time at its beginning over which clients are told, at most half of it.
    pub drain_spread_ms: u64,
    /// A plugin file.
    pub plugin_bytes: usize,
    /// CPU time of compiling a plugin, all threads together; rounded up to seconds.
    pub compile_cpu_ms: u64,
    /// Memory that compiling a plugin may write to.
    pub compile_memory_bytes: usize,
    /// Compiling a plugin from its start to its end, waiting for the machine included.
    pub compile_wall_ms: u64,
    /// Compiled code on the disk; what plugins need at present stays whatever it takes.
    pub cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: MIB,
            message_ms: 30_000,
            fragments: 100_000,
            write_ms: 60_000,
            control_frames: 100,
            connection_messages: 0,
            connection_bytes: 0,
            head_ms: 10_000,
            head_bytes: MIN_HEAD,
            headers: 100,
            accepts: 10_000,
            connections: 1_000_000,
            address_connections: 10_000,
            tcp_keepalive_ms: 60_000,
            tcp_user_timeout_ms: 30_000,
            handshake_ms: 10_000,
            close_ms: 5_000,
            mailbox_bytes: MIB,
            mailbox_messages: 1000,
            inbox_mails: 4096,
            effects_bytes: 4 * MIB,
            effects: 1000,
            state_bytes: 16 * KIB,
            state_keys: 100,
            rooms: 100,
            tenant_connections: 1_000_000,
            tenant_instances: 1000,
            tenant_rooms: 1_000_000,
            room_members: 1_000_000,
            messages_in: 0,
            bytes_in: 0,
            messages_out: 0,
            bytes_out: 0,
            history_bytes: 256 * MIB,
            store_value_bytes: 64 * KIB,
            store_keys: 100_000,
            store_bytes: 64 * MIB,
            store_writes: 1024,
            timers: 100,
            http_ms: 5_000,
            http_request_bytes: MIB,
            http_response_bytes: 4 * MIB,
            http_requests: 100,
            control_events: 20,
            ping_ms: 25_000,
            pong_ms: 10_000,
            idle_ms: 0,
            event_cpu_ms: 50,
            event_wall_ms: 10_000,
            guest_memory_bytes: 64 * MIB,
            instances: 8,
            log_bytes: 64 * KIB,
            rollout_events: 1000,
            rollout_ms: 60_000,
            rollout_faults: 10,
            breaker_faults: 100,
            breaker_ms: 10_000,
            breaker_pause_ms: 1_000,
            drain_ms: 30_000,
            drain_spread_ms: 1_000,
            plugin_bytes: 64 * MIB,
            compile_cpu_ms: 120_000,
            compile_memory_bytes: 4096 * MIB,
            compile_wall_ms: 600_000,
            cache_bytes: 1024 * MIB,
        }
    }
}

impl Limits {
    /// What a named tenant has by default: the server's limits, and less of what tenants could take from each other.
    pub fn for_tenants(&self) -> Self {
        Self {
            tenant_connections: self.tenant_connections.min(10_000),
            tenant_instances: self.tenant_instances.min(32),
            tenant_rooms: self.tenant_rooms.min(10_000),
            room_members: self.room_members.min(10_000),
            messages_in: slower(self.messages_in, 20_000),
            bytes_in: slower(self.bytes_in, 64 * MIB as u64),
            messages_out: slower(self.messages_out, 200_000),
            bytes_out: slower(self.bytes_out, 256 * MIB as u64),
            history_bytes: self.history_bytes.min(32 * MIB),
            guest_memory_bytes: self.guest_memory_bytes.min(16 * MIB),
            http_requests: self.http_requests.min(20),
            ..self.clone()
        }
    }

    /// Whether a limit belongs to the server as a whole and so is no tenant's.
    pub fn of_server(key: &str) -> bool {
        matches!(
            key,
            "head-ms"
                | "head-bytes"
                | "headers"
                | "accepts"
                | "connections"
                | "address-connections"
                | "tcp-keepalive-ms"
                | "tcp-user-timeout-ms"
                | "handshake-ms"
                | "close-ms"
                | "inbox-mails"
                | "store-writes"
                | "instances"
                | "cache-bytes"
                | "drain-ms"
                | "drain-spread-ms"
        )
    }

    /// What one connection's state may take.
    pub fn state(&self) -> Bounds {
        Bounds { bytes: self.state_bytes, keys: self.state_keys }
    }

    /// The time that a client has for the request's head.
    pub fn head(&self) -> Duration {
        Duration::from_millis(self.head_ms)
    }

    /// The time that the answer to a handshake has to reach the client.
    pub fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms)
    }

    /// The time that a peer has to end a connection once a close frame was sent.
    pub fn close(&self) -> Duration {
        Duration::from_millis(self.close_ms)
    }

    /// The time that an event may take, waiting included.
    pub fn event_wall(&self) -> Duration {
        Duration::from_millis(self.event_wall_ms)
    }

    /// The time that an outgoing request of a guest may take as a whole.
    pub fn http(&self) -> Duration {
        Duration::from_millis(self.http_ms)
    }

    /// The silence after which a client is pinged; none for never.
    pub fn ping(&self) -> Option<Duration> {
        (self.ping_ms > 0).then(|| Duration::from_millis(self.ping_ms))
    }

    /// The time that a client has to show a sign of life after a ping.
    pub fn pong(&self) -> Duration {
        Duration::from_millis(self.pong_ms)
    }

    /// The time from the order to stop to the end.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// The time over which clients are told that the server stops.
    pub fn drain_spread(&self) -> Duration {
        Duration::from_millis(self.drain_spread_ms.min(self.drain_ms / 2))
    }

    /// The time that compiling a plugin may take, waiting included.
    pub fn compile_wall(&self) -> Duration {
        Duration::from_millis(self.compile_wall_ms)
    }

    /// How much mail one tenant may have waiting for one worker: a quarter, so that its flood leaves room for others.
    pub fn inbox_share(&self) -> usize {
        (self.inbox_mails / 4).max(1)
    }

    /// Those that size something when the server starts, by key; another value needs a restart.
    pub fn fixed(&self) -> [(&'static str, usize); 4] {
        [
            ("inbox-mails", self.inbox_mails),
            ("store-writes", self.store_writes),
            ("guest-memory-bytes", self.guest_memory_bytes),
            ("instances", self.instances),
        ]
    }

    /// These limits, with the fixed ones of those that the server started with.
    pub fn beside_fixed(self, started: &Self) -> Self {
        Self {
            inbox_mails: started.inbox_mails,
            store_writes: started.store_writes,
            guest_memory_bytes: started.guest_memory_bytes,
            instances: started.instances,
            ..self
        }
    }

    /// These limits of a tenant, with no more memory for a guest than what the server's memory is laid out for.
    pub fn within(self, server: &Self) -> Self {
        Self { guest_memory_bytes: self.guest_memory_bytes.min(server.guest_memory_bytes), ..self }
    }
}

/// The lower of two rates, the first of which may be none.
fn slower(rate: u64, other: u64) -> u64 {
    if rate == 0 { other } else { rate.min(other) }
}

#[cfg(test)]
mod tests {
    use super::bounds::MIN_COMPILE_MEMORY;
    use super::*;

    #[test]
    fn the_defaults_have_no_problem() {
        assert_eq!(Limits::default().problem(), None);
    }

    #[test]
    fn the_queue_of_the_stores_disk_has_a_bound() {
        for (store_writes, problem) in [(0, true), (1, false), (1_000_000, false), (1_000_001, true)] {
            let limits = Limits { store_writes, ..Limits::default() };
            assert_eq!(limits.problem().map(|(key, _)| key), problem.then_some("store-writes"));
        }
    }

    #[test]
    fn memory_for_compiling_is_enough_for_some_plugin() {
        for (compile_memory_bytes, problem) in [(0, true), (MIN_COMPILE_MEMORY - 1, true), (MIN_COMPILE_MEMORY, false)]
        {
            let limits = Limits { compile_memory_bytes, ..Limits::default() };
            assert_eq!(limits.problem().map(|(key, _)| key), problem.then_some("compile-memory-bytes"));
        }
    }

    #[test]
    fn fixed_limits_stay_and_others_change() {
        let started = Limits { instances: 3, rooms: 1, ..Limits::default() };
        let next = Limits { instances: 9, inbox_mails: 7, rooms: 5, ..Limits::default() }.beside_fixed(&started);
        assert_eq!((next.fixed(), next.rooms), (started.fixed(), 5));
    }

    #[test]
    fn tenants_have_rates_also_where_the_server_has_none() {
        for (server, tenant) in [(0, 20_000), (5, 5), (100_000, 20_000)] {
            let limits = Limits { messages_in: server, ..Limits::default() };
            assert_eq!(limits.for_tenants().messages_in, tenant);
        }
    }

    #[test]
    fn a_limit_of_nothing_is_refused_by_its_key() {
        let limits = Limits { effects: 0, ..Limits::default() };
        assert_eq!(limits.problem(), Some(("effects", "must be at least 1")));
    }
}
