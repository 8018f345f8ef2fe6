//! Carrying out what an event asked for.
//!
//! The effects are done in the order in which they were asked. Only publishing and reaching another worker may wait, for
//! room in an inbox or because many members are to be reached; other events may commit meanwhile.
//! Invariant: this is the only place where an event's effects become visible.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::history::Replayed;
use super::inbox::{Mail, Permit};
use super::local::LocalHub;
use super::mailbox::{Mailbox, Outgoing};
use super::room::RoomKey;
use crate::event::{Effect, Joined, Kept, Replay};
use crate::id::{ConnectionId, TenantId};
use crate::message::{CloseFrame, Control, Message};
use crate::store::Lost;

/// Where in its own mailbox an event's sends go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spot {
    /// Behind all that waits.
    #[default]
    End,
    /// Behind the replay of a join of which the event hears, before all that is live.
    Mark,
}

/// What joins with a replay leave behind, for the plugins that asked.
#[derive(Default)]
pub struct Joins {
    /// Those that are still to be told of, each with the place in the chain of the plugin that asked.
    pub told: VecDeque<(usize, Joined)>,
    /// Where the present event's sends to its own connection go.
    pub spot: Spot,
}

/// What a commit works with: the worker's side of the hub, and the event's own connection.
pub struct Commit<'a> {
    /// Where others are reached.
    pub local: &'a LocalHub,
    /// The event's own connection.
    pub own: &'a Rc<Mailbox>,
    /// What is kept of it: its rooms and its timers are changed here.
    pub kept: &'a mut Kept,
    /// Its joins with a replay.
    pub joins: &'a mut Joins,
}

impl Commit<'_> {
    /// Carries all of it out. Stops where what the event wrote to the store was lost: then the rest of it never happened.
    pub async fn run(mut self, effects: Vec<Effect>) -> Result<(), Lost> {
        for effect in effects {
            self.effect(effect).await?;
        }
        Ok(())
    }

    async fn effect(&mut self, effect: Effect) -> Result<(), Lost> {
        if matches!(effect, Effect::Publish { .. } | Effect::Join { .. }) {
            // What these queue lies at the end, and what is sent after them stays behind it.
            self.joins.spot = Spot::End;
        }
        match effect {
            Effect::Send { to, message, reach } => self.send(to, message, reach).await,
            Effect::Close(connection, frame) => self.close(connection, frame).await,
            Effect::Control(to, frame) => self.control(to, frame).await,
            Effect::SetTimer(key, due) => self.kept.timers.set(key, due),
            Effect::CancelTimer(key) => self.kept.timers.cancel(key),
            Effect::Join { room, replay, position } => self.join(room, replay, position),
            Effect::Leave(room) => self.leave(&room),
            Effect::Publish { room, message, exclude } => Box::pin(self.publish(room, message, exclude)).await,
            Effect::Store(draft) => return Box::pin(draft.commit()).await,
        }
        Ok(())
    }

    async fn send(&self, to: ConnectionId, message: Message, reach: usize) {
        if to == self.own.id() {
            return self.put(Outgoing::Message { message, origin: None, reach });
        }
        if to.worker() == self.local.worker() {
            return self.local.offer(to, self.tenant(), Outgoing::message(message));
        }
        Box::pin(self.mail(to, Mail::Send(to, self.tenant(), message))).await;
    }

    fn put(&self, item: Outgoing) {
        match self.joins.spot {
            Spot::End => self.own.put(item),
            Spot::Mark => self.own.put_at_mark(item),
        }
    }

    async fn control(&self, to: ConnectionId, frame: Control) {
        if to == self.own.id() {
            return self.put(Outgoing::Control(frame));
        }
        if to.worker() == self.local.worker() {
            return self.local.offer(to, self.tenant(), Outgoing::Control(frame));
        }
        Box::pin(self.mail(to, Mail::Control(to, self.tenant(), frame))).await;
    }

    async fn close(&self, connection: ConnectionId, frame: CloseFrame) {
        if connection == self.own.id() {
            return self.own.close(frame);
        }
        if connection.worker() != self.local.worker() {
            return Box::pin(self.mail(connection, Mail::Close(connection, self.tenant(), frame))).await;
        }
        if let Some(mailbox) = self.local.find(connection, self.tenant()) {
            mailbox.close(frame);
        }
    }

    /// A member that joins again stays one, and gets no replay.
    fn join(&mut self, room: Arc<str>, replay: Replay, position: usize) {
        if self.kept.rooms.contains(&room) {
            return;
        }
        let replayed = self.local.join(self.own, &room, replay);
        self.kept.rooms.push(room.clone());
        let joined = |Replayed { newest, complete, .. }| (position, Joined { room, newest, complete });
        self.joins.told.extend(replayed.map(joined));
    }

    fn leave(&mut self, room: &Arc<str>) {
        if self.kept.rooms.contains(room) {
            self.kept.rooms.retain(|joined| joined != room);
            self.local.leave(self.own, room);
        }
    }

    /// Takes a permit of every inbox first, so that under the room's lock nothing waits.
    async fn publish(&self, name: Arc<str>, message: Message, mut exclude: Box<[ConnectionId]>) {
        let key = RoomKey { tenant: self.tenant(), name };
        let rooms = self.local.hub().rooms();
        if !rooms.takes(&key) {
            return;
        }
        exclude.sort_unstable();
        let Some(permits) = self.permits().await else { return };
        rooms.publish(&key, (message, exclude), permits);
        self.local.work_off(self.tenant()).await;
    }

    async fn permits(&self) -> Option<Vec<Permit>> {
        let inboxes = self.local.hub().inboxes();
        let mut permits = Vec::with_capacity(inboxes.len());
        for inbox in inboxes {
            permits.push(inbox.permit(self.tenant()).await.ok()?);
        }
        Some(permits)
    }

    /// An id that names no worker of this server names a connection that is gone.
    async fn mail(&self, to: ConnectionId, mail: Mail) {
        let inbox = self.local.hub().inboxes().get(to.worker()).filter(|_| to.is_local());
        if let Some(inbox) = inbox
            && let Ok(permit) = inbox.permit(self.tenant()).await
        {
            permit.send(mail);
        }
    }

    fn tenant(&self) -> TenantId {
        self.own.tenant()
    }
}

/// Takes an event's effects back that are not to be. Its answer goes out all the same, and so waits for what it was based on.
pub async fn abandon(effects: Vec<Effect>) -> Result<(), Lost> {
    for effect in effects {
        if let Effect::Store(draft) = effect {
            Box::pin(draft.abandon()).await?;
        }
    }
    Ok(())
}
