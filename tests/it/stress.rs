//! Many connections on all workers at once: scenarios R4, R8 and B3 for as long as the machine is given to them.
//!
//! `SWITCHBOARD_STRESS_SECONDS` says how long each test writes, one second by default, and `SWITCHBOARD_STRESS_SEED` makes
//! the same choices again; a test that fails says which seed it had. One member hears all from the first message on and is
//! what all others are compared with, so a gap, a repeat or another order shows wherever it is.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use switchboard_harness::{Client, Received, Reuse, TestServer};

use crate::choices::Choices;
use crate::fixtures::setup;

/// What the room keeps.
const KEPT: usize = 200;
/// Who writes; there are three workers.
const WRITERS: usize = 6;
/// How the messages begin that tell whoever still listens that the flood is over.
const THE_END: &str = "the end";
/// The last message.
const OVER: &str = "over";
/// How many members do not read.
const SLOW: u64 = 4;
/// Publishes of one event.
const BATCH: usize = 20;
/// How far the writers may be ahead of the member that hears all, so that nobody who reads is too slow.
const AHEAD: usize = 200;

const SERVER: &str = r#"
    [server]
    workers = 3

    [[room]]
    name = "flood"
    keep = 200
    keep-bytes = 100000000

    [plugins.puppet]
    path = "puppet.wasm"

    [[route]]
    path = "/ws"
    handler = "puppet"
"#;

fn server(limits: &str) -> TestServer {
    setup(&format!("[server.limits]\n{limits}\n{SERVER}")).reuse(Reuse::Always).start()
}

/// How long each test goes on.
pub fn time() -> Duration {
    let seconds = std::env::var("SWITCHBOARD_STRESS_SECONDS").ok();
    Duration::from_secs(seconds.map_or(1, |seconds| seconds.parse().expect("SWITCHBOARD_STRESS_SECONDS is a number")))
}

/// What is kept of a message to be compared: a long one as its beginning and its length, for the sake of memory.
fn brief(message: String) -> String {
    match message.get(..32) {
        Some(beginning) => format!("{beginning} {}", message.len()),
        None => message,
    }
}

/// The writers' progress, and that of the member that hears all.
#[derive(Default)]
struct Flood {
    /// Each message is made longer by this.
    filler: String,
    /// How many connections must be found to be too slow before it ends.
    slow: u64,
    written: AtomicUsize,
    heard: AtomicUsize,
    over: AtomicBool,
    acted: AtomicBool,
}

impl Flood {
    /// Writes in batches until the time is over.
    async fn write(&self, server: &TestServer, name: usize) {
        let mut client = server.connect("/ws").await;
        let (until, filler) = (Instant::now() + time(), &self.filler);
        let mut number = 0;
        while Instant::now() < until || server.metrics().slow_consumers.get() < self.slow {
            while self.written.load(Ordering::Relaxed) > self.heard.load(Ordering::Relaxed) + AHEAD {
                tokio::task::yield_now().await;
            }
            self.written.fetch_add(BATCH, Ordering::Relaxed);
            let lines: Vec<_> = (number..number + BATCH).map(|n| format!("publish flood {name}:{n}{filler}")).collect();
            client.send(&format!("{}\nsend done", lines.join("\n"))).await;
            client.expect_text("done").await;
            number += BATCH;
        }
    }

    /// Hears all that is written, from the first message on.
    async fn hear(&self, mut client: Client) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != OVER) {
            heard.push(brief(client.text().await));
            self.heard.store(heard.len(), Ordering::Relaxed);
        }
        client.expect_nothing_more().await;
        heard
    }

    /// All writers at once, until the last has ended; then word of it until nobody acts any more.
    async fn run(&self, server: &TestServer) {
        join_all((0..WRITERS).map(|name| self.write(server, name))).await;
        self.over.store(true, Ordering::Relaxed);
        let mut client = server.connect("/ws").await;
        for number in 0.. {
            let last = self.acted.load(Ordering::Relaxed);
            let told = if last { OVER.to_owned() } else { format!("{THE_END} {number}") };
            client.send(&format!("publish flood {told}\nsend done")).await;
            client.expect_text("done").await;
            if last {
                break;
            }
        }
    }

    /// Floods the room while `act` does what it likes again and again, being told the epoch of the room's memory; gives
    /// what was heard and what came of it.
    async fn around<T, F: Future<Output = T>>(
        self: &Arc<Self>,
        server: &TestServer,
        mut act: impl FnMut(&str) -> F,
    ) -> (Vec<String>, Vec<T>) {
        let mut all = server.connect("/ws").await;
        all.send("join-newest 0 flood").await;
        let joined = all.text().await;
        let epoch = joined.trim_start_matches("joined flood ").split('-').next().expect("an epoch");
        let hearing = tokio::spawn({
            let flood = self.clone();
            async move { flood.hear(all).await }
        });
        let acting = async {
            let mut results = Vec::new();
            while !self.over.load(Ordering::Relaxed) {
                results.push(act(epoch).await);
            }
            self.acted.store(true, Ordering::Relaxed);
            results
        };
        let (_, results) = join(self.run(server), acting).await;
        (hearing.await.expect("it hears all"), results)
    }
}

/// What a member heard: the replay, how it was told that the join went, and what was live.
struct Stay {
    asked: String,
    replay: Vec<String>,
    joined: String,
    live: Vec<String>,
}

