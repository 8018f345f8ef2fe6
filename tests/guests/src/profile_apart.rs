//! A build after `profile_1` whose state has another shape, without a migration.

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Profiles;

impl Handler for Profiles {
    type State = Vec<String>;

    fn message(&self, connection: &Connection, message: Message, words: &mut Vec<String>) -> Result<(), Close> {
        words.push(message.text()?.to_owned());
        Ok(connection.send_json(words)?)
    }
}

export!(Profiles);
