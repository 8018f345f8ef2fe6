//! A build after `profile_1` that carries its state over: the name in two parts.
//!
//! Some names are too much for its migration: `Unfit` is refused, `Trap` traps, `Endless` never ends, and `Large` becomes more
//! than a state may take. Each migration is a line in the log.

use serde::{Deserialize, Serialize};
use switchboard_sdk::{Close, Connection, Handler, Message, Migration, STATE_KEY, export, log};

#[derive(Default)]
struct Profiles;

#[derive(Default, Serialize, Deserialize)]
struct Profile {
    first: String,
    last: String,
}

impl Profile {
    fn named(name: &str) -> Self {
        let (first, last) = name.split_once(' ').unwrap_or((name, ""));
        Self { first: first.to_owned(), last: last.to_owned() }
    }
}

impl Handler for Profiles {
    type State = Profile;

    fn message(&self, connection: &Connection, message: Message, profile: &mut Profile) -> Result<(), Close> {
        match message.text()? {
            "trap" => panic!("as it was told"),
            text => {
                if let Some(name) = text.strip_prefix("name ") {
                    *profile = Profile::named(name);
                }
                Ok(connection.send_json(profile)?)
            }
        }
    }
}

impl Migration for Profiles {
    const VERSION: u32 = 1;

    fn migrate(&self, from_version: u32, key: &str, value: Vec<u8>) -> Result<Vec<u8>, String> {
        #[derive(Deserialize)]
        struct Before {
            name: String,
        }
        log::info(format_args!("migrates {key} from {from_version}"));
        assert_eq!((from_version, key), (0, STATE_KEY));
        let before: Before = serde_json::from_slice(&value).map_err(|error| error.to_string())?;
        match before.name.as_str() {
            "Unfit" => Err("nobody has this name".to_owned()),
            "Trap" => panic!("this name is too much"),
            "Endless" => loop {
                std::hint::spin_loop();
            },
            "Large" => Ok(vec![b'x'; 100_000]),
            name => serde_json::to_vec(&Profile::named(name)).map_err(|error| error.to_string()),
        }
    }
}

export!(Profiles: handler, migration);
