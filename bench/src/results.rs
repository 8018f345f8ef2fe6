//! All that one run measured, before anyone decides how to show it.
//!
//! Lists that are "per server" have the order of `servers`: Switchboard first, the yardstick last. A ratio is always
//! the first divided by the last, of the same round, because the two ran right after one another.

use serde_json::{Value, json};

use crate::idle::Idle;
use crate::load::Cell;
use crate::round::{Round, Times};
use crate::stats::Spread;

pub struct Results {
    pub cores: usize,
    pub times: Times,
    pub servers: Vec<Server>,
    pub cells: Vec<Rounds>,
    /// Per server, then per round; empty where memory was not asked for.
    pub idle: Vec<Vec<Idle>>,
}

pub struct Server {
    pub name: &'static str,
    pub version: String,
}

pub struct Rounds {
    pub cell: Cell,
    /// Per server, then per round.
    pub rounds: Vec<Vec<Round>>,
}

/// One figure of each server, and the ratio where there are two.
pub struct Figure {
    pub per_server: Vec<Spread>,
    pub ratio: Option<Spread>,
}

impl Figure {
    /// `samples` is per server, then per round.
    pub fn of<T>(samples: &[Vec<T>], value: impl Fn(&T) -> f64) -> Self {
        let per_server = samples.iter().filter_map(|rounds| Spread::of(rounds.iter().map(&value))).collect();
        let ratio = match samples {
            [ours, theirs] => Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| value(ours) / value(theirs))),
            _ => None,
        };
        Self { per_server, ratio }
    }
}

impl Rounds {
    pub fn messages_per_cpu_second(&self) -> Figure {
        Figure::of(&self.rounds, Round::messages_per_cpu_second)
    }
}

impl Results {
    /// The raw numbers, for a file.
    pub fn to_json(&self) -> Value {
        json!({
            "cores": self.cores,
            "warm_up_seconds": self.times.warm_up.as_secs_f64(),
            "servers": self.servers.iter().map(server_json).collect::<Vec<_>>(),
            "cells": self.cells.iter().map(|rounds| self.cell_json(rounds)).collect::<Vec<_>>(),
            "idle": self.by_server(&self.idle, idle_json),
        })
    }

    fn cell_json(&self, rounds: &Rounds) -> Value {
        json!({
            "connections": rounds.cell.connections,
            "in_flight": rounds.cell.in_flight,
            "size": rounds.cell.size,
            "rounds": self.by_server(&rounds.rounds, round_json),
        })
    }

    fn by_server<T>(&self, samples: &[Vec<T>], one: impl Fn(&T) -> Value) -> Value {
        let named = self.servers.iter().zip(samples);
        named.map(|(server, list)| (server.name, Value::from_iter(list.iter().map(&one)))).collect()
    }
}

fn server_json(server: &Server) -> Value {
    json!({ "name": server.name, "version": server.version })
}

fn round_json(round: &Round) -> Value {
    json!({
        "messages": round.messages,
        "seconds": round.seconds,
        "server_cpu_seconds": round.server_cpu_seconds,
        "generator_cpu_seconds": round.generator_cpu_seconds,
        "round_trip_p50_micros": round.p50_micros,
        "round_trip_p99_micros": round.p99_micros,
    })
}

fn idle_json(idle: &Idle) -> Value {
    json!({
        "connections": idle.connections,
        "resident_bytes_before": idle.before,
        "resident_bytes_after": idle.after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_rounds_that_ran_together() {
        let figure = Figure::of(&[vec![1.0, 20.0, 6.0], vec![2.0, 20.0, 8.0]], |value| *value);
        assert_eq!(figure.ratio, Some(Spread { median: 0.75, least: 0.5, greatest: 1.0 }));
        assert_eq!(figure.per_server[1].median, 8.0);
    }

    #[test]
    fn one_server_alone_has_no_ratio() {
        assert!(Figure::of(&[vec![1.0]], |value| *value).ratio.is_none());
    }
}
