//! A filter that replaces each message by its like, in both directions.

use switchboard_sdk::{Close, Connection, Filter, Message, Origin, Verdict, export};

#[derive(Default)]
struct Copying;

impl Filter for Copying {
    fn inbound(&self, _: &Connection, message: &Message) -> Result<Verdict, Close> {
        Ok(Verdict::Replace(message.clone()))
    }

    fn outbound(&self, _: &Connection, message: &Message, _: Option<&Origin>) -> Result<Verdict, Close> {
        Ok(Verdict::Replace(message.clone()))
    }
}

export!(Copying: filter);
