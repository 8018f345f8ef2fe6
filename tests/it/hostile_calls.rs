//! Hostile arguments and results: what a guest hands to the host, far too large or simply wrong; and panics in every
//! callback.
//!
//! The guest has the memory for them, so that it is the host that refuses.

use switchboard_harness::{Record, TestServer, masked};

use crate::hostile::{BOUND, attacked_by, beside, beside_within, fault, hostile, sharing, sharing_within, with};
use crate::neighbour::alone;

/// What a guest hands over where it is more than the host takes in.
const HUGE: usize = 128 * 1024 * 1024;
/// What one event may ask for.
const EFFECTS: usize = 1000;
/// Room for that in the guest.
const ROOMY: &str = "guest-memory-bytes = 268435456, event-cpu-ms = 100000, event-wall-ms = 100000";

/// A server that gives its hostile tenant that room.
fn roomy(about: &str) -> TestServer {
    sharing_within(&ROOMY.replace(',', "\n"), &with(ROOMY, "../hostile.wasm", about)).start()
}

fn is_too_much(record: &Record) -> bool {
    record.message.contains("fuel allocated for hostcalls has been exhausted")
}

#[test]
fn arguments_of_128_mib_in_each_host_call() {
    const CALLS: [&str; 26] = [
        "send-text",
        "send-binary",
        "close",
        "ping",
        "pong",
        "get-state",
        "set-state-key",
        "set-state-value",
        "join",
        "leave",
        "publish-room",
        "publish-text",
        "members",
        "count",
        "history",
        "store-get",
        "store-set-key",
        "store-set-value",
        "store-remove",
        "store-increment",
        "log-level",
        "log-line",
        "log-name",
        "log-value",
        "log-fields",
        "log-enabled",
    ];
    alone("hostile_calls::arguments_of_128_mib_in_each_host_call", async {
        let server = roomy("");
        for call in CALLS {
            beside_within(HUGE + BOUND, &server, fault(&server, &format!("oversized {call}"))).await;
        }
        let told = server.log().records().into_iter().filter(is_too_much).count();
        assert_eq!((told, server.metrics().faults.get()), (CALLS.len(), CALLS.len() as u64));
    });
}

#[test]
fn arguments_that_the_host_takes_in_and_then_bounds() {
    const CALLS: [(&str, &str); 8] = [
        ("exclude", "oversized: quota"),
        ("all-members", "oversized: done"),
        ("all-history", "oversized: done"),
        ("timer", "oversized: done"),
        ("queued", "oversized: invalid"),
        ("some-fields", "oversized: done"),
        ("some-text", "oversized: quota"),
        ("some-key", "oversized: invalid"),
    ];
    alone("hostile_calls::arguments_that_the_host_takes_in_and_then_bounds", async {
        let server = roomy("");
        let mut client = server.connect("/hostile/ws").await;
        beside(&server, async {
            for (call, told) in CALLS {
                client.send(&format!("oversized {call}")).await;
                client.expect_text(told).await;
            }
        })
        .await;
        let longest = server.log().records().iter().map(|record| record.message.len()).max();
        assert!(longest.is_some_and(|longest| longest <= 4096), "{longest:?}");
        assert_eq!(server.metrics().over_quota.get(), 2);
    });
}

/// A tenant with a plugin for each of these words of its configuration, on a path of the same name, as handler or around
/// a puppet.
fn plugins(key: &str, words: &[(&str, &str)]) -> String {
    let mut file = format!("[tenant]\nlimits = {{ {ROOMY} }}\n[plugins]\npuppet = {{ path = '../puppet.wasm' }}\n");
    for (word, begin) in words {
        let config = format!("config = {{ {key} = '{word}', begin = '{begin}' }}");
        file.push_str(&format!("{word} = {{ path = '../hostile.wasm', {config} }}\n"));
    }
    file.push_str("[[room]]\nname = 'kept-*'\nkeep = 10\n");
    for (word, begin) in words {
        let route = match *begin {
            "around" => format!("handler = 'puppet'\nmiddleware = ['{word}']"),
            _ => format!("handler = '{word}'"),
        };
        file.push_str(&format!("[[route]]\npath = '/{word}'\n{route}\n"));
    }
    file
}

/// How many bytes the longest record of the log has.
fn longest(server: &TestServer) -> usize {
    let records = server.log().records();
    let length = |record: &Record| record.message.len() + record.fields.values().map(String::len).sum::<usize>();
    records.iter().map(length).max().unwrap_or_default()
}

