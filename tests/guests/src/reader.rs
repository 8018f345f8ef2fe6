//! A handler that looks for files: `read PATH`, `list PATH`, `write PATH` and `remove PATH`, and says what came of it.
//!
//! It reads in one piece, and names the kind of an error as the standard library does.

use std::fs;
use std::io;

use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Reader;

impl Handler for Reader {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        let (verb, path) = script::split(message.text()?);
        let outcome = match verb {
            "read" => fs::read_to_string(path),
            "list" => list(path),
            "write" => fs::write(path, "written").map(|()| "written".to_owned()),
            "remove" => fs::remove_file(path).map(|()| "removed".to_owned()),
            _ => panic!("there is no command `{verb}`"),
        };
        Ok(connection.send_text(outcome.unwrap_or_else(|error| error.kind().to_string()))?)
    }
}

fn list(path: &str) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

export!(Reader);
