//! Files that changed, and the one thread that reads them again.
//!
//! The watcher adds, and goes on watching; what a change leads to may take minutes, and is done here, one file after the
//! other, in the order in which they came. A file that changes again while it waits is read once.
//! Invariant: no more files wait than are watched.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The files that wait; dropped, their thread ends.
pub struct Changes {
    waiting: Arc<Waiting>,
    bell: Sender<()>,
}

#[derive(Default)]
struct Waiting(Mutex<VecDeque<PathBuf>>);

impl Changes {
    /// Calls `read` on a thread of its own, for each file that is added.
    pub fn work_off(read: impl Fn(&Path) + Send + 'static) -> std::io::Result<Self> {
        let (bell, rings) = channel();
        let waiting = Arc::new(Waiting::default());
        let there = waiting.clone();
        let work = move || {
            while rings.recv().is_ok() {
                // Taken before it is read, so that a change from here on adds it once more.
                let next = there.lock().pop_front();
                next.inspect(|file| read(file));
            }
        };
        thread::Builder::new().name("reloads".into()).spawn(work)?;
        Ok(Self { waiting, bell })
    }

    /// Adds a file, unless it waits already.
    pub fn add(&self, file: &Path) {
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|known| known == file) {
            waiting.push_back(file.to_owned());
            // Fails where the thread was lost, and nothing is read any more.
            let _ = self.bell.send(());
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, VecDeque<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_waits_once_and_keeps_its_place() {
        let (sender, read) = channel();
        let (go, may_go) = channel();
        let changes = Changes::work_off(move |file| {
            sender.send(file.to_owned()).expect("somebody listens");
            // Ends with the test.
            let _ = may_go.recv();
        });
        let changes = changes.expect("there are threads");
        changes.add(Path::new("first"));
        assert_eq!(read.recv().expect("it is read"), Path::new("first"));
        for file in ["a", "b", "a", "first", "b"] {
            changes.add(Path::new(file));
        }
        for file in ["a", "b", "first"] {
            go.send(()).expect("it waits");
            assert_eq!(read.recv().expect("it is read"), Path::new(file));
        }
        assert!(changes.waiting.lock().is_empty());
    }
}
