//! A plugin is swapped while its connections stay open: X5, L1 and what of L4 the host has.
//!
//! What cannot take the place of a plugin that works is in `bad_builds`.

use std::cell::Cell;

use futures_util::future::{join, join_all};
use switchboard_harness::{Client, Reload, Reuse};

use crate::fixtures::{ANSWERS, components, serving, setup};

/// The generation that took over.
fn swapped(reload: Reload) -> u64 {
    match reload {
        Reload::Swapped { generation, .. } => generation,
        Reload::Unchanged | Reload::Shared { .. } => panic!("nothing was swapped"),
    }
}

#[tokio::test]
async fn x5_a_new_build_answers_in_the_connection_that_is_open() {
    let server = setup(ANSWERS).start();
    let mut ann = server.connect("/ws").await;
    ann.send("hi").await;
    ann.expect_text("1 hi").await;
    assert_eq!(server.reload("answers").await.expect("the file is good"), Reload::Unchanged);
    server.replace("answers", "answers_2");
    ann.send("not read yet").await;
    ann.expect_text("1 not read yet").await;
    assert_eq!(swapped(server.reload("answers").await.expect("the file is good")), 2);
    ann.send("hi").await;
    ann.expect_text("2 hi").await;
    assert_eq!((server.metrics().reloads.get(), server.metrics().connections.get()), (1, 1));
    let record = server.logged(|record| record.message == "reloaded").await;
    assert_eq!((record.field("plugin"), record.field("generation")), ("answers", "2"));
}

#[tokio::test]
async fn x5_a_watched_file_is_reloaded_by_itself() {
    let server = setup(ANSWERS).watch().start();
    let mut ann = server.connect("/ws").await;
    for (reloads, build) in [2, 3, 1].into_iter().enumerate() {
        server.replace("answers", &format!("answers_{build}"));
        server.until("it is reloaded", |server| server.metrics().reloads.get() > reloads as u64).await;
        ann.send("hi").await;
        ann.expect_text(&format!("{build} hi")).await;
    }
}

#[tokio::test]
async fn l4_state_rooms_and_the_request_outlive_a_reload() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws?do=join+lobby&do=set+mood+happy&bye=get+mood").await;
    let mut bob = server.connect("/ws?do=join+lobby&do=join+observers").await;
    server.replace_with("puppet", &components().rebuilt("puppet", 2));
    assert_eq!(swapped(server.reload("puppet").await.expect("the file is good")), 2);
    ann.send("get mood\ncount lobby").await;
    ann.expect_text("mood is happy").await;
    ann.expect_text("lobby has 2").await;
    bob.send("publish lobby hello").await;
    for client in [&mut ann, &mut bob] {
        client.expect_text("hello").await;
    }
    ann.send("trap").await;
    ann.expect_close(1011, "internal error").await;
    bob.expect_text("left 1011 \"internal error\"").await;
    let fault = server.logged(|record| record.field("cause") == "trap").await;
    assert_eq!(fault.field("generation"), "2");
    server.logged(|record| record.message == "mood is happy" && record.field("generation") == "2").await;
}

const CLIENTS: usize = 200;
const SWAPS: usize = 20;
/// Messages of one client that are on their way at once.
const IN_FLIGHT: usize = 4;

/// The build that is there after so many swaps.
fn build_after(swaps: usize) -> u8 {
    (swaps % 4) as u8 + 1
}

/// Random bytes that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.next() % 2000;
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self) -> String {
        let length = self.next() % 500;
        (0..length).map(|_| char::from_u32(self.next() as u32 % 0xD800).unwrap_or('x')).collect()
    }
}

/// One client of the swap under load.
struct Echoing {
    client: Client,
    random: Random,
}

impl Echoing {
    /// Sends and checks until it has seen the last swap. `begun` counts the swaps, and `seen` those whose result it saw.
    async fn run(&mut self, begun: &Cell<usize>, seen: &Cell<usize>) {
        while seen.get() < SWAPS {
            let sent: Vec<_> = (0..IN_FLIGHT).map(|_| (self.random.text(), self.random.bytes())).collect();
            for (text, bytes) in &sent {
                self.client.send(text).await;
                self.client.send_binary(bytes.clone()).await;
            }
            for (text, bytes) in &sent {
                let answer = self.client.text().await;
                let (build, content) = answer.split_once(' ').expect("a build and a text");
                assert_eq!(content, text);
                note(seen, build.parse().expect("a build"), begun.get());
                let answer = self.client.binary().await;
                assert_eq!(answer[1..], *bytes);
                note(seen, answer[0], begun.get());
            }
        }
    }
}

/// An answer comes from the build that was seen last or from one that followed it.
fn note(seen: &Cell<usize>, build: u8, begun: usize) {
    let found = (seen.get()..=begun).find(|swaps| build_after(*swaps) == build);
    let swaps = found.unwrap_or_else(|| panic!("build {build} after {} of {begun} swaps", seen.get()));
    seen.set(swaps);
}

#[tokio::test]
async fn l1_swaps_under_load_close_lose_double_and_reorder_nothing() {
    let server = setup(ANSWERS).reuse(Reuse::Always).start();
    let mut clients = Vec::new();
    for number in 1..=CLIENTS as u64 {
        let (client, random) = (server.connect("/ws").await, Random(number));
        clients.push(Echoing { client, random });
    }
    let begun = Cell::new(0);
    let seen: Vec<_> = (0..CLIENTS).map(|_| Cell::new(0)).collect();
    let swapping = async {
        for swaps in 1..=SWAPS {
            begun.set(swaps);
            server.replace("answers", &format!("answers_{}", build_after(swaps)));
            swapped(server.reload("answers").await.expect("the file is good"));
            server.until("all see the new answer", |_| seen.iter().all(|seen| seen.get() >= swaps)).await;
        }
    };
    let echoing = clients.iter_mut().zip(&seen).map(|(client, seen)| client.run(&begun, seen));
    join(swapping, join_all(echoing)).await;
    assert_eq!(server.metrics().connections.get(), CLIENTS as i64);
    assert_eq!(server.metrics().reloads.get(), SWAPS as u64);
    assert_eq!(server.metrics().faults.get(), 0);
    assert_eq!(server.metrics().messages_in.get(), server.metrics().messages_out.get());
}

#[tokio::test]
async fn l4_what_no_filter_wants_any_more_does_not_overtake_what_one_has_in_hand() {
    let server = setup(
        r#"
        [server]
        workers = 1

        [server.limits]
        event-cpu-ms = 60000
        event-wall-ms = 60000

        [plugins]
        puppet = { path = "puppet.wasm" }
        filter = { path = "link.wasm", config = { out = "await go", when = "first" } }

        [[route]]
        path = "/filtered"
        handler = "puppet"
        middleware = ["filter"]

        [[route]]
        path = "/plain"
        handler = "puppet"
        "#,
    )
    .reuse(Reuse::Always)
    .start();
    let mut ann = server.connect("/filtered").await;
    let mut bob = server.connect("/plain").await;
    ann.send("id").await;
    let id = ann.text().await;
    ann.send("send first").await;
    server.logged(|record| record.message == "out first").await;
    server.replace("filter", "judge");
    swapped(server.reload("filter").await.expect("the file is good"));
    bob.send(&format!("send-to {id} second\nsend the filter still waits")).await;
    bob.expect_text("the filter still waits").await;
    bob.send("join go").await;
    ann.expect_text("first").await;
    ann.expect_text("second").await;
}
