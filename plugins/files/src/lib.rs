//! Streams a file in binary messages of 8192 bytes, the last one shorter, and then closes with 1000.
//!
//! The file is named in the path of the route (`/files/{name:path}`) or in the query (`?name=report.pdf`). A name with `..`,
//! none, or one that is no file closes with 1008 "File not found". The files are those of one folder, which the host shows to
//! this plugin alone and read-only: `files = "data"` under `[plugins.files]`.
//!
//! It sends until 768 KiB wait for the client, and goes on when the client has read them, so a slow client costs no more than
//! that however large its file is. What it keeps between two events is the name and how far it is.
//!
//! Configuration: `ahead-kib` (768), how much may wait: more than half of the server's `mailbox-bytes` (1 MiB), since only
//! a mailbox that was more than half full reports that it is drained; at most 3072, as an event's effects are bounded.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use switchboard_sdk::{
    Accept, Close, Connection, FlowEvents, Handler, Message, Refusal, Request, config, export, flow,
};

/// Bytes of one message.
const PIECE: usize = 8192;

struct Files {
    /// Bytes that may wait for the client.
    ahead: usize,
}

/// What a connection remembers: which file, and where in it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stream {
    name: String,
    offset: u64,
}

impl Default for Files {
    /// Reads the configuration, once for each instance.
    fn default() -> Self {
        let ahead = config::parse("ahead-kib").unwrap_or(768);
        assert!((8..=3072).contains(&ahead), "the configuration of \"ahead-kib\" is 8 to 3072, not {ahead}");
        Self { ahead: ahead * 1024 }
    }
}

impl Handler for Files {
    type State = Stream;

    fn connect(&self, connection: &Connection, request: &Request, stream: &mut Stream) -> Result<Accept, Refusal> {
        let name = request.param::<String>("name").ok();
        stream.name = name.or_else(|| request.query("name").map(str::to_owned)).unwrap_or_default();
        self.go_on(connection, stream)?;
        Ok(Accept::new())
    }

    /// What the client says means nothing here.
    fn message(&self, _: &Connection, _: Message, _: &mut Stream) -> Result<(), Close> {
        Ok(())
    }
}

impl FlowEvents for Files {
    type State = Stream;

    fn drained(&self, connection: &Connection, stream: &mut Stream) -> Result<(), Close> {
        self.go_on(connection, stream)
    }
}

impl Files {
    /// Sends the next pieces, as many as may wait; where the file ends, closes behind them.
    fn go_on(&self, connection: &Connection, stream: &mut Stream) -> Result<(), Close> {
        let mut file = open(&stream.name).ok_or_else(|| Close::policy("File not found"))?;
        let room = self.ahead.saturating_sub(flow::queued(connection)? as usize) / PIECE * PIECE;
        let bytes = read(&mut file, stream.offset, room)?;
        for piece in bytes.chunks(PIECE) {
            connection.send_bytes(piece)?;
        }
        stream.offset += bytes.len() as u64;
        match bytes.len() < room {
            true => Ok(connection.close(Close::normal(""))?),
            false => Ok(()),
        }
    }
}

/// A file below the folder that the host shows, which is all that there is.
fn open(name: &str) -> Option<File> {
    let plain = |part| matches!(part, Component::Normal(_));
    if name.is_empty() || !Path::new(name).components().all(plain) {
        return None;
    }
    let path = Path::new("/").join(name);
    File::open(path).ok().filter(|file| file.metadata().is_ok_and(|about| about.is_file()))
}

/// So many bytes from there on, or fewer where the file ends. Large reads, since each is a wait.
fn read(file: &mut File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read(&mut bytes[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

export!(Files: handler, flow_events);

#[cfg(test)]
mod tests;
