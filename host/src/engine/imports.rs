//! Host calls: what a guest may ask for, put into the transaction of its event.
//!
//! A thin layer: the bounds are the transaction's, the rooms are the hub's.
//! Invariant: no host call of the contract waits, and none has an effect beyond its transaction and the log. Of WASI, polls wait
//! without holding the worker, and `engine/http` reaches out, after which the event is not run again.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi_config::WasiConfig;

use super::bindings::All;
use super::bindings::switchboard::ws::{connections, control, flow, log, rooms, store, timers, types};
use super::contract::request;
use super::guest::{Guest, present};
use super::{errors, random};
use crate::config::Grant;
use crate::event::{Failure, Replay};
use crate::id::ConnectionId;
use crate::limits::Limits;
use crate::message::Control;
use crate::store::Refusal;
use crate::store::draft::Draft;
use crate::transaction::{Transaction, check_room};

/// The most members that one question is answered with.
const MAX_MEMBERS: u32 = 10_000;
/// The most bytes of one log line.
const MAX_LINE: usize = 4096;
/// What a line counts at least, so that a flood of empty ones is bounded too.
const LEAST_LINE: usize = 16;

/// A linker with WASI, its HTTP for outgoing requests (`engine/http`), the configuration store and all of `switchboard:ws`.
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    random::add_to_linker(&mut linker)?;
    errors::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |guest: &mut Guest| WasiConfig::from(&guest.grants.config))?;
    All::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

type Answer<T> = Result<T, types::Failure>;

impl Guest {
    /// Asks the present transaction, and counts what went over a bound.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Transaction, &Limits) -> Result<T, Failure>) -> Answer<T> {
        let asked = present(&mut self.transaction);
        let asked = asked.and_then(|transaction| ask(transaction, &self.identity.tenant.limits()));
        asked.map_err(|failure| {
            let metrics = &self.abilities.metrics;
            match failure.kind {
                "quota" | "too-large" => drop(metrics.over_quota.inc()),
                "denied" => drop(metrics.denied.inc()),
                _ => {}
            }
            failure.into()
        })
    }

    /// The same, of something that has to be granted.
    fn ask_granted<T>(
        &mut self,
        grant: Grant,
        ask: impl FnOnce(&mut Transaction, &Limits) -> Result<T, Failure>,
    ) -> Answer<T> {
        self.granted(grant)?;
        self.ask(ask)
    }

    /// Refuses what is not granted, and counts that.
    pub(super) fn granted(&mut self, grant: Grant) -> Answer<()> {
        if self.grants.granted.has(grant) {
            return Ok(());
        }
        self.abilities.metrics.denied.inc();
        let word = grant.word();
        Err(Failure::denied(format!("this plugin is not granted `{word}`; its `grants` say what it is")).into())
    }
}

impl Guest {
    /// The same for what the transaction has of the store.
    fn ask_store<T>(&mut self, key: &str, ask: impl FnOnce(&mut Draft) -> Result<T, Refusal>) -> Answer<T> {
        let abilities = self.abilities.clone();
        self.ask_granted(Grant::Store, |transaction, _| Ok(ask(transaction.store(&abilities.store, key)?)?))
    }
}

fn id(raw: u64) -> ConnectionId {
    ConnectionId::from_guest(raw)
}

impl connections::Host for Guest {
    fn send(&mut self, to: u64, message: types::MessageResult) -> Answer<()> {
        self.ask(|transaction, limits| transaction.send(limits, id(to), message.into()))
    }

    fn close(&mut self, connection: u64, frame: types::CloseFrameResult) -> Answer<()> {
        self.ask(|transaction, limits| transaction.close(limits, id(connection), frame.into()))
    }

    fn ping(&mut self, connection: u64, payload: Vec<u8>) -> Answer<()> {
        self.ask(|transaction, limits| transaction.control(limits, id(connection), Control::Ping(payload.into())))
    }

    fn handshake(&mut self, connection: u64) -> Answer<types::RequestResult> {
        self.ask(|transaction, _| match id(connection) == transaction.subject.connection {
            true => Ok(request(&transaction.kept.handshake)),
            false => Err(Failure::invalid("only the handshake of the event's own connection can be read")),
        })
    }

    fn get_state(&mut self, connection: u64, key: String) -> Answer<Option<Vec<u8>>> {
        self.ask(|transaction, _| Ok(transaction.get_state(id(connection), &key)?.map(|value| value.to_vec())))
    }

    fn set_state(&mut self, connection: u64, key: String, value: Option<Vec<u8>>) -> Answer<()> {
        let value = value.map(Bytes::from);
        self.ask(|transaction, limits| transaction.set_state(limits, id(connection), (&key, value)))
    }
}

impl rooms::Host for Guest {
    fn join(&mut self, connection: u64, room: String, replay: rooms::Replay) -> Answer<()> {
        self.granted(Grant::Rooms)?;
        let replay = Replay::from(replay);
        if replay != Replay::Nothing {
            self.keeping(&room)?;
        }
        let is_member = self.event()?.kept.rooms.iter().any(|joined| **joined == *room);
        let refused = self.abilities.hub.refuses_member(&self.identity.tenant, &room).filter(|_| !is_member);
        self.ask(|transaction, limits| match refused {
            Some(why) => Err(Failure::quota(why)),
            None => transaction.join(limits, id(connection), (&room, replay)),
        })
    }

    fn leave(&mut self, connection: u64, room: String) -> Answer<()> {
        self.ask_granted(Grant::Rooms, |transaction, limits| transaction.leave(limits, id(connection), &room))
    }

