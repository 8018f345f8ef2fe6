//! What a run of the reload benchmark found: the table for people, the raw numbers for a file, and whether what was
//! demanded was met.
//!
//! Each figure is the median of the rounds with the least and the greatest; a target is held against the median.
//! Invariant: a target that is missed is said and fails nothing; only what was demanded on the command line does.

use std::fmt::Write;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{edit, gaps, quiet};
use crate::report::shown;
use crate::stats::Spread;

const LABEL: usize = 52;
const COLUMN: usize = 30;

/// Targets, in milliseconds.
const IDLE: f64 = 150.0;
const GAP: f64 = 20.0;
const EDIT: f64 = 2000.0;

pub struct Findings {
    pub version: String,
    pub cores: usize,
    /// Processes that wanted to run in the minute before the run.
    pub busy: f64,
    pub connections: usize,
    pub large_connections: usize,
    pub quiet: Vec<quiet::Round>,
    pub own: Vec<gaps::Round>,
    pub edit: Vec<edit::Round>,
    pub large: Vec<gaps::Round>,
}

/// What is demanded of a run, in milliseconds; none for what is not.
pub struct Demands {
    pub idle: Option<f64>,
    pub gap: Option<f64>,
    pub edit: Option<f64>,
}

impl Findings {
    pub fn table(&self) -> String {
        let mut text = format!(
            "switchboard {}, {} cores, load average before the run {:.1}\nmilliseconds: median of rounds (least - greatest)\n",
            self.version, self.cores, self.busy
        );
        text += &quiet_table(&self.quiet);
        text += &gap_table(
            &format!("{} connections, 1 in flight each, a swap of their plugin", self.connections),
            &self.own,
            Some(GAP),
        );
        text += &edit_table(&self.edit);
        text += &gap_table(
            &format!("{} connections at a message each 5 ms, a swap of a neighbor of 10 MiB", self.large_connections),
            &self.large,
            None,
        );
        text
    }

    pub fn to_json(&self) -> Value {
        json!({
            "version": self.version,
            "cores": self.cores,
            "load_average_before": self.busy,
            "idle": self.quiet.iter().map(quiet::Round::to_json).collect::<Vec<_>>(),
            "busy": { "connections": self.connections, "rounds": gaps_json(&self.own) },
            "dev": self.edit.iter().map(edit::Round::to_json).collect::<Vec<_>>(),
            "large": { "connections": self.large_connections, "rounds": gaps_json(&self.large) },
        })
    }

    pub fn hold_against(&self, demands: &Demands) -> Result<()> {
        let hold = |name: &str, most: Option<f64>, spread: Option<Spread>| match (most, spread) {
            (Some(most), Some(Spread { median, .. })) => {
                ensure!(median <= most, "{name}: {median:.1} ms is above {most}");
                Ok(())
            }
            (Some(_), None) => anyhow::bail!("{name}: it was not measured"),
            (None, _) => Ok(()),
        };
        hold("idle server", demands.idle, of(&self.quiet, |round| round.fresh.total))?;
        hold("added gap", demands.gap, of(&self.own, gaps::Round::added_p99))?;
        hold("edit under dev", demands.edit, of(&self.edit, |round| round.total))
    }
}

fn gaps_json(rounds: &[gaps::Round]) -> Vec<Value> {
    rounds.iter().map(gaps::Round::to_json).collect()
}

fn quiet_table(rounds: &[quiet::Round]) -> String {
    let Some(title) = title(rounds.len(), "idle server, from the rename to the first new answer") else {
        return String::new();
    };
    title
        + &row("content that the server never had", of(rounds, |round| round.fresh.total), Some(IDLE))
        + &row("  of it reading, compiling, trying", of(rounds, |round| round.fresh.taking), None)
        + &row("content from its cache", of(rounds, |round| round.cached.total), Some(IDLE))
        + &row("  of it reading, loading, trying", of(rounds, |round| round.cached.taking), None)
}

fn gap_table(name: &str, rounds: &[gaps::Round], target: Option<f64>) -> String {
    let Some(title) = title(rounds.len(), name) else { return String::new() };
    title
        + &row("longest gap with a swap, p50 of connections", of(rounds, |round| round.swapped.p50), None)
        + &row("longest gap without,     p50 of connections", of(rounds, |round| round.calm.p50), None)
        + &row("longest gap with a swap, p99 of connections", of(rounds, |round| round.swapped.p99), None)
        + &row("longest gap without,     p99 of connections", of(rounds, |round| round.calm.p99), None)
        + &row("what the swap adds at p99", of(rounds, gaps::Round::added_p99), target)
        + &row("longest gap with a swap, max", of(rounds, |round| round.swapped.max), None)
        + &row("longest gap without,     max", of(rounds, |round| round.calm.max), None)
        + &row("what the swap adds at max", of(rounds, gaps::Round::added_max), None)
        + &row("from the rename to the first new answer", of(rounds, |round| round.total), None)
        + &row("generator busy at a stretch, with a swap", of(rounds, |round| round.swapped.generator), None)
}

fn edit_table(rounds: &[edit::Round]) -> String {
    let Some(title) = title(rounds.len(), "dev, from the saved line to the new answer") else { return String::new() };
    title
        + &row("edit to answer", of(rounds, |round| round.total), Some(EDIT))
        + &row("  of it the build command", of(rounds, |round| round.build), None)
        + &row("  of it reading, compiling, trying", of(rounds, |round| round.compile), None)
        + &row("  of it the swap", of(rounds, |round| round.swap), None)
        + &row("  the rest: noticing, waiting for quiet", of(rounds, edit::Round::rest), None)
}

/// None where nothing was measured.
fn title(rounds: usize, name: &str) -> Option<String> {
    (rounds > 0).then(|| format!("\n{:LABEL$}  {:>COLUMN$}  target\n", name, format!("{rounds} rounds")))
}

fn of<T>(rounds: &[T], value: impl Fn(&T) -> f64) -> Option<Spread> {
    Spread::of(rounds.iter().map(value))
}

fn row(label: &str, spread: Option<Spread>, target: Option<f64>) -> String {
    let Some(spread) = spread else { return String::new() };
    let mut line = format!("{label:LABEL$}  {:>COLUMN$}", shown(&spread, 1));
    if let Some(target) = target {
        let judged = if spread.median <= target { "met" } else { "missed" };
        let _ = write!(line, "  {target} {judged}");
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_held_against_the_median() {
        let spread = Some(Spread { median: 20.0, least: 1.0, greatest: 90.0 });
        assert!(row("gap", spread, Some(20.0)).ends_with("20.0 (1.0 - 90.0)  20 met\n"));
        assert!(row("gap", spread, Some(19.0)).ends_with("  19 missed\n"));
        assert!(row("gap", spread, None).ends_with("(1.0 - 90.0)\n"));
    }
}
