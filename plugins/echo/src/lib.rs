//! Sends every message back unchanged, text and binary: the smallest useful plugin, and the one that the benchmark runs.
//!
//! Use it as the handler of a route. It has no configuration and keeps no state, so that what the benchmark measures is the
//! host: one call into the plugin and one host call back for each message.
use switchboard_sdk::{Close, Connection, Handler, Message, export};

#[derive(Default)]
struct Echo;

impl Handler for Echo {
    type State = ();
    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send(message)?)
    }
}
export!(Echo);

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_sdk::testing::FakeHost;

    #[test]
    fn text_and_binary_come_back_unchanged() {
        let ann = FakeHost::new().connection("/ws");
        ann.connect::<Echo>().unwrap();
        ann.message::<Echo>("hi");
        ann.message::<Echo>(vec![0, 1]);
        ann.message::<Echo>("");
        let expected: [Message; 3] = ["hi".into(), vec![0, 1].into(), "".into()];
        assert_eq!(ann.take_received(), expected);
        assert_eq!(ann.closed(), None);
    }
}
