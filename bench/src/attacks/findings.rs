//! What a run of the attack benchmark found: the tables for people, the raw numbers for a file, and whether what was
//! demanded was met.
//!
//! Each figure is the median of the rounds; what an attack adds at p99 is shown with the least and the greatest too, and
//! held against its target.
//! Invariant: a target that is missed is said and fails nothing; a message that is lost fails the run, and so does what was
//! demanded on the command line.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::attacker::Tally;
use super::corpus::Weight;
use super::crowd;
use crate::load::{Load, Sampled};
use crate::proc;
use crate::report::shown;
use crate::stats::{Spread, percentile};

const LABEL: usize = 20;
const COLUMN: usize = 8;
const RANGE: usize = 24;
/// What the names of a server's worker threads begin with.
const WORKERS: &str = "worker-";

/// A column of the table, of which the median of the rounds is shown.
struct Column {
    name: &'static str,
    decimals: usize,
    value: fn(&Round) -> f64,
}

const COLUMNS: [Column; 12] = [
    Column { name: "p50", decimals: 2, value: |round| round.calm.p50 },
    Column { name: "p99", decimals: 2, value: |round| round.calm.p99 },
    Column { name: "max", decimals: 2, value: |round| round.calm.max },
    Column { name: "taken %", decimals: 0, value: |round| round.calm.waited },
    Column { name: "p50", decimals: 2, value: |round| round.attacked.p50 },
    Column { name: "p99", decimals: 2, value: |round| round.attacked.p99 },
    Column { name: "max", decimals: 2, value: |round| round.attacked.max },
    Column { name: "taken %", decimals: 0, value: |round| round.attacked.waited },
    Column { name: "attacks", decimals: 0, value: |round| round.done.events },
    Column { name: "refused", decimals: 0, value: |round| round.done.turned_away },
    Column { name: "late", decimals: 2, value: |round| round.attacked.late },
    Column { name: "busy", decimals: 2, value: |round| round.attacked.generator },
];

pub struct Findings {
    pub version: String,
    pub cores: usize,
    /// Processes that wanted to run in the minute before the run.
    pub busy: f64,
    pub attacks: Vec<Attacked>,
    pub crowd: Option<Attacked>,
}

/// One attack, or the crowd, which has no target.
pub struct Attacked {
    pub name: &'static str,
    pub weight: Option<Weight>,
    /// Or why it could not be measured to its end: something was lost.
    pub rounds: Result<Vec<Round>>,
}

pub struct Round {
    pub calm: Half,
    pub attacked: Half,
    pub done: Rates,
}

/// Round trips in milliseconds, and what the generator did to them.
pub struct Half {
    pub messages: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    /// How late messages were written, at p99.
    pub late: f64,
    /// The longest that the generator was busy at a stretch.
    pub generator: f64,
    /// How much of the time a worker was ready and something else had its core, in percent.
    pub waited: f64,
}

/// A second.
#[derive(Clone, Copy)]
pub struct Rates {
    pub events: f64,
    pub turned_away: f64,
}

/// What is demanded of what attacks add at p99, in milliseconds; none for what is not.
pub struct Demands {
    pub added: Option<f64>,
    pub added_bulk: Option<f64>,
}

impl Tally {
    pub fn since(self, before: Self) -> Self {
        Self { events: self.events - before.events, turned_away: self.turned_away - before.turned_away }
    }

    pub fn per(self, time: Duration) -> Rates {
        let rate = |count: u64| count as f64 / time.as_secs_f64();
        Rates { events: rate(self.events), turned_away: rate(self.turned_away) }
    }
}

impl Half {
    /// What was timed meanwhile, on a server with this many workers.
    pub fn measure(load: &mut Load, time: Duration, (pid, workers): (u32, usize)) -> Result<Self> {
        let before = proc::waited_seconds(pid, WORKERS)?;
        let sampled = load.sample(time)?;
        let waited = proc::waited_seconds(pid, WORKERS)? - before;
        let percent = 100.0 * waited / (time.as_secs_f64() * workers as f64);
        Ok(Self { waited: percent, ..Self::of(sampled) })
    }

