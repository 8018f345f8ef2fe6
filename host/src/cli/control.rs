//! `switchboard plugins`, `reload`, `rollback`, `promote`: what is asked of a server that runs.
//!
//! Finds the control socket through the project's configuration, sends one request and prints the answer. Whatever is
//! refused there is the error of the command here.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};

use crate::admin::{Answer, Request};
use crate::config::Config;
use crate::engine::plugin::Report;
use crate::engine::rollout::Seen;

/// Asks, and prints what comes back; a refusal is an error.
pub fn run(config: &Config, request: &Request) -> Result<()> {
    match ask(config, request)? {
        Answer::Done(sentence) => println!("{sentence}"),
        Answer::Refused(reason) => bail!("{reason}"),
        Answer::Plugins(reports) => reports.iter().for_each(print),
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
fn print(report: &Report) {
    println!("{}  generation {}  {}", report.plugin, report.generation, short(&report.hash));
    if let Some(rollout) = &report.rollout {
        println!("  rolled out to {} % of the connections, in place of generation {}", rollout.share, rollout.before);
        println!("    new     {}", seen(&rollout.new));
        println!("    before  {}", seen(&rollout.old));
    }
    if let Some(trouble) = &report.trouble {
        println!("  not loaded: {trouble}");
    }
    for record in report.records.iter().rev().skip(1).take(5) {
        let fate = if record.fate.is_empty() { "replaced" } else { &record.fate };
        println!(
            "  generation {}  {}  by {}, {} faults, {fate}",
            record.generation,
            short(&record.hash),
            record.by,
            record.faults
        );
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn seen(seen: &Seen) -> String {
    let Seen { events, faults, closes, p50_us, p99_us } = seen;
    format!("{events} events, {faults} faults, {closes} connections ended, p50 {p50_us} us, p99 {p99_us} us")
}
