//! Floods: far more of what is allowed than anybody needs, and a look at what is others'.
//!
//! The guest has time for them, so that it is a limit of what is flooded that ends them.

use switchboard_harness::{Received, Record, TestServer};

use crate::hostile::{beside, fault, file, hostile, sharing, with};
use crate::hostile_bytes::handles;
use crate::neighbour::{alone, answer};

const LONG: &str = "event-cpu-ms = 100000, event-wall-ms = 100000";

/// A server whose hostile tenant has time, so that it is other limits that end a flood.
fn patient(limits: &str) -> TestServer {
    let limits = format!("{LONG}, {limits}");
    sharing_long(&hostile(&limits))
}

fn sharing_long(about: &str) -> TestServer {
    crate::hostile::sharing_within(&LONG.replace(',', "\n"), about).start()
}

/// Has a flood run some times, and be refused with this kind; gives how often the host refused.
async fn refused(server: &TestServer, flood: &str, kind: &str) -> u64 {
    let mut client = server.connect("/hostile/ws").await;
    beside(server, async {
        for time in 0..3 {
            client.send(&format!("flood {flood} {time}")).await;
            client.expect_text(&format!("flood: {kind}")).await;
        }
    })
    .await;
    assert_eq!(server.metrics().faults.get(), 0);
    server.metrics().over_quota.get()
}

#[test]
fn a_million_effects() {
    alone("hostile_floods::a_million_effects", async {
        let server = patient("effects = 100");
        let mut client = server.connect("/hostile/ws").await;
        beside(&server, async {
            client.send("flood effects").await;
            for _ in 0..100 {
                client.expect_text("x").await;
            }
            client.expect_nothing_more().await;
        })
        .await;
        assert!(server.metrics().over_quota.get() > 1000);
    });
}

#[test]
fn rooms_without_end() {
    alone("hostile_floods::rooms_without_end", async {
        let server = patient("rooms = 10");
        assert!(refused(&server, "rooms", "quota").await > 1000);
    });
}

#[test]
fn kept_rooms_without_end() {
    alone("hostile_floods::kept_rooms_without_end", async {
        let server = patient("history-bytes = 100000, effects = 900");
        let mut client = server.connect("/hostile/ws").await;
        beside(&server, async {
            for time in 0..100 {
                client.send(&format!("flood publishes {time}")).await;
                client.ping(b"next").await;
                // Where all effects were used up, there is no word on it.
                if client.receive().await == Received::Text("flood: quota".to_owned()) {
                    client.expect_pong(b"next").await;
                }
            }
        })
        .await;
        assert!(server.metrics().history_dropped.get() + server.metrics().over_quota.get() > 1000);
    });
}

#[test]
fn values_and_keys_without_end() {
    alone("hostile_floods::values_and_keys_without_end", async {
        let server = patient("store-keys = 100, store-bytes = 1000000");
        for flood in ["store", "values", "counters"] {
            assert!(refused(&server, flood, "quota").await > 1000, "{flood}");
        }
    });
}

#[test]
fn timers_without_end_each_of_which_sets_itself_again() {
    alone("hostile_floods::timers_without_end_each_of_which_sets_itself_again", async {
        let server = patient("timers = 10");
        assert!(refused(&server, "timers", "quota").await > 1000);
    });
}

#[test]
fn state_without_end() {
    alone("hostile_floods::state_without_end", async {
        let server = patient("state-bytes = 1000");
        assert!(refused(&server, "state", "too-large").await > 1000);
    });
}

#[test]
fn lines_without_end() {
    alone("hostile_floods::lines_without_end", async {
        let server = patient("log-bytes = 10000");
        let mut client = server.connect("/hostile/ws").await;
        for flood in ["lines", "words", "stdout", "unended", "stderr"] {
            beside(&server, async {
                client.send(&format!("flood {flood}")).await;
                client.expect_text("flood: done").await;
            })
            .await;
        }
        // One that is told goes a long way: others get their lines all the same.
        assert!(server.metrics().log_dropped.get() > 1_000_000);
        let of_hostile = |record: &&Record| record.is_of_guest() && record.field("plugin") == "hostile/hostile";
        let lines = server.log().records().iter().filter(of_hostile).count();
        assert!(lines < 20_000, "{lines} lines");
    });
}

#[test]
fn lines_of_fresh_instances_count_together() {
    alone("hostile_floods::lines_of_fresh_instances_count_together", async {
        let clock = switchboard_harness::Clock::manual();
        let fresh = switchboard_harness::Reuse::Never;
        let server = sharing(&hostile("log-bytes = 10000, event-cpu-ms = 1000")).clock(clock).reuse(fresh).start();
        let mut client = server.connect("/hostile/ws").await;
        for _ in 0..5 {
            client.send("flood stdout").await;
            client.expect_text("flood: done").await;
        }
        let of_hostile = |record: &&Record| record.is_of_guest() && record.field("plugin") == "hostile/hostile";
        let bytes: usize = server.log().records().iter().filter(of_hostile).map(|record| record.message.len()).sum();
        assert!(bytes <= 10_000, "{bytes} bytes in a second");
    });
}

#[test]
fn what_others_have_under_names_and_ids_that_can_be_guessed() {
    alone("hostile_floods::what_others_have_under_names_and_ids_that_can_be_guessed", async {
        let server = patient("effects = 100");
        let mut modest = server.connect("/modest/ws").await;
        modest.send("join lobby\nstore-set key value\nid").await;
        let id: u64 = modest.text().await.parse().expect("an id");
        let mut client = server.connect("/hostile/ws").await;
        beside(&server, async {
            client.send("flood guesses lobby,key,modest/lobby,@route/ws,@route/modest/ws").await;
            for name in ["lobby", "key", "modest/lobby", "@route/ws", "@route/modest/ws"] {
                client.expect_text(&format!("{name}: (0, 0, None)")).await;
            }
            client.expect_text("flood: done").await;
            // From the one of somebody else; a few later ones are the sender's own, and of those who ask meanwhile.
            client.send(&format!("flood ids {id}")).await;
            client.expect_text("a secret").await;
            client.expect_nothing_more().await;
        })
        .await;
        modest.expect_nothing_more().await;
        answer(&mut modest, 1).await;
    });
}

#[test]
fn clocks_and_random_numbers_without_end() {
    alone("hostile_floods::clocks_and_random_numbers_without_end", async {
        let about = with(LONG, "../hostile.wasm", "grants = ['rooms', 'store', 'timers']");
        let server = sharing_long(&about);
        let mut client = server.connect("/hostile/ws").await;
        for flood in ["time", "random"] {
            beside(&server, async {
                client.send(&format!("flood {flood}")).await;
                client.expect_text("flood: done").await;
            })
            .await;
        }
        assert_eq!(server.metrics().faults.get(), 0, "a clock that is not granted has few steps");
    });
}

#[test]
fn handles_without_end() {
    alone("hostile_floods::handles_without_end", async {
        let file = file("handles", &handles());
        let server = sharing_long(&with(LONG, &file.display().to_string(), ""));
        beside(&server, fault(&server, "")).await;
        assert_eq!((server.metrics().faults.get(), server.metrics().faults_deadline.get()), (1, 0));
    });
}

#[test]
fn a_guest_that_ends_its_own_process() {
    alone("hostile_floods::a_guest_that_ends_its_own_process", async {
        let server = sharing(&hostile("")).start();
        beside(&server, fault(&server, "flood exit")).await;
        assert_eq!(server.metrics().faults.get(), 1);
    });
}
