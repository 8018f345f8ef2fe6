//! A handler that runs what its client says, and tells it of all that happens beside its messages: timers, pings and pongs,
//! a mailbox that has drained. With `fill BYTES` it sends messages of this size until its mailbox is more than half full, and
//! again each time when it has drained, up to a number in its state: how a guest streams.

use switchboard_sdk::{Close, Connection, ControlEvents, FlowEvents, Handler, Message, TimerEvents, export, flow, log};

#[derive(Default)]
struct Sentinel;

/// How many messages of which size are still to be sent.
type Stream = (u32, u32);

/// Half of the mailbox by default.
const ENOUGH: u32 = 512 << 10;

impl Handler for Sentinel {
    type State = Stream;

    fn message(&self, connection: &Connection, message: Message, stream: &mut Stream) -> Result<(), Close> {
        match script::split(message.text()?) {
            ("stream", words) => {
                let (count, size) = script::split(words);
                *stream = (count.parse()?, size.parse()?);
                go_on(connection, stream)
            }
            _ => {
                script::run(connection, message.text()?);
                Ok(())
            }
        }
    }

    fn disconnect(&self, _: &Connection, close: &Close, _: &mut Stream) -> Result<(), Close> {
        log::info(format_args!("disconnect {close}"));
        Ok(())
    }
}

/// Sends until enough waits; each message begins with the number of those that follow it.
fn go_on(connection: &Connection, (count, size): &mut Stream) -> Result<(), Close> {
    while *count > 0 && flow::queued(connection)? <= ENOUGH {
        *count -= 1;
        let mut bytes = vec![0; *size as usize];
        bytes[..4].copy_from_slice(&count.to_be_bytes());
        connection.send_bytes(bytes)?;
    }
    Ok(())
}

impl TimerEvents for Sentinel {
    type State = Stream;

    fn timer(&self, connection: &Connection, token: u32, _: &mut Stream) -> Result<(), Close> {
        log::info(format_args!("timer {token}"));
        Ok(connection.send_text(format!("timer {token}"))?)
    }
}

impl FlowEvents for Sentinel {
    type State = Stream;

    fn drained(&self, connection: &Connection, stream: &mut Stream) -> Result<(), Close> {
        log::info("drained");
        go_on(connection, stream)
    }
}

impl ControlEvents for Sentinel {
    type State = Stream;

    fn ping(&self, connection: &Connection, payload: &[u8], _: &mut Stream) -> Result<(), Close> {
        Ok(connection.send_text(format!("ping {}", String::from_utf8_lossy(payload)))?)
    }

    fn pong(&self, connection: &Connection, payload: &[u8], _: &mut Stream) -> Result<(), Close> {
        Ok(connection.send_text(format!("pong {}", String::from_utf8_lossy(payload)))?)
    }
}

export!(Sentinel: handler, timer_events, flow_events, control_events);
