//! Limits that a route may have of its own: those of one client's connection.
//!
//! Written as `limits` of a `[[route]]`; what is left out is the tenant's, or the server's. A connection reads them once, when it is
//! opened. What a route cannot change is decided before there is a route, or is shared by connections of several.
//! Invariant: what a route says is checked together with what it leaves out.

use std::sync::Arc;

use serde::Deserialize;

use super::Limits;

/// The keys are those of [`Limits`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RouteLimits {
    message_bytes: Option<usize>,
    message_ms: Option<u64>,
    fragments: Option<usize>,
    control_frames: Option<u64>,
    connection_messages: Option<u64>,
    connection_bytes: Option<u64>,
    write_ms: Option<u64>,
    ping_ms: Option<u64>,
    pong_ms: Option<u64>,
    mailbox_bytes: Option<usize>,
    mailbox_messages: Option<usize>,
}

impl RouteLimits {
    /// These in place of the others' values.
    pub fn over(&self, others: &Arc<Limits>) -> Arc<Limits> {
        if *self == Self::default() {
            return others.clone();
        }
        Arc::new(Limits {
            message_bytes: self.message_bytes.unwrap_or(others.message_bytes),
            message_ms: self.message_ms.unwrap_or(others.message_ms),
            fragments: self.fragments.unwrap_or(others.fragments),
            control_frames: self.control_frames.unwrap_or(others.control_frames),
            connection_messages: self.connection_messages.unwrap_or(others.connection_messages),
            connection_bytes: self.connection_bytes.unwrap_or(others.connection_bytes),
            write_ms: self.write_ms.unwrap_or(others.write_ms),
            ping_ms: self.ping_ms.unwrap_or(others.ping_ms),
            pong_ms: self.pong_ms.unwrap_or(others.pong_ms),
            mailbox_bytes: self.mailbox_bytes.unwrap_or(others.mailbox_bytes),
            mailbox_messages: self.mailbox_messages.unwrap_or(others.mailbox_messages),
            ..Limits::clone(others)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 11] = [
        "message-bytes",
        "message-ms",
        "fragments",
        "control-frames",
        "connection-messages",
        "connection-bytes",
        "write-ms",
        "ping-ms",
        "pong-ms",
        "mailbox-bytes",
        "mailbox-messages",
    ];

    fn table(limits: &Limits) -> toml::Table {
        toml::Table::try_from(limits).expect("limits are numbers with names")
    }

    #[test]
    fn each_key_stands_in_place_of_the_same_one_and_of_no_other() {
        let server = Arc::new(Limits::default());
        for key in KEYS {
            let own: RouteLimits = toml::from_str(&format!("{key} = 77")).expect(key);
            let mut expected = table(&server);
            expected.insert(key.to_owned(), 77.into());
            assert_eq!(table(&own.over(&server)), expected, "{key}");
        }
        assert!(Arc::ptr_eq(&RouteLimits::default().over(&server), &server), "nothing is copied where nothing is said");
        assert!(toml::from_str::<RouteLimits>("head-ms = 77").is_err(), "it is over before there is a route");
    }
}
