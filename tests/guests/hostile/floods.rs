//! Much of what is allowed: effects, lines, names, values and timers, far more than anybody needs.
//!
//! A flood goes on for a while after the host refused it, and then says how.

use std::hint::black_box;

use crate::bindings::{connections, log, rooms, store, timers, types};
use crate::{Tried, say};

const MILLION: u32 = 1_000_000;

pub fn run(connection: u64, what: &str) -> Tried {
    let (what, more) = what.split_once(' ').unwrap_or((what, ""));
    match what {
        "effects" => each(|_| say(connection, "x")),
        "rooms" => each(|n| rooms::join(connection, &format!("room {n}"), rooms::Replay::Nothing)),
        "publishes" => each(|n| rooms::publish(&format!("kept-{more}-{n}"), &message("x"), &[])),
        // As often as an event may, to everybody who is there.
        "fan-out" => (0..1000).try_for_each(|_| rooms::publish("@all", &message("x"), &[])),
        "store" => each(|n| store::set(&format!("key {more} {n}"), b"x", None)),
        "values" => each(|n| store::set(&format!("value {more} {n}"), &[b'x'; 60_000], None)),
        "counters" => each(|n| store::increment(&format!("counter {more} {n}"), 1, None).map(drop)),
        "timers" => each(|n| timers::set(connection, n, 0)),
        "state" => each(|n| connections::set_state(connection, &format!("key {n}"), Some(b"x"))),
        // Whoever has such an id, it is nobody's of this tenant.
        "ids" => each(|n| connections::send(more.parse::<u64>().expect("an id") + u64::from(n), &message("a secret"))),
        "guesses" => guess(connection, more),
        "lines" => lines(|| log::write("info", "", &[])),
        "words" => lines(|| log::write("error", &"x".repeat(5000), &[])),
        "stdout" => lines(|| println!("{}", "x".repeat(100))),
        "unended" => lines(|| print!("{}", "x".repeat(100))),
        "stderr" => lines(|| eprintln!()),
        "panic" => panic!("{}", "a long story ".repeat(10_000)),
        "exit" => std::process::exit(0),
        "random" => random(),
        "time" => time(),
        _ => panic!("there is no such flood: {what}"),
    }
}

fn message(text: &str) -> types::Message {
    types::Message::Text(text.to_owned())
}

/// Goes on where it is refused, and gives the first refusal.
fn each(mut ask: impl FnMut(u32) -> Tried) -> Tried {
    let mut outcome = Ok(());
    for n in 0..MILLION {
        let asked = ask(n);
        if outcome.is_ok() {
            outcome = asked;
        } else if n % 100_000 > 5000 {
            // So often that more of it says nothing new.
            break;
        }
    }
    outcome
}

fn lines(mut line: impl FnMut()) -> Tried {
    (0..20_000).for_each(|_| line());
    Ok(())
}

/// Asks for what others have under names that are easy to guess.
fn guess(connection: u64, names: &str) -> Tried {
    for name in names.split(',') {
        let found = (rooms::count(name)?, rooms::members(name, 100)?.len(), store::get(name)?);
        say(connection, &format!("{name}: {found:?}"))?;
        rooms::publish(name, &message("a secret"), &[])?;
    }
    Ok(())
}

/// The standard library seeds its maps from the host.
fn random() -> Tried {
    for _ in 0..100_000 {
        black_box(std::hash::RandomState::new());
    }
    Ok(())
}

fn time() -> Tried {
    let mut steps = std::collections::BTreeSet::new();
    for _ in 0..100_000 {
        steps.insert(std::time::Instant::now());
        black_box(std::time::SystemTime::now());
    }
    // A coarse clock has few of them, so that it measures nothing of others.
    assert!(steps.len() < 100, "the clock is fine: {} steps", steps.len());
    Ok(())
}
