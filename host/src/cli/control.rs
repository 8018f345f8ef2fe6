//! `switchboard plugins`, `reload`, `rollback`, `promote`: what is asked of a server that runs.
//!
//! Finds the control socket through the project's configuration, sends one request and prints the answer. Whatever is
//! refused there is the error of the command here.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::admin::{Answer, Request};
use crate::config::Config;
use crate::engine::generation::States;
use crate::engine::plugin::{Record, Report};
use crate::engine::rollout::Seen;

/// So many generations are shown that do not serve.
const MAX_OTHERS: usize = 5;

/// Asks, and prints what comes back; a refusal is an error.
pub fn run(config: &Config, request: &Request) -> Result<()> {
    match ask(config, request)? {
        Answer::Done(sentence) => println!("{sentence}"),
        Answer::Refused(reason) => bail!("{reason}"),
        Answer::Plugins(reports) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let now = u64::try_from(now).unwrap_or(u64::MAX);
            let text: String = reports.iter().map(|report| lines(report, now)).collect();
            // Whoever has read enough of it closes the pipe.
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
    }
    Ok(())
}

fn ask(config: &Config, request: &Request) -> Result<Answer> {
    let shown = config.control.display();
    let mut stream = UnixStream::connect(&config.control).with_context(|| {
        format!("no server answers at {shown}; start one with `switchboard serve`, or name its project")
    })?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    serde_json::from_str(&answer).with_context(|| format!("the server at {shown} answered something else"))
}

/// A plugin in a few lines: what serves, the roll-out if there is one, what went wrong last, and what came before.
fn lines(report: &Report, now: u64) -> String {
    let (number, hash) = (report.generation, short(&report.hash));
    let present = report.records.iter().find(|record| record.generation == number);
    let since = present.map(|record| format!("  {}", origin(record, now))).unwrap_or_default();
    let mut text = format!("{}  generation {number}  {hash}{since}\n", report.plugin);
    if let Some(rollout) = &report.rollout {
        text += &format!(
            "  rolled out to {} % of the connections, in place of generation {}\n",
            rollout.share, rollout.before
        );
        text += &comparison([(number, &rollout.new), (rollout.before, &rollout.old)]);
        text += &carried(rollout.before, &rollout.old_states);
    }
    text += &carried(number, &report.states);
    if let Some(trouble) = &report.trouble {
        text += &format!("  not loaded: {trouble}\n");
    }
    let others = report.records.iter().rev().filter(|record| record.generation != number);
    let before = report.rollout.as_ref().map(|rollout| rollout.before);
    text + &others.take(MAX_OTHERS).map(|record| other(record, before, now)).collect::<String>()
}

/// What was seen of both sides of a roll-out, one below the other.
fn comparison(sides: [(u64, &Seen); 2]) -> String {
    let row = |name: &str, cells: [String; 5]| {
        let cells: String = cells.iter().map(|cell| format!("  {cell:>10}")).collect();
        format!("    {name:15}{cells}\n")
    };
    let heads = ["events", "faults", "ended", "p50", "p99"];
    let side = |(generation, seen): &(u64, &Seen)| {
        let counts = [seen.events, seen.faults, seen.closes].map(|count| count.to_string());
        let [events, faults, closes] = counts;
        row(&format!("generation {generation}"), [events, faults, closes, time(seen.p50_us), time(seen.p99_us)])
    };
    row("", heads.map(str::to_owned)) + &sides.iter().map(side).collect::<String>()
}

/// What a generation did with values that another build had stored; nothing where there is nothing to tell.
fn carried(generation: u64, states: &States) -> String {
    let States { version, migrated, rolled_back, reset } = states;
    if *states == States::default() {
        return String::new();
    }
    format!(
        "  state version {version} of generation {generation}: {migrated} values migrated, {rolled_back} gone back to, {reset} reset\n"
    )
}

/// A generation that is not the newest one; `before` is the one that serves beside that.
fn other(record: &Record, before: Option<u64>, now: u64) -> String {
    let (hash, origin, faults) = (short(&record.hash), origin(record, now), record.faults);
    let fate = match record.fate.as_str() {
        _ if before == Some(record.generation) => "serves beside it",
        "" => "replaced",
        fate => fate,
    };
    let plural = if faults == 1 { "" } else { "s" };
    format!("  generation {}  {hash}  {origin}, {faults} fault{plural}, {fate}\n", record.generation)
}

/// Who had a generation take over, and how long ago.
fn origin(record: &Record, now: u64) -> String {
    let seconds = now.saturating_sub(record.at) / 1000;
    let age = match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    };
    let by = if record.by == "start" { "at the start" } else { &format!("by {}", record.by) };
    format!("{by}, {age} ago")
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// A time of which only the power of two is known; none where nothing was seen.
fn time(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..10_000 => format!("< {micros} us"),
        _ => format!("< {} ms", micros / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plugin::RolloutReport;

    fn record(generation: u64, by: &str, fate: &str) -> Record {
        let (hash, by, fate) = ("0123456789abcdef".to_owned(), by.to_owned(), fate.to_owned());
        Record { generation, hash, at: 1000, by, took_ms: 5, faults: 1, fate }
    }

    #[test]
    fn a_roll_out_is_a_table_and_what_is_nothing_is_not_shown() {
        let new = Seen { events: 1204, faults: 2, closes: 3, p50_us: 64, p99_us: 16384 };
        let old = Seen { events: 9, faults: 0, closes: 0, p50_us: 0, p99_us: 0 };
        let rollout = RolloutReport { before: 1, share: 10, new, old, old_states: States::default() };
        let report = Report {
            plugin: "chat".to_owned(),
            generation: 2,
            hash: "0123456789abcdef".to_owned(),
            states: States { version: 1, migrated: 5, ..States::default() },
            rollout: Some(rollout),
            trouble: Some("plugin chat: no".to_owned()),
            records: vec![record(1, "start", ""), record(2, "command", "")],
        };
        let expected = "\
chat  generation 2  0123456789ab  by command, 3 min ago
  rolled out to 10 % of the connections, in place of generation 1
                         events      faults       ended         p50         p99
    generation 2           1204           2           3     < 64 us     < 16 ms
    generation 1              9           0           0           -           -
  state version 1 of generation 2: 5 values migrated, 0 gone back to, 0 reset
  not loaded: plugin chat: no
  generation 1  0123456789ab  at the start, 3 min ago, 1 fault, serves beside it
";
        assert_eq!(lines(&report, 181_000), expected);
        let (rollout, trouble, states) = (None, None, States::default());
        let calm = Report { rollout, trouble, states, records: vec![record(2, "file", "promoted")], ..report };
        assert_eq!(lines(&calm, 1000), "chat  generation 2  0123456789ab  by file, 0 s ago\n");
    }
}
