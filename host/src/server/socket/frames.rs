//! Our messages as those of the WebSocket library, and back, and what its errors mean.
//!
//! Conversions only; `server/socket` decides when which is made.
//! Invariant: no byte of a payload is copied.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::CloseFrame as WireClose;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self as wire};

use super::Happening;
use crate::message::{CloseFrame, Control, Kind, Message, close};

/// A message as one frame, with its deflated form in its place if there is one.
pub(super) fn lower(message: Message, deflated: Option<Bytes>) -> wire::Message {
    let code = match message.kind() {
        Kind::Text => Data::Text,
        Kind::Binary => Data::Binary,
    };
    let is_deflated = deflated.is_some();
    let payload = deflated.unwrap_or_else(|| message.into_payload());
    let mut frame = Frame::message(payload, OpCode::Data(code), true);
    // The first of a compressed message has this bit (RFC 7692, section 6).
    frame.header_mut().rsv1 = is_deflated;
    wire::Message::Frame(frame)
}

pub(super) fn lift(frame: Option<WireClose>) -> CloseFrame {
    match frame {
        Some(frame) => CloseFrame::new(frame.code.into(), frame.reason.to_string()),
        None => close::NO_CODE,
    }
}

pub(super) fn lift_control(message: wire::Message) -> Option<Control> {
    match message {
        wire::Message::Ping(payload) => Some(Control::Ping(payload)),
        wire::Message::Pong(payload) => Some(Control::Pong(payload)),
        _ => None,
    }
}

pub(super) fn wire_close(frame: &CloseFrame) -> WireClose {
    WireClose { code: frame.code.into(), reason: frame.reason.as_ref().into() }
}

/// What a failed read means; the library sends no close frame by itself.
pub(super) fn broken(error: &Error) -> Happening {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Happening::Broken(close::TOO_BIG),
        Error::Utf8(_) => Happening::Broken(close::NOT_UTF8),
        Error::Protocol(wire::error::ProtocolError::ResetWithoutClosingHandshake) => Happening::Lost,
        Error::Protocol(_) | Error::Capacity(_) => Happening::Broken(close::PROTOCOL),
        _ => Happening::Lost,
    }
}
