//! A gate that sets a timer for each connection, one second from its handshake, and says when it is due.

use std::time::Duration;

use switchboard_sdk::{Close, Connection, Gate, Pass, Refusal, Request, TimerEvents, export, timer};

#[derive(Default)]
struct Alarm;

impl Gate for Alarm {
    fn connect(&self, connection: &Connection, _: &Request) -> Result<Pass, Refusal> {
        timer::set(connection, 1, Duration::from_secs(1))?;
        Ok(Pass::new())
    }
}

impl TimerEvents for Alarm {
    type State = ();

    fn timer(&self, connection: &Connection, token: u32, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send_text(format!("alarm {token} of outer"))?)
    }
}

export!(Alarm: gate, timer_events);
