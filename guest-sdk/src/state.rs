//! The typed state of a handler: read before an event, written back after it.
//!
//! It lives in the host with the connection, as JSON under one key, and outlives instances, reloads and faults. A state
//! without a size, such as `()`, costs nothing: no host call is made for it. A state that an event left as it was is not
//! written back. A stored value that does not fit its type ends the event with a panic that says so to the host in a line
//! of its own, so that the host knows it from any other fault.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Connection, host};

/// The key of the handler's typed state among the values of a connection; one handler has a connection, so one key is
/// enough. Other plugins use other keys.
pub const STATE_KEY: &str = "handler";

/// What the host recognizes a panic for a value that does not fit by: a line with this and the value's key.
const MISMATCH: &str = "switchboard: state mismatch: ";

/// What can be a handler's state: a default for a new connection, and JSON by `serde`. Implemented for all such types.
///
/// A value may have been stored by another build of the plugin. Fields that it has and the type lacks are ignored. With
/// `#[serde(default)]` on the type, fields that it lacks get their default, so that most releases of a plugin need no
/// [`Migration`](crate::Migration):
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(default)]
/// struct Profile {
///     name: String,
///     color: String, // new in this build
/// }
///
/// impl Default for Profile {
///     fn default() -> Self {
///         Self { name: String::new(), color: "gray".into() }
///     }
/// }
///
/// let stored = r#"{"name": "Ann", "shoe_size": 38}"#; // by the build before, which knew shoes and no colors
/// let profile: Profile = serde_json::from_str(stored)?;
/// assert_eq!((profile.name.as_str(), profile.color.as_str()), ("Ann", "gray"));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// A value that does not fit has no effect: the event is undone, and as `on-state-mismatch` of the plugin's configuration
/// says, the connection is closed with 1012, or the event runs again with an empty state. While the build is a new one, the
/// event runs on the build before instead, if there is one.
pub trait State: Serialize + DeserializeOwned + Default {}

impl<T: Serialize + DeserializeOwned + Default> State for T {}

/// Runs the first event of a connection, which has no state yet.
pub(crate) fn begin<S: State, R>(connection: &Connection, event: impl FnOnce(&mut S) -> R) -> R {
    run(connection, || None, event)
}

/// Runs any later event with the state that the one before left.
pub(crate) fn with<S: State, R>(connection: &Connection, event: impl FnOnce(&mut S) -> R) -> R {
    run(connection, || read(connection), event)
}

fn run<S: State, R>(
    connection: &Connection,
    read: impl FnOnce() -> Option<Vec<u8>>,
    event: impl FnOnce(&mut S) -> R,
) -> R {
    if size_of::<S>() == 0 {
        return event(&mut S::default());
    }
    let before = read();
    let mut state = decode_or_default(before.as_deref());
    let answer = event(&mut state);
    let after = encode(&state);
    // Bytes that differ need not mean a change: there may be none yet, or another version may have written them.
    if before.as_deref() != Some(&after) && after != encode(&decode_or_default::<S>(before.as_deref())) {
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

fn decode_or_default<S: State>(bytes: Option<&[u8]>) -> S {
    let Some(bytes) = bytes else { return S::default() };
    match serde_json::from_slice(bytes) {
        Ok(state) => state,
        Err(error) => {
            eprintln!("{MISMATCH}{STATE_KEY}");
            panic!("the stored state does not fit {}: {error}", std::any::type_name::<S>())
        }
    }
}

fn encode<S: State>(state: &S) -> Vec<u8> {
    match serde_json::to_vec(state) {
        Ok(bytes) => bytes,
        Err(error) => panic!("the state {} cannot be JSON: {error}", std::any::type_name::<S>()),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{
        Close, Handler, Message,
        testing::{FakeConnection, FakeHost, expect_fault},
    };

    /// Counts messages, but for empty ones, and panics after counting `boom`.
    #[derive(Default)]
    struct Counter;

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Count {
        messages: u32,
        name: String,
    }

    impl Handler for Counter {
        type State = Count;
        fn message(&self, connection: &Connection, message: Message, count: &mut Count) -> Result<(), Close> {
            count.messages += u32::from(!message.is_empty());
            connection.send(format!("{}", count.messages))?;
            assert_ne!(message, "boom", "a fault");
            Ok(())
        }
    }

    fn stored(ann: &FakeConnection) -> Option<serde_json::Value> {
        ann.state(STATE_KEY)
    }

    #[test]
    fn state_goes_from_event_to_event() {
        let ann = FakeHost::new().connection("/ws");
        ann.message::<Counter>("a");
        ann.message::<Counter>("b");
        assert_eq!(ann.take_received(), ["1", "2"]);
    }

    #[test]
    fn a_state_that_did_not_change_is_not_written() {
        let ann = FakeHost::new().connection("/ws");
        ann.message::<Counter>("");
        assert_eq!(stored(&ann), None);
        let of_another_version = serde_json::json!({"messages": 7, "color": "red"});
        ann.set_state(STATE_KEY, &of_another_version);
        ann.message::<Counter>("");
        assert_eq!(stored(&ann), Some(of_another_version));
    }

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_defaulted() {
        let ann = FakeHost::new().connection("/ws");
        ann.set_state(STATE_KEY, &serde_json::json!({"messages": 7, "color": "red"}));
        ann.message::<Counter>("a");
        assert_eq!(stored(&ann), Some(serde_json::json!({"messages": 8, "name": ""})));
    }

    #[test]
    fn a_state_that_does_not_fit_faults_and_stays() {
        let ann = FakeHost::new().connection("/ws");
        ann.set_state(STATE_KEY, &"text");
        let text = expect_fault(|| ann.message::<Counter>("a"));
        assert!(text.starts_with("the stored state does not fit"), "{text}");
        assert_eq!(stored(&ann), Some("text".into()));
    }

    #[test]
    fn a_fault_leaves_the_state_of_before() {
        let ann = FakeHost::new().connection("/ws");
        ann.message::<Counter>("a");
        expect_fault(|| ann.message::<Counter>("boom"));
        assert_eq!(stored(&ann), Some(serde_json::json!({"messages": 1, "name": ""})));
        assert_eq!((ann.take_received(), ann.closed()), (vec!["1".into()], Some(Close::internal("internal error"))));
    }
}
