//! The opening handshake on its way through a chain: all gates, outermost first, then the handler.
//!
//! One transaction over all of them. Who passed is noted, because each of these hears of the end exactly once, whether it
//! comes at once or after years.
//! Invariant: nothing further in is asked once a gate refused.

use std::sync::Arc;

use bytes::Bytes;

use super::{Chain, HANDLER, Passed, call, scope};
use crate::engine::instance::Step;
use crate::event::{Effect, Event, Header, Interface, Kept, Reply, Subject};
use crate::message::CloseFrame;
use crate::transaction::Transaction;

/// Headers for the 101, with the plugin that is to blame where they cannot be sent.
pub type Added = (Arc<str>, Vec<Header>);

/// How a handshake ended.
#[derive(Debug)]
pub enum Admission {
    /// The WebSocket is opened.
    Accept {
        /// What the handler chose.
        subprotocol: Option<String>,
        /// From all gates and the handler, outermost first.
        headers: Vec<Added>,
    },
    /// An HTTP response in place of it.
    Respond {
        /// As the guest gave it.
        status: u16,
        /// The same.
        headers: Vec<Header>,
        /// The same.
        body: Bytes,
    },
    /// Opened and closed at once.
    Close(CloseFrame),
    /// A guest faulted.
    Fault,
}

/// A handshake that all guests were asked about, as far as they had to be.
pub struct Connected {
    /// How it ended, and by the doing of which plugin.
    pub admission: Admission,
    /// The plugin that decided.
    pub plugin: Arc<str>,
    /// What is kept of the connection.
    pub kept: Kept,
    /// What is to be done if it was accepted.
    pub effects: Vec<Effect>,
    /// Who hears of its end.
    pub passed: Passed,
}

impl Chain {
    /// Asks all gates and the handler whether the connection may be opened.
    pub async fn connect(&self, subject: Subject, mut kept: Kept) -> Connected {
        let mut avoided = Vec::new();
        loop {
            let mut passed = Passed::default();
            let (mut transaction, outcome) = self.ask(self.begin(subject, kept, &avoided), &mut passed).await;
            let plugin = transaction.scope().plugin.clone();
            let admission = match outcome {
                Ok(admission) => admission,
                Err(fault) if self.recovers(&fault, &mut transaction, &mut avoided) => {
                    kept = transaction.undo();
                    continue;
                }
                Err(_) => Admission::Fault,
            };
            let (kept, effects) = transaction.settle();
            return Connected { admission, plugin, kept, effects, passed };
        }
    }

    async fn ask(&self, mut transaction: Box<Transaction>, passed: &mut Passed) -> Step<Admission> {
        let handshake = transaction.kept.handshake.clone();
        let mut added = Vec::new();
        for (position, pool) in self.linked(transaction.subject.connection, Interface::Gate) {
            transaction.enter(scope(pool, Interface::Gate, position));
            let (after, reply) = call(pool, transaction, Event::Connect(&handshake)).await;
            transaction = after;
            match reply.map(admission) {
                Ok(Asked::Passes(headers)) => {
                    passed.note(position);
                    added.push((pool.plugin().name().clone(), headers));
                }
                Ok(Asked::Refuses(refusal)) => return (transaction, Ok(refusal)),
                Err(fault) => return (transaction, Err(fault)),
            }
        }
        transaction.enter(scope(&self.handler, Interface::Handler, self.middleware.len()));
        let (transaction, reply) = call(&self.handler, transaction, Event::Connect(&handshake)).await;
        let outcome = reply.map(|reply| match reply {
            Reply::Accept { subprotocol, headers } => {
                passed.note(HANDLER);
                added.push((self.handler.plugin().name().clone(), headers));
                Admission::Accept { subprotocol, headers: added }
            }
            other => match admission(other) {
                Asked::Refuses(refusal) => refusal,
                Asked::Passes(_) => Admission::Fault,
            },
        });
        (transaction, outcome)
    }
}

/// What a gate's answer, or a handler's refusal, means.
enum Asked {
    /// Go on inwards, with these headers.
    Passes(Vec<Header>),
    Refuses(Admission),
}

fn admission(reply: Reply) -> Asked {
    match reply {
        Reply::Accept { headers, .. } => Asked::Passes(headers),
        Reply::Respond { status, headers, body } => Asked::Refuses(Admission::Respond { status, headers, body }),
        Reply::Close(frame) => Asked::Refuses(Admission::Close(frame)),
        _ => Asked::Passes(Vec::new()),
    }
}
