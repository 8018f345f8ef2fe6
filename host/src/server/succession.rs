//! Succession: another process takes the listening sockets over, and this one ends.
//!
//! The descriptors themselves are handed on, so that no moment is without a listener and what waits in their queues waits for
//! the other process. It is asked for through `admin`; `cli/serve` then stops the server as a signal would. The connection that it
//! was asked through is held to the end of this process: its end tells the other one that services and store are free.
//! Invariant: the listeners are handed on once.

use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::listener::Listener;

/// The way to another process.
pub struct Succession {
    stage: Mutex<Stage>,
    begun: watch::Sender<bool>,
}

enum Stage {
    /// Whoever asks gets these.
    Open(Vec<Listener>),
    /// Somebody has them, and waits for the end of this.
    Begun { _until_the_end: UnixStream },
    /// The server stops, and nobody takes it over.
    Closed,
}

impl Succession {
    /// To hand these on.
    pub fn new(listeners: &[Listener]) -> std::io::Result<Self> {
        let listeners = listeners.iter().map(Listener::try_clone).collect::<Result<_, _>>()?;
        Ok(Self { stage: Mutex::new(Stage::Open(listeners)), begun: watch::Sender::new(false) })
    }

    /// Hands the listeners on by `give`, to who asked through this stream; false where they are gone already.
    pub fn hand_on(
        &self,
        stream: UnixStream,
        give: impl FnOnce(&UnixStream, &[Listener]) -> std::io::Result<()>,
    ) -> std::io::Result<bool> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let Stage::Open(listeners) = &*stage else { return Ok(false) };
        give(&stream, listeners)?;
        *stage = Stage::Begun { _until_the_end: stream };
        self.begun.send_replace(true);
        Ok(true)
    }

    /// Whether another process has the listeners.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Waits until another process has the listeners.
    pub async fn begun(&self) {
        // The sender lives as long as this.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    /// Lets go of the listeners, if they are still here.
    pub fn close(&self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stage, Stage::Open(_)) {
            *stage = Stage::Closed;
        }
    }
}
