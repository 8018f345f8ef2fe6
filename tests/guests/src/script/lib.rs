//! What fixtures can be told to do, in words: a script has one command on each line.
//!
//! The puppet runs what its client says, and the link what its configuration says, so that a test shows all of what
//! happens in it. What the host refuses is logged as `VERB: KIND` and, where that is possible, said to the client.
//! Nothing is kept between two events.

pub mod answers;
pub mod moody;

use std::fmt::Display;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchboard_sdk::room::{Entry, Replay, Room};
use switchboard_sdk::{Close, Connection, Failure, Message, flow, log, store, timer};

/// Runs each line of a script.
pub fn run(connection: &Connection, script: &str) {
    for line in script.lines() {
        command(connection, line.trim());
    }
}

/// Runs one line.
pub fn command(connection: &Connection, line: &str) {
    let (verb, rest) = split(line);
    if let Err(failure) = ask(connection, verb, rest) {
        let told = format!("{verb}: {}", failure.kind());
        log::info(&told);
        // Over the effects of an event nothing more can be said; then the log has it.
        let _ = connection.send_text(told);
    }
}

/// The first word and what follows it.
pub fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

/// How often this instance was asked for it: what no plugin should keep.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// A close frame, written as `CODE REASON`.
pub fn close(words: &str) -> Close {
    let (code, reason) = split(words);
    Close::new(number(code), reason)
}

fn ask(connection: &Connection, verb: &str, rest: &str) -> Result<(), Failure> {
    match verb {
        "send" => connection.send_text(rest),
        "send-bytes" => connection.send_bytes(vec![b'x'; number(rest)]),
        "send-to" | "close-other" => to_other(connection, verb, rest),
        "ping" => connection.ping(rest.as_bytes()),
        "close" => connection.close(close(rest)),
        "id" => connection.send_text(connection.id().to_string()),
        "publish" | "publish-others" | "publish-bytes" => publish(connection, verb, rest),
        "join" => connection.join(rest),
        "join-newest" | "join-since" => join_with(connection, verb, rest),
        "history" => history(connection, rest),
        "leave" => connection.leave(rest),
        "count" => say(connection, format!("{rest} has {}", Room::named(rest).count()?)),
        "members" => members(connection, rest),
        "await" => await_room(rest),
        "set" => connection.set_state(split(rest).0, split(rest).1),
        "get" => get(connection, rest),
        "store-get" => store_get(connection, rest),
        "store-set" | "store-set-for" | "store-set-bytes" | "store-remove" => store_write(verb, rest),
        "increment" | "increment-for" => increment(connection, verb, rest),
        "calls" => say(connection, CALLS.fetch_add(1, Ordering::Relaxed).saturating_add(1).to_string()),
        "burn" => burn(rest),
        "repeat" => repeat(connection, rest),
        "pong" => connection.pong(rest.as_bytes()),
        "timer" => set_timer(connection, rest),
        "timer-off" => timer::cancel(connection, number(rest)),
        "queued" => say(connection, format!("queued {}", flow::queued(connection)?)),
        _ => misbehave(verb, rest),
    }
}

fn to_other(connection: &Connection, verb: &str, rest: &str) -> Result<(), Failure> {
    let (id, rest) = split(rest);
    match verb {
        "send-to" => connection.send_to(number(id), rest),
        _ => Connection::with_id(number(id)).close(close(rest)),
    }
}

fn publish(connection: &Connection, verb: &str, rest: &str) -> Result<(), Failure> {
    let (room, rest) = split(rest);
    match verb {
        "publish" => Room::named(room).publish(rest),
        "publish-others" => Room::named(room).publish_except(rest, &[connection.id()]),
        _ => Room::named(room).publish(vec![b'x'; number(rest)]),
    }
}

/// `join-newest COUNT ROOM` and `join-since EPOCH-OFFSET ROOM`.
fn join_with(connection: &Connection, verb: &str, rest: &str) -> Result<(), Failure> {
    let (what, room) = split(rest);
    match verb {
        "join-newest" => connection.join_with(room, Replay::Newest(number(what))),
        _ => connection.join_with(room, Replay::Since(number(what))),
    }
}

