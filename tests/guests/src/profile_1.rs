//! A handler with a typed state, at its first version: a client says its name, and is told what is known of it.
//!
//! The other `profile_` fixtures are later builds of it.

use serde::{Deserialize, Serialize};
use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Profiles;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Profile {
    name: String,
    messages: u32,
}

impl Handler for Profiles {
    type State = Profile;

    fn message(&self, connection: &Connection, message: Message, profile: &mut Profile) -> Result<(), Close> {
        profile.messages += 1;
        if let Some(name) = message.text()?.strip_prefix("name ") {
            profile.name = name.to_owned();
        }
        Ok(connection.send_json(profile)?)
    }
}

export!(Profiles);