    fn of(Sampled { mut round_trips, mut late, turn }: Sampled) -> Self {
        let milliseconds = |nanoseconds: u32| f64::from(nanoseconds) / 1e6;
        let mut at = |percent| milliseconds(percentile(&mut round_trips, percent));
        let (p50, p99, max) = (at(50), at(99), at(100));
        let late = milliseconds(percentile(&mut late, 99));
        Self { messages: round_trips.len(), p50, p99, max, late, generator: milliseconds(turn), waited: 0.0 }
    }

    fn to_json(&self) -> Value {
        let Self { messages, p50, p99, max, late, generator, waited } = self;
        json!({
            "messages": messages, "p50_ms": p50, "p99_ms": p99, "max_ms": max,
            "late_p99_ms": late, "generator_ms": generator, "worker_waited_percent": waited,
        })
    }
}

impl Round {
    /// What the attack adds to the round trips.
    pub fn added(&self) -> f64 {
        self.attacked.p99 - self.calm.p99
    }

    fn to_json(&self) -> Value {
        let Rates { events, turned_away } = self.done;
        json!({
            "undisturbed": self.calm.to_json(), "attacked": self.attacked.to_json(),
            "attacks_per_second": events, "turned_away_per_second": turned_away,
        })
    }
}

impl Attacked {
    fn target(&self) -> Option<f64> {
        self.weight.map(Weight::target)
    }

    fn added(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().flatten().map(Round::added))
    }

    fn to_json(&self) -> Value {
        let rounds: Vec<_> = self.rounds.iter().flatten().map(Round::to_json).collect();
        let failure = self.rounds.as_ref().err().map(|error| format!("{error:#}"));
        json!({ "name": self.name, "target_ms": self.target(), "rounds": rounds, "failure": failure })
    }

    fn row(&self) -> String {
        let rounds = match &self.rounds {
            Ok(rounds) => rounds,
            Err(error) => return format!("{:LABEL$}  {error:#}\n", self.name),
        };
        let mut row = format!("{:LABEL$}", self.name);
        for Column { decimals, value, .. } in &COLUMNS {
            let median = Spread::of(rounds.iter().map(value)).map_or(0.0, |spread| spread.median);
            // Writing to a string does not fail.
            let _ = write!(row, "{median:>COLUMN$.decimals$}");
        }
        let added = self.added().map(|spread| shown(&spread, 1)).unwrap_or_default();
        let _ = write!(row, "  {added:>RANGE$}");
        if let (Some(target), Some(added)) = (self.target(), self.added()) {
            let judged = if added.median <= target { "met" } else { "missed" };
            let _ = write!(row, "  {target} {judged}");
        }
        row + "\n"
    }
}

impl Findings {
    pub fn table(&self) -> String {
        let mut text = format!(
            "switchboard {}, {} cores, load average before the run {:.1}\n\
             milliseconds: median of rounds; what is added at p99: median (least - greatest)\n",
            self.version, self.cores, self.busy
        );
        if !self.attacks.is_empty() {
            text += &heading("one worker, 20 connections at a message each 5 ms");
            text.extend(self.attacks.iter().map(Attacked::row));
        }
        if let Some(crowd) = &self.crowd {
            text += &heading(&format!(
                "{} workers, {} tenants, {} of them hostile, {} connections each, a message each {} ms",
                crowd::WORKERS,
                crowd::TENANTS,
                crowd::HOSTILE,
                crowd::CONNECTIONS,
                crowd::PAUSE.as_millis()
            ));
            text += &crowd.row();
        }
        text
    }

    pub fn to_json(&self) -> Value {
        json!({
            "version": self.version,
            "cores": self.cores,
            "load_average_before": self.busy,
            "attacks": self.attacks.iter().map(Attacked::to_json).collect::<Vec<_>>(),
            "crowd": self.crowd.as_ref().map(Attacked::to_json),
        })
    }

