//! What a run of the compression benchmark found: a table for each size, and the raw numbers for a file.
//!
//! Bytes are those of WebSocket frames with their headers, without those of TCP and IP. CPU is user and system time of the
//! server's process for one message that came and went.
//! Invariant: what compression adds is the difference of two rounds that followed one another.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::report::shown;
use crate::results::{Figure, Server};
use crate::round::Round;

const LABEL: usize = 40;
const COLUMN: usize = 28;

pub struct Findings {
    pub cores: usize,
    /// Processes that wanted to run in the minute before the run.
    pub busy: f64,
    pub connections: usize,
    pub servers: Vec<Server>,
    /// Bytes of a message; per server, then per round.
    pub sizes: Vec<(usize, Vec<Vec<Pair>>)>,
}

/// The same messages without compression and with it.
pub struct Pair {
    pub plain: Way,
    pub deflated: Way,
}

pub struct Way {
    /// Bytes of a message on the wire, to the server and back.
    pub up: usize,
    pub down: usize,
    pub round: Round,
}

impl Pair {
    fn added_micros(&self) -> f64 {
        self.deflated.round.server_micros() - self.plain.round.server_micros()
    }

    fn saved_bytes(&self) -> f64 {
        (self.plain.up + self.plain.down) as f64 - (self.deflated.up + self.deflated.down) as f64
    }
}

impl Findings {
    pub fn tables(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(|server| format!("{} {}", server.name, server.version)).collect();
        let (servers, cores, busy) = (servers.join(", "), self.cores, self.busy);
        let mut text = format!("{servers}, {cores} cores, load average before the run {busy:.1}\n");
        text += "median of rounds (least - greatest); CPU of the server's process for a message and its echo\n";
        for (size, pairs) in &self.sizes {
            text += &self.table(*size, pairs);
        }
        text
    }

    fn table(&self, size: usize, pairs: &[Vec<Pair>]) -> String {
        let mut text =
            format!("\nJSON of {size} bytes, {} connections, one in flight on each\n{:LABEL$}", self.connections, "");
        let names = self.servers.iter().map(|server| server.name.to_owned());
        let ratio = Some("ratio".to_owned()).filter(|_| self.servers.len() == 2);
        for name in names.chain(ratio) {
            let _ = write!(text, "  {name:>COLUMN$}");
        }
        text.push('\n');
        let mut row = |label: &str, value: &dyn Fn(&Pair) -> f64, decimals| {
            text += &line(label, &Figure::of(pairs, value), decimals);
        };
        row("CPU without compression, us", &|pair| pair.plain.round.server_micros(), 2);
        row("CPU with compression, us", &|pair| pair.deflated.round.server_micros(), 2);
        row("what compression adds, us", &Pair::added_micros, 2);
        row("CPU with / without", &|pair| pair.deflated.round.server_micros() / pair.plain.round.server_micros(), 2);
        row("bytes to the server, without", &|pair| pair.plain.up as f64, 0);
        row("bytes to the server, with", &|pair| pair.deflated.up as f64, 0);
        row("bytes to the client, without", &|pair| pair.plain.down as f64, 0);
        row("bytes to the client, with", &|pair| pair.deflated.down as f64, 0);
        row("CPU per KB that is saved, us", &|pair| pair.added_micros() * 1e3 / pair.saved_bytes(), 2);
        text
    }

    pub fn to_json(&self) -> Value {
        let servers: Vec<_> =
            self.servers.iter().map(|server| json!({ "name": server.name, "version": server.version })).collect();
        let sizes: Vec<_> =
            self.sizes.iter().map(|(size, pairs)| json!({ "size": size, "rounds": self.rounds(pairs) })).collect();
        json!({
            "cores": self.cores,
            "load_average_before": self.busy,
            "connections": self.connections,
            "servers": servers,
            "sizes": sizes,
        })
    }

    fn rounds(&self, pairs: &[Vec<Pair>]) -> Value {
        let one = |pair: &Pair| json!({ "plain": way_json(&pair.plain), "deflated": way_json(&pair.deflated) });
        let named = self.servers.iter().zip(pairs);
        named.map(|(server, list)| (server.name, list.iter().map(one).collect::<Value>())).collect()
    }
}

fn way_json(way: &Way) -> Value {
    json!({
        "bytes_up": way.up,
        "bytes_down": way.down,
        "messages": way.round.messages,
        "seconds": way.round.seconds,
        "server_cpu_seconds": way.round.server_cpu_seconds,
    })
}

fn line(label: &str, figure: &Figure, decimals: usize) -> String {
    let mut line = format!("{label:LABEL$}");
    for (spread, decimals) in
        figure.per_server.iter().map(|spread| (spread, decimals)).chain(figure.ratio.iter().map(|ratio| (ratio, 2)))
    {
        let _ = write!(line, "  {:>COLUMN$}", shown(spread, decimals));
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(bytes: usize, server_cpu_seconds: f64) -> Way {
        let (messages, seconds, generator_cpu_seconds, p50_micros, p99_micros) = (1000, 1.0, 0.0, 0.0, 0.0);
        let round = Round { messages, seconds, server_cpu_seconds, generator_cpu_seconds, p50_micros, p99_micros };
        Way { up: bytes, down: bytes, round }
    }

    #[test]
    fn what_compression_adds_and_saves_is_said_for_each_server_and_as_a_ratio() {
        let pairs = |added| vec![Pair { plain: way(1000, 0.005), deflated: way(500, 0.005 + added) }];
        let server = |name| Server { name, version: "1".into() };
        let sizes = vec![(996, vec![pairs(0.02), pairs(0.01)])];
        let servers = vec![server("switchboard"), server("bun")];
        let findings = Findings { cores: 2, busy: 0.5, connections: 64, servers, sizes };
        let text = findings.tables();
        let words = |label: &str| {
            let line = text.lines().find(|line| line.starts_with(label)).unwrap();
            line[LABEL..]
                .split_whitespace()
                .filter(|word| !word.starts_with('(') && !word.ends_with(')') && *word != "-")
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(words("what compression adds"), "20.00 10.00 2.00");
        assert_eq!(words("CPU with / without"), "5.00 3.00 1.67");
        assert_eq!(words("CPU per KB"), "20.00 10.00 2.00");
        assert_eq!(words("bytes to the client, with "), "500 500 1.00");
        assert_eq!(findings.to_json()["sizes"][0]["rounds"]["bun"][0]["deflated"]["bytes_up"], 500);
    }
}
