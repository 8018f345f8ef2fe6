//! What else happens to a connection: its end, its timers, its control frames, faults of plugins further in.
//!
//! Each is told only to those that export the interface for it, each as a transaction of its own.
//! Invariant: the end is told once to each link that passed, from the handler outwards.

use std::rc::Rc;

use super::{Chain, Ended, Faulted, HANDLER, Passed, call, has, scope};
use crate::engine::instance::Step;
use crate::engine::pool::Pool;
use crate::event::{Event, Interface, Kept, Notice, Reply, Scope, Subject};
use crate::message::CloseFrame;
use crate::transaction::Transaction;

/// Which links of a chain are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// Each that exports the interface, outermost first.
    All,
    /// The one at this place, if it exports the interface.
    At(usize),
}

impl Chain {
    /// Tells a notice, as one transaction over all that it is for.
    pub async fn notice(&self, subject: Subject, kept: Kept, notice: &Notice, whom: Whom) -> Ended<()> {
        self.run(subject, kept, async |transaction| self.tell(transaction, notice, whom).await).await
    }

    async fn tell(&self, mut transaction: Box<Transaction>, notice: &Notice, whom: Whom) -> Step<()> {
        let (interface, connection) = (notice.interface(), transaction.subject.connection);
        let meant = |position| whom == Whom::All || whom == Whom::At(position);
        let told = |(position, pool): &(usize, &Rc<Pool>)| meant(*position) && has(pool, connection, interface);
        for (position, pool) in self.links().filter(told) {
            transaction.enter(scope(pool, interface, position));
            let (after, reply) = call(pool, transaction, Event::Notice(notice)).await;
            transaction = after;
            if let Err(fault) = reply {
                return (transaction, Err(fault));
            }
        }
        (transaction, Ok(()))
    }

    /// Asks the gates around a plugin that faulted, the innermost first, how the connection is to end; the first that says
    /// so decides. Each is a transaction of its own, and a fault in one is logged only.
    pub async fn judge(&self, subject: Subject, kept: Kept, faulted: &Faulted) -> Ended<Option<CloseFrame>> {
        let mut ended = Ended { kept, effects: Vec::new(), outcome: Ok(None) };
        let Some(kind) = faulted.kind else { return ended };
        let gates = self.linked(subject.connection, Interface::FaultEvents).rev();
        for (position, pool) in gates.filter(|(at, _)| *at < faulted.position) {
            let who = scope(pool, Interface::FaultEvents, position);
            let (after, reply) = self.alone(subject, ended, (who, &|| Event::Fault(faulted.name(), kind))).await;
            ended = after;
            if let Some(Reply::Close(frame)) = reply {
                ended.outcome = Ok(Some(frame));
                break;
            }
        }
        ended
    }

    /// Tells all that took the connection of its end, from the handler outwards. Each is a transaction of its own, and a
    /// fault in one is logged only.
    pub async fn disconnect(&self, subject: Subject, kept: Kept, frame: &CloseFrame, passed: Passed) -> Ended<()> {
        let mut ended = Ended { kept: Kept { gone: true, ..kept }, effects: Vec::new(), outcome: Ok(()) };
        let gates = self.middleware.iter().enumerate().filter(|(position, _)| passed.has(*position)).rev();
        let gates = gates.map(|(position, pool)| scope(pool, Interface::Gate, position));
        let handler = passed.has(HANDLER).then(|| scope(&self.handler, Interface::Handler, self.middleware.len()));
        for who in handler.into_iter().chain(gates) {
            self.link(who.position).plugin().note_close(subject.connection);
            (ended, _) = self.alone(subject, ended, (who, &|| Event::Disconnect(frame))).await;
        }
        ended
    }

    /// Tells one link something as a transaction of its own, whose effects are added to what ended so far. A fault that
    /// cannot be recovered from is logged only, and gives no reply.
    async fn alone<'a, T>(
        &self,
        subject: Subject,
        mut ended: Ended<T>,
        (who, event): (Scope, &dyn Fn() -> Event<'a>),
    ) -> (Ended<T>, Option<Reply>) {
        let pool = self.link(who.position);
        let mut avoided = Vec::new();
        loop {
            let mut transaction = self.begin(subject, ended.kept, &avoided);
            transaction.enter(who.clone());
            let (mut transaction, reply) = call(pool, transaction, event()).await;
            match reply {
                Ok(reply) => {
                    let (kept, asked) = transaction.settle();
                    ended.effects.extend(asked);
                    return (Ended { kept, ..ended }, Some(reply));
                }
                Err(fault) => {
                    let again = self.recovers(&fault, &mut transaction, &mut avoided);
                    ended.kept = transaction.undo();
                    if !again {
                        return (ended, None);
                    }
                }
            }
        }
    }
}
