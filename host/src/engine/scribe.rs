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

/// Writes something down.
type Note = Box<dyn FnOnce(&Archive) + Send>;

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
    pub fn note(&self, note: impl FnOnce(&Archive) + Send + 'static) {
        let _ = self.notes.send(Box::new(note));
    }

    /// Waits until all is written down that was noted so far, so that nothing of it overtakes what the caller writes himself.
    pub fn settle(&self) {
        let (settled, waiting) = sync_channel::<()>(0);
        self.note(move |_| drop(settled));
        // Nothing is ever sent: the end of the other side is the answer.
        let _ = waiting.recv();
    }
}

fn write(archive: &Archive, notes: &Receiver<Note>) {
    for note in notes {
        note(archive);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_written_in_their_order_and_all_of_them_before_it_is_settled() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Arc::new(Archive::new(folder.path().join("archive")));
        let scribe = Scribe::new(archive.clone());
        for _ in 0..20 {
            scribe.note(|archive| archive.reject("chat", "key", "it faulted"));
            scribe.settle();
            assert!(archive.rejection("chat", "key").is_some());
            scribe.note(|archive| archive.reject("chat", "key", "it faulted again"));
            scribe.note(|archive| archive.forgive("chat", "key"));
            scribe.settle();
            assert!(archive.rejection("chat", "key").is_none());
        }
    }
}
