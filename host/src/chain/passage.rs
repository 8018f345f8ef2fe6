//! Messages on their way through a chain: inwards to the handler, outwards to the client.
//!
//! A message inwards is one transaction over all inbound filters and the handler; a message outwards is one over the
//! outbound filters that it passes. A filter may replace it, drop it, or close.
//! Invariant: what a filter sends passes only the filters further out.

use super::{Chain, Ended, call, has, scope};
use crate::engine::instance::Step;
use crate::event::{Event, Interface, Kept, Origin, Reply, Subject};
use crate::message::{CloseFrame, Message};
use crate::transaction::Transaction;

/// What came of a message on its way through filters.
#[derive(Debug)]
pub enum Verdict {
    /// It got through; where it was on its way out, it is to be written.
    Through(Message),
    /// A filter ended it.
    Dropped,
    /// A filter closes the connection.
    Close(CloseFrame),
}

impl Chain {
    /// A message from the client: inbound filters, then the handler, in one transaction.
    pub async fn message(&self, subject: Subject, kept: Kept, message: Message) -> Ended<Verdict> {
        self.run(subject, kept, async |transaction| self.inwards(transaction, &message).await).await
    }

    async fn inwards(&self, mut transaction: Box<Transaction>, message: &Message) -> Step<Verdict> {
        let mut replaced = None;
        for (position, pool) in self.linked(transaction.subject.connection, Interface::Inbound) {
            transaction.enter(scope(pool, Interface::Inbound, position));
            let present = replaced.as_ref().unwrap_or(message);
            let (after, reply) = call(pool, transaction, Event::Message(present, None)).await;
            transaction = after;
            match reply {
                Ok(Reply::Replace(other)) => replaced = Some(other),
                Ok(Reply::Drop) => return (transaction, Ok(Verdict::Dropped)),
                Ok(Reply::Close(frame)) => return (transaction, Ok(Verdict::Close(frame))),
                Ok(_) => {}
                Err(fault) => return (transaction, Err(fault)),
            }
        }
        transaction.enter(scope(&self.handler, Interface::Handler, self.middleware.len()));
        let present = replaced.as_ref().unwrap_or(message);
        let (transaction, reply) = call(&self.handler, transaction, Event::Message(present, None)).await;
        (transaction, reply.map(|_| Verdict::Dropped))
    }

    /// A message to the client, through the outermost `reach` filters, the innermost of them first.
    pub async fn outbound(
        &self,
        subject: Subject,
        kept: Kept,
        (message, origin): (Message, Option<Origin>),
        reach: usize,
    ) -> Ended<Verdict> {
        let way = (&message, origin.as_ref());
        self.run(subject, kept, async |transaction| self.outwards(transaction, way, reach).await).await
    }

    async fn outwards(
        &self,
        mut transaction: Box<Transaction>,
        (message, origin): (&Message, Option<&Origin>),
        reach: usize,
    ) -> Step<Verdict> {
        let mut present = message.clone();
        for (position, pool) in self.middleware.iter().enumerate().take(reach).rev() {
            if !has(pool, transaction.subject.connection, Interface::Outbound) {
                continue;
            }
            transaction.enter(scope(pool, Interface::Outbound, position));
            let (after, reply) = call(pool, transaction, Event::Message(&present, origin)).await;
            transaction = after;
            match reply {
                Ok(Reply::Replace(other)) => present = other,
                Ok(Reply::Drop) => return (transaction, Ok(Verdict::Dropped)),
                Ok(Reply::Close(frame)) => return (transaction, Ok(Verdict::Close(frame))),
                Ok(_) => {}
                Err(fault) => return (transaction, Err(fault)),
            }
        }
        (transaction, Ok(Verdict::Through(present)))
    }
}