    pub fn hold_against(&self, demands: &Demands) -> Result<()> {
        let all = || self.attacks.iter().chain(&self.crowd);
        if let Some((name, error)) = all().find_map(|attacked| Some((attacked.name, attacked.rounds.as_ref().err()?))) {
            bail!("{name}: {error:#}");
        }
        for (weight, most) in [(Weight::Ordinary, demands.added), (Weight::Bulk, demands.added_bulk)] {
            let Some(most) = most else { continue };
            for attacked in self.attacks.iter().filter(|attacked| attacked.weight == Some(weight)) {
                let added = attacked.added().map_or(f64::INFINITY, |spread| spread.median);
                ensure!(added <= most, "{}: it adds {added:.1} ms at p99, more than {most}", attacked.name);
            }
        }
        Ok(())
    }
}

fn heading(scene: &str) -> String {
    let group = |name: &str, columns: usize| format!("{name:>width$}", width = columns * COLUMN);
    let groups = [group("undisturbed", 4), group("attacked", 4), group("a second", 2), group("generator", 2)];
    let names: String = COLUMNS.iter().map(|column| format!("{:>COLUMN$}", column.name)).collect();
    format!("\n{scene}\n{:LABEL$}{}\n{:LABEL$}{names}  {:>RANGE$}  target\n", "", groups.concat(), "", "added at p99")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(p99: f64) -> Half {
        Half { messages: 100, p50: 0.1, p99, max: 2.0 * p99, late: 0.0, generator: 0.0, waited: 0.0 }
    }

    fn attacked(weight: Weight, added: &[f64]) -> Attacked {
        let done = Rates { events: 7.0, turned_away: 0.0 };
        let rounds = added.iter().map(|added| Round { calm: half(1.0), attacked: half(1.0 + added), done }).collect();
        Attacked { name: "attack", weight: Some(weight), rounds: Ok(rounds) }
    }

    fn findings(attacks: Vec<Attacked>) -> Findings {
        Findings { version: String::new(), cores: 2, busy: 0.0, attacks, crowd: None }
    }

    const NONE: Demands = Demands { added: None, added_bulk: None };

    #[test]
    fn round_trips_become_milliseconds() {
        let round_trips = (1..=100).map(|number| number * 1_000_000).collect();
        let half = Half::of(Sampled { round_trips, late: vec![500_000], turn: 250_000 });
        assert_eq!((half.messages, half.p50, half.p99, half.max), (100, 50.0, 99.0, 100.0));
        assert_eq!((half.late, half.generator), (0.5, 0.25));
    }

    #[test]
    fn events_are_counted_from_where_it_is_measured() {
        let (before, after) = (Tally { events: 10, turned_away: 1 }, Tally { events: 40, turned_away: 3 });
        let rates = after.since(before).per(Duration::from_secs(2));
        assert_eq!((rates.events, rates.turned_away), (15.0, 1.0));
    }

    #[test]
    fn a_target_is_held_against_the_median() {
        assert!(attacked(Weight::Ordinary, &[1.0, 4.0, 90.0]).row().ends_with("  5 met\n"));
        assert!(attacked(Weight::Ordinary, &[1.0, 6.0, 90.0]).row().ends_with("  5 missed\n"));
        assert!(attacked(Weight::Bulk, &[59.0]).row().ends_with("  60 met\n"));
    }

    #[test]
    fn only_what_is_demanded_fails_a_run() {
        let missed = findings(vec![attacked(Weight::Ordinary, &[6.0])]);
        assert!(missed.hold_against(&NONE).is_ok());
        assert!(missed.hold_against(&Demands { added: Some(5.0), ..NONE }).is_err());
        assert!(missed.hold_against(&Demands { added: Some(7.0), ..NONE }).is_ok());
        assert!(missed.hold_against(&Demands { added_bulk: Some(5.0), ..NONE }).is_ok());
    }

    #[test]
    fn what_is_lost_fails_a_run_and_hides_no_other_attack() {
        let lost =
            Attacked { rounds: Err(anyhow::anyhow!("the server closed a connection")), ..attacked(Weight::Bulk, &[]) };
        let findings = findings(vec![lost, attacked(Weight::Bulk, &[1.0])]);
        assert!(findings.hold_against(&NONE).is_err());
        let table = findings.table();
        assert!(table.contains("the server closed a connection") && table.contains("60 met"), "{table}");
    }
}
