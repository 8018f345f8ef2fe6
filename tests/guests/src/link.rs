//! Middleware that does what its configuration says, at each of the four events of a link in a chain.
//!
//! `connect`, `in`, `out` and `disconnect` are scripts with `;` between their lines. Beside the common commands there are
//! those that answer the event: `header NAME VALUE`, `respond STATUS BODY` and `close CODE REASON` for a connection,
//! `append TEXT`, `drop` and `close CODE REASON` for a message. With `when`, only messages with this text are acted upon.
//! Each event is a line in the log, which the host tags with the plugin's name.

use switchboard_sdk::{
    Close, Connection, Gate, Inbound, Message, Origin, Outbound, Pass, Refusal, Request, Verdict, config, export, log,
};

#[derive(Default)]
struct Link;

impl Gate for Link {
    fn connect(&self, connection: &Connection, _: &Request) -> Result<Pass, Refusal> {
        log::info("connect");
        let mut pass = Pass::new();
        for line in lines("connect") {
            let (verb, rest) = script::split(&line);
            let (first, second) = script::split(rest);
            match verb {
                "header" => pass = pass.header(first, second.replace("CRLF", "\r\n")),
                "respond" => return Err(Refusal::respond(first.parse()?, second)),
                "close" => return Err(script::close(rest).into()),
                _ => script::command(connection, &line),
            }
        }
        Ok(pass)
    }

    fn disconnect(&self, connection: &Connection, close: &Close) -> Result<(), Close> {
        log::info(format_args!("disconnect {close}"));
        lines("disconnect").iter().for_each(|line| script::command(connection, line));
        Ok(())
    }
}

impl Inbound for Link {
    fn message(&self, connection: &Connection, message: &Message) -> Result<Verdict, Close> {
        log::info(format_args!("in {}", script::shown(message)));
        Ok(verdict("in", connection, message))
    }
}

impl Outbound for Link {
    fn message(&self, connection: &Connection, message: &Message, origin: Option<&Origin>) -> Result<Verdict, Close> {
        let room = origin.map(|origin| format!(" from {}", origin.room)).unwrap_or_default();
        let place = origin.and_then(|origin| origin.place);
        let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
        log::info(format_args!("out {}{room}{place}", script::shown(message)));
        Ok(verdict("out", connection, message))
    }
}

fn verdict(event: &str, connection: &Connection, message: &Message) -> Verdict {
    if config::get("when").is_some_and(|text| text != script::shown(message)) {
        return Verdict::Pass;
    }
    let mut verdict = Verdict::Pass;
    for line in lines(event) {
        match script::split(&line) {
            ("append", rest) => verdict = Verdict::Replace(format!("{}{rest}", script::shown(message)).into()),
            ("drop", _) => verdict = Verdict::Drop,
            ("close", rest) => verdict = script::close(rest).into(),
            _ => script::command(connection, &line),
        }
    }
    verdict
}

fn lines(event: &str) -> Vec<String> {
    let script = config::get(event).unwrap_or_default();
    script.split(';').map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

export!(Link: gate, inbound, outbound);
