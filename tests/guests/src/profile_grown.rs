//! The build after `profile_1`: a field more and a field less, and no migration.

use serde::{Deserialize, Serialize};
use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Profiles;

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Profile {
    name: String,
    color: String,
}

impl Default for Profile {
    fn default() -> Self {
        Self { name: String::new(), color: "gray".to_owned() }
    }
}

impl Handler for Profiles {
    type State = Profile;

    fn message(&self, connection: &Connection, message: Message, profile: &mut Profile) -> Result<(), Close> {
        if let Some(name) = message.text()?.strip_prefix("name ") {
            profile.name = name.to_owned();
        }
        Ok(connection.send_json(profile)?)
    }
}

export!(Profiles);