#[test]
fn answers_to_a_handshake_that_cannot_be_given() {
    let words = [
        "accept-subprotocol",
        "accept-headers",
        "accept-many",
        "accept-name",
        "respond-body",
        "respond-headers",
        "respond-many",
        "close",
    ];
    let around = ["pass-headers", "pass-many", "gate-close"];
    let all: Vec<_> = words.map(|word| (word, "")).into_iter().chain(around.map(|word| (word, "around"))).collect();
    alone("hostile_calls::answers_to_a_handshake_that_cannot_be_given", async move {
        let server = sharing_within(&ROOMY.replace(',', "\n"), &plugins("result", &all)).start();
        for (word, _) in &all {
            let refused = async {
                let refused = server.request(&format!("/hostile/{word}")).refused().await;
                assert_eq!((refused.status, refused.body.as_str()), (500, "internal error\n"), "{word}");
            };
            beside_within(HUGE + BOUND, &server, refused).await;
        }
        assert_eq!(server.metrics().faults.get(), all.len() as u64);
        assert!(longest(&server) <= 20_000, "a record has {} bytes", longest(&server));
    });
}

#[test]
fn verdicts_and_words_that_cannot_be_given() {
    let words = ["in-replace", "in-close", "out-replace", "out-close", "in-replace-some", "out-replace-some"];
    alone("hostile_calls::verdicts_and_words_that_cannot_be_given", async move {
        let server =
            sharing_within(&ROOMY.replace(',', "\n"), &plugins("result", &words.map(|word| (word, "around")))).start();
        for word in words {
            let ended = async {
                let mut client = server.connect(&format!("/hostile/{word}")).await;
                client.send("send hello").await;
                client.expect_close(1011, "internal error").await;
            };
            beside_within(HUGE + BOUND, &server, ended).await;
        }
        assert_eq!(server.metrics().faults.get(), words.len() as u64);
        let of_size = server.log().records().iter().filter(|record| record.field("cause") == "answer").count();
        assert_eq!(of_size, 2, "those that the host could take in");
    });
}

#[test]
fn memory_that_the_guest_does_not_have() {
    alone("hostile_calls::memory_that_the_guest_does_not_have", async {
        for (name, told) in [("allocator", "realloc return"), ("pointers", "out of bounds")] {
            let server = attacked_by(name, "");
            beside(&server, async {
                match name {
                    "allocator" => assert_eq!(server.request("/hostile/ws").refused().await.status, 500),
                    _ => fault(&server, "").await,
                }
            })
            .await;
            let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
            assert!(fault.message.contains(told), "{fault}");
            assert_eq!(server.metrics().faults.get(), 1);
        }
    });
}

#[test]
fn a_panic_in_every_callback() {
    let words = [
        ("connect", ""),
        ("message", ""),
        ("disconnect", ""),
        ("timer", "timer"),
        ("joined", "join"),
        ("ping", ""),
        ("pong", ""),
        ("drained", ""),
        ("gate-connect", "around"),
        ("gate-disconnect", "around"),
        ("in", "around"),
        ("out", "around"),
        ("fault", "around"),
    ];
    alone("hostile_calls::a_panic_in_every_callback", async move {
        let server = sharing_within(&ROOMY.replace(',', "\n"), &plugins("panic", &words)).start();
        for (word, _) in words {
            beside(&server, panics(&server, word)).await;
        }
        // One is the puppet's, whose end the gate was to judge.
        server.until("all of them ended", |server| server.metrics().faults.get() == words.len() as u64 + 1).await;
        let panicked = |record: &&Record| record.field("printed").contains("this is where it ends");
        let panicked: Vec<_> =
            server.log().records().iter().filter(panicked).map(|r| r.field("plugin").to_owned()).collect();
        for (word, _) in words {
            assert!(panicked.contains(&format!("hostile/{word}")), "{word} is not among {panicked:?}");
        }
    });
}

/// Has a callback called, and expects the end that follows.
async fn panics(server: &TestServer, callback: &str) {
    let path = format!("/hostile/{callback}");
    if callback.ends_with("connect") && !callback.ends_with("disconnect") {
        assert_eq!(server.request(&path).refused().await.status, 500);
        return;
    }
    let mut client = server.connect(&path).await;
    match callback {
        "message" | "in" | "out" => client.send("send hello").await,
        "fault" => client.send("trap").await,
        "ping" => {
            client.ping(b"").await;
            client.expect_pong(b"").await;
        }
        "pong" => client.raw(&masked(0x8A, b"")).await,
        "drained" => {
            // More than half of a mailbox, all of which is delivered before.
            client.send("flood effects").await;
            for _ in 0..EFFECTS {
                client.expect_text("x").await;
            }
        }
        "disconnect" | "gate-disconnect" => {
            client.close(1000, "bye").await;
            return client.expect_close(1000, "bye").await;
        }
        _ => {}
    }
    client.expect_close(1011, "internal error").await;
}

#[test]
fn a_panic_that_tells_a_long_story() {
    alone("hostile_calls::a_panic_that_tells_a_long_story", async {
        let server = sharing(&hostile("event-cpu-ms = 10000")).start();
        beside(&server, async {
            for _ in 0..50 {
                fault(&server, "flood panic").await;
            }
        })
        .await;
        assert_eq!(server.metrics().faults.get(), 50);
        assert!(longest(&server) <= 40_000, "a record has {} bytes", longest(&server));
    });
}
