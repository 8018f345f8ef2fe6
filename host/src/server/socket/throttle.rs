//! How one connection waits while its tenant is at its rates (`tenants/rates`).
//!
//! What was read is held, one message at most, and nothing more is read; what is to be written stays in the mailbox, whose own
//! bounds apply. A close that is queued ends the waiting, since the end of a connection is bounded in time.
//! Invariants: who waits has an alarm; nobody is taken for silent because this side did not read or write.

use std::rc::Rc;
use std::time::Duration;

use crate::hub::mailbox::Mailbox;
use crate::server::worker::Worker;
use crate::tenants::Tenant;
use crate::tenants::rates::{Flow, Wait};

/// How often one that waits looks whether its tenant has other rates by now, and whether anything else is due.
const LOOK: Duration = Duration::from_secs(1);

/// What a connection waits for.
#[derive(Default)]
pub(super) struct Throttle {
    /// With the message that was read last.
    inbound: Option<Wait>,
    /// With the next message of the mailbox.
    outbound: Option<Wait>,
}

/// Whose turn it is that is waited for, and where it is rung.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) worker: &'a Worker,
    pub(super) mailbox: &'a Rc<Mailbox>,
    pub(super) tenant: &'a Tenant,
}

impl Throttle {
    /// Whether anything waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.inbound.is_some() || self.outbound.is_some()
    }

    /// A message of this size was read.
    pub(super) fn note_read(&mut self, at: Place<'_>, size: usize) {
        self.inbound = at.tenant.rates.inbound.take(size, at.worker.clock());
        if self.inbound.is_some() {
            at.worker.metrics().throttled_in.inc();
        }
    }

    /// Whether what was read last is still to wait.
    pub(super) fn holds_read(&mut self, at: Place<'_>) -> bool {
        at.holds(&at.tenant.rates.inbound, &mut self.inbound)
    }

    /// Whether nothing is to be written yet; asked before each message. Its room is taken with the first question.
    pub(super) fn holds_write(&mut self, at: Place<'_>) -> bool {
        let flow = &at.tenant.rates.outbound;
        if self.outbound.is_some() {
            return at.holds(flow, &mut self.outbound);
        }
        if !flow.is_limited() {
            return false;
        }
        self.outbound = at.mailbox.next_message().and_then(|size| flow.take(size, at.worker.clock()));
        if self.outbound.is_some() && !at.mailbox.is_closing() {
            at.worker.metrics().throttled_out.inc();
        }
        at.holds(flow, &mut self.outbound)
    }
}

impl Place<'_> {
    /// Whether a turn is still to be waited for; else it is taken.
    fn holds(self, flow: &Flow, turn: &mut Option<Wait>) -> bool {
        let Some(wait) = *turn else { return false };
        let now = self.worker.clock().now();
        if flow.has_come(wait, now) || self.mailbox.is_closing() {
            *turn = None;
            return false;
        }
        self.worker.alarms.set_before(self.mailbox, wait.until.min(now + LOOK));
        true
    }
}