/// `history ROOM SINCE LIMIT` says what is kept: `1-3: 2 two, 3 three`. A `-` for SINCE leaves it out.
fn history(connection: &Connection, rest: &str) -> Result<(), Failure> {
    let (room, rest) = split(rest);
    let (since, limit) = split(rest);
    let since = (since != "-").then(|| number(since));
    let page = Room::named(room).history(since, number(limit))?;
    let entry = |entry: &Entry| format!("{} {}", entry.offset, shown(&entry.message));
    let entries: Vec<String> = page.entries.iter().map(entry).collect();
    say(connection, format!("{}-{}: {}", page.oldest, page.newest, entries.join(", ")))
}

/// A text as it is, and of bytes how many there are.
pub fn shown(message: &Message) -> String {
    message.text().map_or_else(|_| format!("{} bytes", message.len()), str::to_owned)
}

fn members(connection: &Connection, room: &str) -> Result<(), Failure> {
    let mut members = Room::named(room).members(1000)?;
    members.sort_unstable();
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    connection.send_text(members.join(" "))
}

fn get(connection: &Connection, key: &str) -> Result<(), Failure> {
    let value: Option<String> = connection.state(key)?;
    say(connection, value.map_or_else(|| format!("{key} is not set"), |value| format!("{key} is {value}")))
}

fn store_get(connection: &Connection, key: &str) -> Result<(), Failure> {
    let value = store::get(key)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    say(connection, value.map_or_else(|| format!("{key} is not set"), |value| format!("{key} is {value}")))
}

fn store_write(verb: &str, rest: &str) -> Result<(), Failure> {
    let (ttl, rest) = time_to_live(verb, rest);
    let (key, value) = split(rest);
    match verb {
        "store-remove" => store::remove(key),
        "store-set-bytes" => store::set(key, &vec![b'x'; number(value)], None),
        _ => store::set(key, value.as_bytes(), ttl),
    }
}

fn increment(connection: &Connection, verb: &str, rest: &str) -> Result<(), Failure> {
    let (ttl, rest) = time_to_live(verb, rest);
    let (key, by) = split(rest);
    say(connection, format!("{key} is {}", store::increment(key, number(by), ttl)?))
}

/// The first word, in milliseconds, of commands that take it.
fn time_to_live<'a>(verb: &str, rest: &'a str) -> (Option<Duration>, &'a str) {
    if !verb.ends_with("-for") {
        return (None, rest);
    }
    let (ms, rest) = split(rest);
    (Some(Duration::from_millis(number(ms))), rest)
}

/// Also to the log, for an event whose connection hears nothing any more.
fn say(connection: &Connection, told: String) -> Result<(), Failure> {
    log::info(&told);
    connection.send_text(told)
}

/// `TOKEN MILLISECONDS`
fn set_timer(connection: &Connection, rest: &str) -> Result<(), Failure> {
    let (token, after) = split(rest);
    timer::set(connection, number(token), Duration::from_millis(number(after)))
}

fn repeat(connection: &Connection, rest: &str) -> Result<(), Failure> {
    let (times, line) = split(rest);
    for _ in 0..number::<usize>(times) {
        command(connection, line);
    }
    Ok(())
}

/// Runs on until somebody is in the room: an event that waits, and is well all the same.
fn await_room(room: &str) -> Result<(), Failure> {
    while Room::named(room).count()? == 0 {
        std::hint::spin_loop();
    }
    Ok(())
}

/// Works for a while, in millions of steps: an event that wants much, and is well all the same.
fn burn(millions: &str) -> Result<(), Failure> {
    for step in 0..number::<u64>(millions) * 1_000_000 {
        black_box(step);
    }
    Ok(())
}

/// What no plugin should do. Not inlined: tests look for it in backtraces.
#[inline(never)]
fn misbehave(verb: &str, rest: &str) -> Result<(), Failure> {
    match verb {
        "trap" => panic!("{rest}"),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "grow" => drop(black_box(vec![1_u8; number(rest)])),
        "print" => println!("{rest}"),
        "log" => log::info(rest),
        _ => panic!("there is no command `{verb}`"),
    }
    Ok(())
}

fn number<N: FromStr<Err: Display>>(text: &str) -> N {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
}
