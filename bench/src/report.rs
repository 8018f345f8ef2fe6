//! The tables for people: the median of the rounds, with the least and the greatest in parentheses.
//!
//! One table per cell of the load and one for memory; a column per server and one for the ratio. It only lays out
//! what `results` computes.

use std::fmt::Write;

use crate::idle::Idle;
use crate::results::{Figure, Results, Rounds};
use crate::round::Round;
use crate::stats::Spread;

const LABEL: usize = 28;
const COLUMN: usize = 34;

/// How much of it is shown.
#[derive(Clone, Copy, PartialEq)]
pub enum Detail {
    Brief,
    /// With what a message costs each side, the generator too.
    Costs,
}

pub fn tables(results: &Results, detail: Detail) -> String {
    let mut text = heading(results);
    for rounds in &results.cells {
        text += &cell_table(results, rounds, detail);
    }
    if let Some(idle) = results.idle.first().and_then(|rounds| rounds.first()) {
        let title = format!("{} idle connections, freshly started server", grouped(idle.connections as f64, 0));
        text += &columns(results, &title);
        text += &row("KB resident each", &Figure::of(&results.idle, kilobytes), 1);
    }
    text
}

fn heading(results: &Results) -> String {
    let servers: Vec<String> =
        results.servers.iter().map(|server| format!("{} {}", server.name, server.version)).collect();
    format!(
        "{}\n{}\nmedian of rounds of {:?} after {:?} of warm-up (least - greatest)\n",
        servers.join(", "),
        machine(results.cores),
        results.times.measured,
        results.times.warm_up,
    )
}

fn machine(cores: usize) -> String {
    match cores {
        0 | 1 => "1 core, for generator and servers".to_owned(),
        _ => format!("{cores} cores: the generator on one, each server on {}", cores - 1),
    }
}

fn cell_table(results: &Results, cell: &Rounds, detail: Detail) -> String {
    let mut text = columns(results, &cell.cell.to_string());
    text += &row("messages / server CPU-second", &cell.messages_per_cpu_second(), 0);
    text += &row("messages / second", &Figure::of(&cell.rounds, Round::messages_per_second), 0);
    text += &row("round trip p50, us", &Figure::of(&cell.rounds, |round| round.p50_micros), 0);
    text += &row("round trip p99, us", &Figure::of(&cell.rounds, |round| round.p99_micros), 0);
    if detail == Detail::Costs {
        text += &row("server CPU / message, us", &Figure::of(&cell.rounds, Round::server_micros), 2);
        text += &row("generator CPU / message, us", &Figure::of(&cell.rounds, Round::generator_micros), 2);
    }
    text
}

fn columns(results: &Results, title: &str) -> String {
    let mut line = format!("{:LABEL$}", "");
    for server in &results.servers {
        let _ = write!(line, "  {:>COLUMN$}", server.name);
    }
    if let [ours, theirs] = results.servers.as_slice() {
        let _ = write!(line, "  {:>COLUMN$}", format!("{} / {}", ours.name, theirs.name));
    }
    format!("\n{title}\n{line}\n")
}

fn row(label: &str, figure: &Figure, decimals: usize) -> String {
    let mut line = format!("{label:LABEL$}");
    for spread in &figure.per_server {
        let _ = write!(line, "  {:>COLUMN$}", shown(spread, decimals));
    }
    if let Some(ratio) = &figure.ratio {
        let _ = write!(line, "  {:>COLUMN$}", shown(ratio, 2));
    }
    line + "\n"
}

pub fn shown(spread: &Spread, decimals: usize) -> String {
    let [median, least, greatest] =
        [spread.median, spread.least, spread.greatest].map(|value| grouped(value, decimals));
    format!("{median} ({least} - {greatest})")
}

fn kilobytes(idle: &Idle) -> f64 {
    idle.bytes_per_connection() / 1e3
}

/// A number with a comma before every three digits of its whole part.
fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let whole = plain.find('.').unwrap_or(plain.len());
    let mut text = String::new();
    for (place, digit) in plain.char_indices() {
        let follows_digit = text.ends_with(|last: char| last.is_ascii_digit());
        if place < whole && follows_digit && (whole - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_parts_are_grouped() {
        assert_eq!(grouped(0.0, 0), "0");
        assert_eq!(grouped(999.0, 0), "999");
        assert_eq!(grouped(1000.0, 0), "1,000");
        assert_eq!(grouped(1234567.891, 2), "1,234,567.89");
        assert_eq!(grouped(-123456.0, 0), "-123,456");
        assert_eq!(grouped(f64::NAN, 1), "NaN");
    }

    #[test]
    fn a_spread_shows_its_range() {
        let spread = Spread { median: 1500.0, least: 900.4, greatest: 2000.0 };
        assert_eq!(shown(&spread, 0), "1,500 (900 - 2,000)");
    }
}
