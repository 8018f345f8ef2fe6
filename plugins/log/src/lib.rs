//! Middleware that writes a line for every connection and message, and changes none: a gate and a filter both ways.
//!
//! Use it anywhere in a chain, also more than once under several labels: the lines then show the order of the onion. A line
//! has the size of the message as a field, not its content; whose connection it is, the host adds itself.
//!
//! Configuration: `label`, put in front of every line. `contents = "true"` adds the text of messages, at most 120
//! characters of it; think of who reads the log before you turn that on.

use switchboard_sdk::{
    Close, Connection, Gate, Inbound, Message, Origin, Outbound, Pass, Refusal, Request, Verdict, config, export,
    log::{self, Level},
};

/// How many characters of a text are shown.
const SHOWN: usize = 120;

struct Log {
    /// With a space behind it, or empty.
    label: String,
    contents: bool,
}

impl Default for Log {
    /// Reads the configuration, once for each instance.
    fn default() -> Self {
        let label = config::get("label").map(|label| format!("{label} ")).unwrap_or_default();
        Self { label, contents: config::parse("contents").unwrap_or_default() }
    }
}

impl Gate for Log {
    fn connect(&self, _: &Connection, request: &Request) -> Result<Pass, Refusal> {
        // The path and not the query, which may hold a token.
        self.write("connect", &[("path", request.path()), ("peer", request.peer())]);
        Ok(Pass::new())
    }

    fn disconnect(&self, _: &Connection, close: &Close) -> Result<(), Close> {
        self.write("disconnect", &[("close", &close.to_string())]);
        Ok(())
    }
}

impl Inbound for Log {
    fn message(&self, _: &Connection, message: &Message) -> Result<Verdict, Close> {
        self.write_message("in", message, None);
        Ok(Verdict::Pass)
    }
}

impl Outbound for Log {
    fn message(&self, _: &Connection, message: &Message, origin: Option<&Origin>) -> Result<Verdict, Close> {
        self.write_message("out", message, origin.map(|origin| origin.room.as_str()));
        Ok(Verdict::Pass)
    }
}

impl Log {
    fn write_message(&self, event: &str, message: &Message, room: Option<&str>) {
        if !log::enabled(Level::Info) {
            return;
        }
        let size = message.len().to_string();
        let kind = if message.is_text() { "text" } else { "binary" };
        let shown = message.text().ok().filter(|_| self.contents).map(beginning);
        let mut fields = vec![("kind", kind), ("bytes", size.as_str())];
        fields.extend(room.map(|room| ("room", room)));
        fields.extend(shown.map(|text| ("text", text)));
        self.write(event, &fields);
    }

    fn write(&self, event: &str, fields: &[(&str, &str)]) {
        log::write(Level::Info, format_args!("{}{event}", self.label), fields);
    }
}

/// The first characters of a text.
fn beginning(text: &str) -> &str {
    text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end])
}

export!(Log: gate, inbound, outbound);

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_sdk::testing::FakeHost;

    #[test]
    fn each_event_is_a_line_without_contents() {
        let host = FakeHost::new().config("label", "outer");
        let ann = host.connection("/ws?token=secret");
        ann.connect_gate::<Log>().unwrap();
        assert_eq!(ann.inbound::<Log>("hello"), Verdict::Pass);
        let origin = Origin { room: "lobby".into(), place: None };
        assert_eq!(ann.outbound_from::<Log>(vec![1, 2], &origin), Verdict::Pass);
        ann.disconnect_gate::<Log>(Close::going_away("bye"));
        let lines = [
            "info: outer connect path=/ws peer=127.0.0.1:50000",
            "info: outer in kind=text bytes=5",
            "info: outer out kind=binary bytes=2 room=lobby",
            "info: outer disconnect close=1001 \"bye\"",
        ];
        assert_eq!(host.take_log(), lines);
    }

    #[test]
    fn contents_are_shown_where_so_configured_and_cut_at_a_character() {
        let host = FakeHost::new().config("contents", "true");
        host.connection("/ws").inbound::<Log>("é".repeat(200));
        let line = format!("info: in kind=text bytes=400 text={}", "é".repeat(120));
        assert_eq!(host.take_log(), [line]);
    }
}