impl Stay {
    async fn new(server: &TestServer, asked: String, live: usize) -> Self {
        let mut client = server.connect("/ws").await;
        client.send(&asked).await;
        let mut stay = Self { asked, replay: Vec::new(), joined: String::new(), live: Vec::new() };
        while stay.joined.is_empty() {
            match client.text().await {
                told if told.starts_with("joined ") => stay.joined = told,
                message => stay.replay.push(brief(message)),
            }
        }
        while stay.live.len() < live && stay.live.last().is_none_or(|last| !last.starts_with(THE_END)) {
            stay.live.push(brief(client.text().await));
        }
        stay
    }

    fn newest(&self) -> usize {
        let place = self.joined.split(' ').nth(2).expect("a place");
        place.split('-').nth(1).and_then(|offset| offset.parse().ok()).expect("an offset")
    }

    /// Compares it with what was heard from the first message on, whose offset is 1.
    fn check(&self, heard: &[String]) {
        let newest = self.newest();
        let words: Vec<_> = self.asked.split([' ', '-']).collect();
        let kept = newest.min(KEPT);
        let (replayed, complete) = match words[..] {
            ["join", "newest", count, _] => (kept.min(count.parse().expect("a number")), true),
            ["join", "since", _, offset, _] => {
                let missed = newest - offset.parse::<usize>().expect("a number");
                (kept.min(missed), missed <= kept)
            }
            _ => panic!("{}", self.asked),
        };
        assert_eq!(self.joined.ends_with(" complete"), complete, "{}: {}", self.asked, self.joined);
        assert_eq!(self.replay, heard[newest - replayed..newest], "{}: {}", self.asked, self.joined);
        assert_eq!(self.live, heard[newest..newest + self.live.len()], "{}: {}", self.asked, self.joined);
    }
}

async fn replays_meet_what_is_live(filler: &str, limits: &str) {
    let (server, mut choices) = (server(limits), Choices::new());
    let flood = Arc::new(Flood { filler: filler.to_owned(), ..Flood::default() });
    let join_again = |epoch: &str| {
        let (live, back) = (choices.below(100), choices.below(KEPT * 2));
        let asked = match choices.below(2) {
            0 => format!("join-newest {} flood", choices.below(KEPT + 50)),
            _ => {
                let heard = flood.heard.load(Ordering::Relaxed);
                format!("join-since {epoch}-{} flood", heard.saturating_sub(back))
            }
        };
        Stay::new(&server, asked, live)
    };
    let (heard, stays) = flood.around(&server, join_again).await;
    assert!(!stays.is_empty());
    stays.iter().for_each(|stay| stay.check(&heard));
    eprintln!("{} messages, {} joins", heard.len(), stays.len());
}

#[tokio::test]
async fn r4_replays_meet_what_is_live_without_gap_or_repeat() {
    replays_meet_what_is_live("", "mailbox-messages = 100000").await;
}

#[tokio::test]
async fn r4_large_replays_too() {
    let limits = "mailbox-messages = 100000\nmailbox-bytes = 1000000000\nmessage-bytes = 4000000";
    replays_meet_what_is_live(&"x".repeat(64 * 1024), limits).await;
}

#[tokio::test]
async fn r8_members_come_and_go_in_a_flood_and_each_hears_all_of_its_stay_in_one_order() {
    let (server, flood, mut choices) =
        (server("mailbox-messages = 100000"), Arc::new(Flood::default()), Choices::new());
    let come_and_go = |_: &str| {
        let live = choices.below(50);
        let server = &server;
        async move {
            let mut client = server.connect("/ws").await;
            client.send("join flood\nsend joined").await;
            client.expect_text("joined").await;
            let mut live: Vec<String> = take(&mut client, live).await;
            client.send("leave flood\nsend left").await;
            loop {
                match client.text().await {
                    left if left == "left" => break,
                    message => live.push(message),
                }
            }
            client.expect_nothing_more().await;
            live
        }
    };
    let (heard, stays) = flood.around(&server, come_and_go).await;
    for stay in stays.iter().filter(|stay| !stay.is_empty()) {
        let first = heard.iter().position(|message| *message == stay[0]).expect("all is heard");
        assert_eq!(*stay, heard[first..first + stay.len()]);
    }
    for name in 0..WRITERS {
        let prefix = format!("{name}:");
        let numbers = heard.iter().filter_map(|message| message.strip_prefix(&prefix)?.parse::<usize>().ok());
        assert!(numbers.enumerate().all(|(index, number)| index == number), "each once, in the order of the calls");
    }
    eprintln!("{} messages, {} stays", heard.len(), stays.len());
}

/// So many messages, or fewer where the flood ends.
async fn take(client: &mut Client, count: usize) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    while taken.len() < count && taken.last().is_none_or(|last| !last.starts_with(THE_END)) {
        taken.push(client.text().await);
    }
    taken
}

#[tokio::test]
async fn b3_members_that_do_not_read_are_closed_and_the_others_lose_nothing() {
    let server = server("mailbox-bytes = 16000000\nmailbox-messages = 100000");
    let flood = Arc::new(Flood { filler: "x".repeat(16 * 1024), slow: SLOW, ..Flood::default() });
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut client = server.connect("/ws").await;
        client.send("join-newest 0 flood").await;
        client.text().await;
        slow.push(client);
    }
    let stays = |_: &str| Stay::new(&server, "join-newest 20 flood".into(), 50);
    let (heard, stays) = flood.around(&server, stays).await;
    stays.iter().for_each(|stay| stay.check(&heard));
    for mut client in slow {
        let mut read = 0;
        while let Received::Text(text) = client.receive().await {
            assert_eq!(brief(text), heard[read], "what it got before it was closed has no gap");
            read += 1;
        }
        assert!(read < heard.len());
    }
    assert_eq!(server.metrics().slow_consumers.get(), SLOW);
}
