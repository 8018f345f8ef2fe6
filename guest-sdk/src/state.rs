//! The typed state of a handler: read before an event, written back after it.
//!
//! It lives in the host with the connection, as JSON under one key, and outlives instances, reloads and faults. A state
//! without a size, such as `()`, costs nothing: no host call is made for it. A state that an event left as it was is not
//! written back. A stored value that does not fit its type faults the event.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Connection, host};

/// The key of the handler's typed state among the values of a connection; one handler has a connection, so one key is
/// enough. Other plugins use other keys.
pub const STATE_KEY: &str = "handler";

/// What can be a handler's state: a default for a new connection, and JSON by `serde`. Implemented for all such types.
///
/// Fields that the stored value has and the type lacks are ignored. With `#[serde(default)]` on the type, fields that the
/// stored value lacks get their default, so that most releases of a plugin need no migration.
pub trait State: Serialize + DeserializeOwned + Default {}

impl<T: Serialize + DeserializeOwned + Default> State for T {}

/// Runs one event with its state.
pub(crate) fn with<S: State, R>(connection: &Connection, event: impl FnOnce(&mut S) -> R) -> R {
    if size_of::<S>() == 0 {
        return event(&mut S::default());
    }
    let before = read(connection);
    let mut state = before.as_deref().map_or_else(S::default, decode);
    let answer = event(&mut state);
    // A connection without a stored state is as good as one with the default.
    let before = before.unwrap_or_else(|| encode(&S::default()));
    let after = encode(&state);
    if after != before {
        write(connection, &after);
    }
    answer
}

fn read(connection: &Connection) -> Option<Vec<u8>> {
    match host::connections::get_state(connection.id(), STATE_KEY) {
        Ok(bytes) => bytes,
        Err(failure) => panic!("the handler's state cannot be read: {}: {}", failure.kind, failure.message),
    }
}

fn write(connection: &Connection, bytes: &[u8]) {
    if let Err(failure) = host::connections::set_state(connection.id(), STATE_KEY, Some(bytes)) {
        panic!("the handler's state cannot be stored: {}: {}", failure.kind, failure.message);
    }
}

fn decode<S: State>(bytes: &[u8]) -> S {
    match serde_json::from_slice(bytes) {
        Ok(state) => state,
        Err(error) => panic!("the stored state does not fit {}: {error}", std::any::type_name::<S>()),
    }
}

fn encode<S: State>(state: &S) -> Vec<u8> {
    match serde_json::to_vec(state) {
        Ok(bytes) => bytes,
        Err(error) => panic!("the state {} cannot be JSON: {error}", std::any::type_name::<S>()),
    }
}
