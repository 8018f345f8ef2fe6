//! A plugin to start from: it says what it was told to, when the time has come.
//!
//! A client sends `3 tea`, hears `noted` at once and `tea` three seconds later. The text `boom` panics, for a look at what a
//! fault does. It keeps nothing between two events: the note lies in the connection's state and the timer in the host, so
//! both outlive a reload.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_sdk::{Close, Connection, Handler, Message, TimerEvents, export, log, timer};

/// The only timer of a connection; setting it again moves it.
const REMIND: u32 = 1;

#[derive(Default)]
struct Reminder;

/// What a connection remembers.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    text: String,
}

impl Handler for Reminder {
    type State = Note;

    fn message(&self, connection: &Connection, message: Message, note: &mut Note) -> Result<(), Close> {
        let told = message.text()?;
        assert_ne!(told, "boom", "a fault on purpose");
        let (seconds, text) = parse(told).ok_or_else(|| Close::policy("say SECONDS TEXT"))?;
        note.text = text.to_owned();
        timer::set(connection, REMIND, Duration::from_secs(seconds.into()))?;
        log::info(format_args!("a note for in {seconds} s"));
        Ok(connection.send_text("noted")?)
    }
}

impl TimerEvents for Reminder {
    type State = Note;

    fn timer(&self, connection: &Connection, _: u32, note: &mut Note) -> Result<(), Close> {
        Ok(connection.send_text(note.text.as_str())?)
    }
}

fn parse(told: &str) -> Option<(u16, &str)> {
    let (seconds, text) = told.split_once(' ')?;
    Some((seconds.parse().ok()?, text))
}

export!(Reminder: handler, timer_events);

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_sdk::testing::{FakeHost, expect_fault};

    #[test]
    fn a_note_sets_a_timer_and_the_timer_says_it() {
        let ann = FakeHost::new().connection("/ws");
        ann.message::<Reminder>("3 tea");
        assert_eq!(ann.timers(), [(REMIND, Duration::from_secs(3))]);
        ann.timer::<Reminder>(REMIND);
        assert_eq!(ann.take_received(), ["noted", "tea"]);
    }

    #[test]
    fn what_is_no_note_closes_and_boom_faults() {
        let ann = FakeHost::new().connection("/ws");
        ann.message::<Reminder>("tea");
        assert_eq!(ann.closed(), Some(Close::policy("say SECONDS TEXT")));
        let bob = FakeHost::new().connection("/ws");
        assert!(expect_fault(|| bob.message::<Reminder>("boom")).contains("a fault on purpose"));
    }
}
