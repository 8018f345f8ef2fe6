//! Between the contract's words and the host's: what events carry in, what guests answer and ask for.
//!
//! Nothing is decided and nothing is checked here. `engine/exports` and `engine/imports` are the two that use it.
//! Invariant: a conversion loses nothing, and what a guest is lent is borrowed, not copied.

use std::sync::Arc;

use super::bindings::switchboard::ws::{rooms, types};
use crate::event::{Failure, Header, Place, Replay, Reply};
use crate::handshake::Handshake;
use crate::hub::history::{Entry, Page};
use crate::message::{CloseFrame, Kind, Message};

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        Self { kind: failure.kind.into(), message: failure.message }
    }
}

impl From<types::MessageResult> for Message {
    fn from(message: types::MessageResult) -> Self {
        match message {
            types::MessageResult::Text(text) => Self::text(text),
            types::MessageResult::Binary(bytes) => Self::binary(bytes),
        }
    }
}

impl From<types::CloseFrameResult> for CloseFrame {
    fn from(frame: types::CloseFrameResult) -> Self {
        Self::new(frame.code, frame.reason)
    }
}

impl From<rooms::Replay> for Replay {
    fn from(replay: rooms::Replay) -> Self {
        match replay {
            rooms::Replay::Nothing => Self::Nothing,
            rooms::Replay::Newest(count) => Self::Newest(count as usize),
            rooms::Replay::Since(place) => Self::Since(Place { epoch: place.epoch, offset: place.offset }),
        }
    }
}

impl From<Page> for rooms::Page {
    fn from(page: Page) -> Self {
        let entry =
            |entry: &Arc<Entry>| rooms::Entry { offset: entry.offset, at: entry.at, message: owned(&entry.message) };
        let entries = page.entries.iter().map(entry).collect();
        Self { epoch: page.epoch, oldest: page.oldest, newest: page.newest, entries }
    }
}

pub(super) fn request(handshake: &Handshake) -> types::RequestResult {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let header = |(name, value): (&str, &str)| types::HeaderResult { name: name.into(), value: value.into() };
    types::RequestResult {
        path: handshake.path().into(),
        query: handshake.query().into(),
        params: handshake.params().map(owned).collect(),
        headers: handshake.headers().map(header).collect(),
        subprotocols: handshake.subprotocols().map(Into::into).collect(),
        peer: handshake.peer().into(),
        details: details(handshake).into_iter().map(owned).collect(),
    }
}

/// What a request carries by name, so that it can grow.
pub(super) fn details(handshake: &Handshake) -> [(&'static str, &str); 4] {
    [
        ("host", handshake.host()),
        ("scheme", "ws"),
        ("route", &handshake.names().route),
        ("tenant", handshake.names().tenant.name()),
    ]
}

pub(super) fn lower(message: &Message) -> types::MessageParam<'_> {
    match message.kind() {
        Kind::Text => types::MessageParam::Text(message.as_text().expect("text messages are UTF-8")),
        Kind::Binary => types::MessageParam::Binary(message.payload()),
    }
}

fn owned(message: &Message) -> types::MessageResult {
    match lower(message) {
        types::MessageParam::Text(text) => types::MessageResult::Text(text.into()),
        types::MessageParam::Binary(bytes) => types::MessageResult::Binary(bytes.into()),
    }
}

pub(super) fn lower_place(place: Place) -> types::Place {
    types::Place { epoch: place.epoch, offset: place.offset }
}

pub(super) fn lower_frame(frame: &CloseFrame) -> types::CloseFrameParam<'_> {
    types::CloseFrameParam { code: frame.code, reason: &frame.reason }
}

/// A request as lists that a guest's parameters can borrow from.
pub(super) struct Request<'a> {
    handshake: &'a Handshake,
    params: Vec<(&'a str, &'a str)>,
    headers: Vec<types::HeaderParam<'a>>,
    subprotocols: Vec<&'a str>,
    details: [(&'a str, &'a str); 4],
}

impl<'a> Request<'a> {
    pub(super) fn of(handshake: &'a Handshake) -> Self {
        Self {
            handshake,
            params: handshake.params().collect(),
            headers: handshake.headers().map(|(name, value)| types::HeaderParam { name, value }).collect(),
            subprotocols: handshake.subprotocols().collect(),
            details: details(handshake),
        }
    }

    pub(super) fn lower(&self) -> types::RequestParam<'_> {
        types::RequestParam {
            path: self.handshake.path(),
            query: self.handshake.query(),
            params: &self.params,
            headers: &self.headers,
            subprotocols: &self.subprotocols,
            peer: self.handshake.peer(),
            details: &self.details,
        }
    }
}

fn headers(headers: Vec<types::HeaderResult>) -> Vec<Header> {
    headers.into_iter().map(|header| (header.name, header.value)).collect()
}

fn respond(response: types::Response) -> Reply {
    Reply::Respond { status: response.status, headers: headers(response.headers), body: response.body.into() }
}

pub(super) fn answer(answer: types::Answer) -> Reply {
    match answer {
        types::Answer::Accept(accept) => {
            Reply::Accept { subprotocol: accept.subprotocol, headers: headers(accept.headers) }
        }
        types::Answer::Respond(response) => respond(response),
        types::Answer::Close(frame) => Reply::Close(frame.into()),
    }
}

pub(super) fn admission(admission: types::Admission) -> Reply {
    match admission {
        types::Admission::Pass(added) => Reply::Accept { subprotocol: None, headers: headers(added) },
        types::Admission::Respond(response) => respond(response),
        types::Admission::Close(frame) => Reply::Close(frame.into()),
    }
}

pub(super) fn verdict(verdict: types::Verdict) -> Reply {
    match verdict {
        types::Verdict::Pass => Reply::Done,
        types::Verdict::Replace(message) => Reply::Replace(message.into()),
        types::Verdict::Drop => Reply::Drop,
        types::Verdict::Close(frame) => Reply::Close(frame.into()),
    }
}

/// How a gate wants a connection to end.
pub(super) fn frame_reply(frame: Option<types::CloseFrameResult>) -> Reply {
    frame.map_or(Reply::Done, |frame| Reply::Close(frame.into()))
}
