//! The scribe: one thread that writes into the archive what workers have seen of generations.
//!
//! Workers must not wait for files, and a thread for each note would cost memory that the allocator never gives back.
//! Notes come from `engine/plugin` and `engine/registry`; the thread ends with the last who could give it one.
//! Invariant: notes are written in the order in which they came.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::archive::Archive;

/// Notes that wait; whoever has one more waits with it. There are a few for each roll-out.
const WAITING: usize = 256;

/// What is to be noted of a component: its plugin and its hash.
type Note = (fn(&Archive, &str, &str), Arc<str>, String);

/// Takes notes.
pub struct Scribe {
    notes: SyncSender<Note>,
}

impl Scribe {
    /// For this archive. Where there is no thread for it, only a server that is started again knows less.
    pub fn new(archive: Arc<Archive>) -> Self {
        let (notes, taken) = sync_channel(WAITING);
        let log = tracing::dispatcher::get_default(Clone::clone);
        let write = move || tracing::dispatcher::with_default(&log, || write(&archive, &taken));
        let started = thread::Builder::new().name("archive".into()).spawn(write);
        if let Err(error) = started {
            tracing::warn!("there is no thread that writes into the archive: {error}");
        }
        Self { notes }
    }

    /// Has this written down soon.
    pub fn note(&self, note: fn(&Archive, &str, &str), plugin: &Arc<str>, hash: &str) {
        let _ = self.notes.send((note, plugin.clone(), hash.to_owned()));
    }
}

fn write(archive: &Archive, notes: &Receiver<Note>) {
    for (note, plugin, hash) in notes {
        note(archive, &plugin, &hash);
    }
}