    fn publish(&mut self, room: String, message: types::MessageResult, exclude: Vec<u64>) -> Answer<()> {
        self.granted(Grant::Rooms)?;
        let exclude = exclude.into_iter().map(id).collect();
        let refused = self.abilities.hub.refuses_message(&self.identity.tenant, &room);
        self.ask(|transaction, limits| match refused {
            Some(why) => Err(Failure::quota(why)),
            None => transaction.publish(limits, &room, (message.into(), exclude)),
        })
    }

    fn members(&mut self, room: String, limit: u32) -> Answer<Vec<u64>> {
        self.granted(Grant::Rooms)?;
        check_room(&room)?;
        let tenant = self.event()?.subject.tenant;
        let members = self.abilities.hub.members(tenant, &room, limit.min(MAX_MEMBERS) as usize);
        Ok(members.into_iter().map(ConnectionId::get).collect())
    }

    fn count(&mut self, room: String) -> Answer<u32> {
        self.granted(Grant::Rooms)?;
        check_room(&room)?;
        let tenant = self.event()?.subject.tenant;
        Ok(u32::try_from(self.abilities.hub.count(tenant, &room)).unwrap_or(u32::MAX))
    }

    fn history(&mut self, room: String, since: Option<u64>, limit: u32) -> Answer<rooms::Page> {
        self.granted(Grant::Rooms)?;
        self.keeping(&room)?;
        let tenant = self.event()?.subject.tenant;
        Ok(self.abilities.hub.history(tenant, &room, (since, limit as usize)).into())
    }
}

impl Guest {
    /// Refuses to ask a room for messages that keeps none.
    fn keeping(&mut self, room: &str) -> Result<(), Failure> {
        check_room(room)?;
        let tenant = self.event()?.subject.tenant;
        let keeps = self.abilities.hub.keeps(tenant, room);
        keeps
            .then_some(())
            .ok_or_else(|| Failure::without(format!("no [[room]] of this server keeps messages of {room:?}")))
    }
}

impl log::Host for Guest {
    fn write(&mut self, level: String, line: String, fields: Vec<(String, String)>) {
        let mut text = line;
        for (name, value) in fields {
            if text.len() > MAX_LINE {
                break;
            }
            text.push_str(&format!(" {name}={value}"));
        }
        text.truncate(text.floor_char_boundary(MAX_LINE));
        self.write_line(&level, &text);
    }

    fn enabled(&mut self, level: String) -> bool {
        match level.as_str() {
            "error" => tracing::enabled!(target: "guest", tracing::Level::ERROR),
            "warn" => tracing::enabled!(target: "guest", tracing::Level::WARN),
            "debug" => tracing::enabled!(target: "guest", tracing::Level::DEBUG),
            "trace" => tracing::enabled!(target: "guest", tracing::Level::TRACE),
            _ => tracing::enabled!(target: "guest", tracing::Level::INFO),
        }
    }
}

impl Guest {
    /// A line for the operator, tagged with who wrote it, under the quota.
    pub(super) fn write_line(&mut self, level: &str, line: &str) {
        let (identity, abilities) = (&self.identity, &self.abilities);
        let (length, limit) = (line.len().max(LEAST_LINE), identity.tenant.limits().log_bytes);
        if !identity.log.admits(abilities.clock.now().as_secs(), (length, limit)) {
            abilities.metrics.log_dropped.inc_by(length as u64);
            return;
        }
        let connection = self.transaction.as_ref().map_or(0, |transaction| transaction.subject.connection.get());
        let (plugin, generation) = (&*identity.plugin, identity.generation);
        match level {
            "error" => tracing::error!(target: "guest", plugin, generation, connection, "{line}"),
            "warn" => tracing::warn!(target: "guest", plugin, generation, connection, "{line}"),
            "debug" => tracing::debug!(target: "guest", plugin, generation, connection, "{line}"),
            "trace" => tracing::trace!(target: "guest", plugin, generation, connection, "{line}"),
            _ => tracing::info!(target: "guest", plugin, generation, connection, "{line}"),
        }
    }
}

impl flow::Host for Guest {
    fn queued(&mut self, connection: u64) -> Answer<u32> {
        let queued = self.ask(|transaction, _| transaction.queued(id(connection)))?;
        Ok(u32::try_from(queued).unwrap_or(u32::MAX))
    }
}

impl control::Host for Guest {
    fn pong(&mut self, connection: u64, payload: Vec<u8>) -> Answer<()> {
        self.ask(|transaction, limits| transaction.control(limits, id(connection), Control::Pong(payload.into())))
    }
}

impl timers::Host for Guest {
    fn set(&mut self, connection: u64, token: u32, after_ms: u32) -> Answer<()> {
        let due = self.abilities.clock.now() + Duration::from_millis(after_ms.into());
        self.ask_granted(Grant::Timers, |transaction, limits| {
            transaction.set_timer(limits, id(connection), (token, due))
        })
    }

    fn cancel(&mut self, connection: u64, token: u32) -> Answer<()> {
        self.ask_granted(Grant::Timers, |transaction, limits| transaction.cancel_timer(limits, id(connection), token))
    }
}

impl store::Host for Guest {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        let found = self.ask_store(&key, |draft| draft.get(&key))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u32>) -> Answer<()> {
        self.ask_store(&key, |draft| draft.set(&key, value.into(), ttl_ms))
    }

    fn remove(&mut self, key: String) -> Answer<()> {
        self.ask_store(&key, |draft| draft.remove(&key))
    }

    fn increment(&mut self, key: String, by: i64, ttl_ms: Option<u32>) -> Answer<i64> {
        self.ask_store(&key, |draft| draft.increment(&key, by, ttl_ms))
    }
}

impl types::Host for Guest {}
