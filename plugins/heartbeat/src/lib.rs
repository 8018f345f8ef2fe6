//! Middleware that finds out whether a client is still there, by texts that its application sends and answers.
//!
//! A client that says nothing for 30 seconds is sent the text `ping`, and after 60 seconds it is closed with 1000 "Timeout".
//! Any message starts the clock anew, also the text `pong`, which ends here: the handler never sees it. Use it as middleware
//! of a route or router, for clients that cannot see protocol pings; the server's own keepalive finds lost connections for
//! less. It keeps no state: the two timers of a connection are all it needs, and they outlive a reload.
//!
//! Configuration: `ping-seconds` (30) and `timeout-seconds` (60), whole numbers, the second one larger.

use std::time::Duration;

use switchboard_sdk::{
    Close, Connection, Failure, Gate, Inbound, Message, Pass, Refusal, Request, TimerEvents, Verdict, config, export,
    timer,
};

/// The timer that sends a ping.
const PING: u32 = 1;
/// The timer that closes.
const TIMEOUT: u32 = 2;

struct Heartbeat {
    ping: Duration,
    timeout: Duration,
}

impl Default for Heartbeat {
    /// Reads the configuration, once for each instance.
    fn default() -> Self {
        let seconds = |key, default| config::parse::<u32>(key).unwrap_or(default);
        let (ping, timeout) = (seconds("ping-seconds", 30), seconds("timeout-seconds", 60));
        assert!(0 < ping && ping < timeout, "\"ping-seconds\" must be at least 1 and less than \"timeout-seconds\"");
        Self { ping: Duration::from_secs(ping.into()), timeout: Duration::from_secs(timeout.into()) }
    }
}

impl Gate for Heartbeat {
    fn connect(&self, connection: &Connection, _: &Request) -> Result<Pass, Refusal> {
        self.start_anew(connection)?;
        Ok(Pass::new())
    }
}

impl Inbound for Heartbeat {
    fn message(&self, connection: &Connection, message: &Message) -> Result<Verdict, Close> {
        self.start_anew(connection)?;
        Ok(if *message == "pong" { Verdict::Drop } else { Verdict::Pass })
    }
}

impl TimerEvents for Heartbeat {
    type State = ();

    fn timer(&self, connection: &Connection, token: u32, _: &mut ()) -> Result<(), Close> {
        match token {
            PING => Ok(connection.send_text("ping")?),
            TIMEOUT => Err(Close::normal("Timeout")),
            _ => Ok(()),
        }
    }
}

impl Heartbeat {
    /// A timer that is set again moves.
    fn start_anew(&self, connection: &Connection) -> Result<(), Failure> {
        timer::set(connection, PING, self.ping)?;
        timer::set(connection, TIMEOUT, self.timeout)
    }
}

export!(Heartbeat: gate, inbound, timer_events);

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_sdk::testing::{FakeConnection, FakeHost, expect_fault};

    fn connect(host: &FakeHost) -> FakeConnection {
        let ann = host.connection("/ws");
        ann.connect_gate::<Heartbeat>().unwrap();
        ann
    }

    fn wait(ann: &FakeConnection, seconds: u64) {
        ann.advance::<Heartbeat>(Duration::from_secs(seconds));
    }

    #[test]
    fn a_silent_client_is_pinged_and_then_closed() {
        let ann = connect(&FakeHost::new());
        wait(&ann, 29);
        assert!(ann.take_received().is_empty());
        wait(&ann, 1);
        assert_eq!((ann.take_received(), ann.closed()), (vec!["ping".into()], None));
        wait(&ann, 29);
        assert_eq!(ann.closed(), None);
        wait(&ann, 1);
        assert_eq!((ann.take_received(), ann.closed()), (vec![], Some(Close::normal("Timeout"))));
    }

    #[test]
    fn any_message_starts_the_clock_anew_and_a_pong_ends_here() {
        let ann = connect(&FakeHost::new());
        for (message, verdict) in
            [(Message::from("hi"), Verdict::Pass), (vec![1].into(), Verdict::Pass), ("pong".into(), Verdict::Drop)]
        {
            wait(&ann, 59);
            assert_eq!(ann.take_received(), ["ping"]);
            assert_eq!(ann.inbound::<Heartbeat>(message), verdict);
        }
        wait(&ann, 29);
        assert_eq!((ann.take_received(), ann.closed()), (vec![], None));
    }

    #[test]
    fn the_times_are_configured() {
        let ann = connect(&FakeHost::new().config("ping-seconds", "2").config("timeout-seconds", "5"));
        assert_eq!(ann.advance::<Heartbeat>(Duration::from_secs(5)), [PING, TIMEOUT]);
    }

    #[test]
    fn times_that_make_no_sense_fault() {
        for ping in ["0", "60", "x"] {
            let ann = FakeHost::new().config("ping-seconds", ping).connection("/ws");
            let text = expect_fault(|| drop(ann.connect_gate::<Heartbeat>()));
            assert!(text.contains("ping-seconds"), "{text}");
        }
    }
}
