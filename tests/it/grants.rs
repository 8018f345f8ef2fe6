//! Grants: what a plugin may call beside its connections, and what becomes of a call that it is not granted.
//!
//! The puppet imports all and calls what its client says, so what it is told is the host's answer.

use switchboard_harness::{Client, Reuse, TestServer};

use crate::fixtures::setup;

fn server(grants: &str) -> TestServer {
    let toml = format!(
        r#"
        [plugins.puppet]
        path = "puppet.wasm"
        {grants}

        [[room]]
        name = "kept"
        keep = 10

        [[route]]
        path = "/ws"
        handler = "puppet"
        "#
    );
    setup(&toml).reuse(Reuse::Always).start()
}

/// One call of each interface, what it answers where all is granted, and where nothing is.
const CALLS: [(&str, &str, &str); 10] = [
    ("join lobby\nsend joined", "joined", "join: denied"),
    ("leave lobby\nsend left", "left", "leave: denied"),
    ("publish other x\nsend published", "published", "publish: denied"),
    ("count lobby", "lobby has 0", "count: denied"),
    ("history kept - 1", "0-0: ", "history: denied"),
    ("store-get key", "key is not set", "store-get: denied"),
    ("store-set key x\nsend set", "set", "store-set: denied"),
    ("increment hits 1", "hits is 1", "increment: denied"),
    ("timer 1 60000\nsend timer", "timer", "timer: denied"),
    ("timer-off 1\nsend off", "off", "timer-off: denied"),
];

#[tokio::test]
async fn a_plugin_without_a_list_is_granted_all() {
    let server = server("");
    let mut ann = server.connect("/ws").await;
    for (call, granted, _) in CALLS {
        ann.send(call).await;
        ann.expect_text(granted).await;
    }
    assert_eq!(server.metrics().denied.get(), 0);
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_counted_and_the_event_goes_on() {
    let server = server("grants = []");
    server.logged(|record| record.field("denied") == "rooms, store, timers").await;
    let mut ann = server.connect("/ws").await;
    for (count, (call, _, denied)) in (1..).zip(CALLS) {
        ann.send(call).await;
        ann.expect_text(denied).await;
        assert_eq!(server.metrics().denied.get(), count);
        if let Some((_, also)) = call.split_once('\n') {
            ann.expect_text(&also["send ".len()..]).await;
        }
    }
    ann.send("id").await;
    assert_ne!(ann.text().await, "", "connections are always granted");
}

#[tokio::test]
async fn each_interface_is_granted_by_itself() {
    for (grants, granted) in [("rooms", 0..5), ("store", 5..8), ("timers", 8..10)] {
        let server = server(&format!("grants = ['{grants}']"));
        let mut ann = server.connect("/ws").await;
        for (index, (call, allowed, denied)) in CALLS.into_iter().enumerate() {
            ann.send(call).await;
            ann.expect_text(if granted.contains(&index) { allowed } else { denied }).await;
            if let (false, Some((_, also))) = (granted.contains(&index), call.split_once('\n')) {
                ann.expect_text(&also["send ".len()..]).await;
            }
        }
    }
}

#[tokio::test]
async fn other_grants_take_effect_in_connections_that_are_open() {
    let config = |grants: &str| {
        format!("[plugins]\npuppet = {{ path = 'puppet.wasm'{grants} }}\n[[route]]\npath = '/ws'\nhandler = 'puppet'")
    };
    let server = setup(&config("")).reuse(Reuse::Always).start();
    let mut ann = server.connect("/ws").await;
    ann.send("store-get key").await;
    ann.expect_text("key is not set").await;
    server.reconfigure(&config(", grants = ['rooms']")).await.expect("it is right");
    ann.send("store-get key").await;
    ann.expect_text("store-get: denied").await;
}

fn dice(grants: &str) -> TestServer {
    let toml = format!("[plugins]\ndice = {{ path = 'dice.wasm'{grants} }}\n[[route]]\npath = '/ws'\nhandler = 'dice'");
    setup(&toml).start()
}

#[tokio::test]
async fn random_numbers_for_secrets_are_there_for_who_is_granted_them() {
    for grants in ["", ", grants = ['random']"] {
        let server = dice(grants);
        let mut ann = server.connect("/ws").await;
        for ask in ["secure 16", "number", "map"] {
            let mut told = Vec::new();
            for _ in 0..2 {
                ann.send(ask).await;
                told.push(ann.text().await);
            }
            assert!(told[0].starts_with(ask) && told[0] != told[1], "{told:?}");
        }
        assert_eq!(server.metrics().denied.get(), 0);
    }
}

#[tokio::test]
async fn a_call_for_random_numbers_that_is_not_granted_ends_the_event_and_says_so() {
    let server = dice(", grants = ['rooms']");
    server.logged(|record| record.field("denied") == "random").await;
    for (count, ask) in (1..).zip(["secure 16", "number"]) {
        let mut ann = server.connect("/ws").await;
        ann.send(ask).await;
        ann.expect_close(1011, "internal error").await;
        let why = "guest fault: wasi:random/random: this plugin is not granted `random`; its `grants` say what it is";
        server.logged(|record| record.message == why).await;
        assert_eq!((server.metrics().denied.get(), server.metrics().faults.get()), (count, count));
    }
    // What the standard library seeds its maps with is another thing, and another one for each instance.
    let mut bob = server.connect("/ws").await;
    let mut told = Vec::new();
    for _ in 0..2 {
        bob.send("map").await;
        told.push(bob.text().await);
    }
    assert_ne!(told[0], told[1]);
    assert_eq!(server.metrics().denied.get(), 2);
}

#[tokio::test]
async fn a_grant_that_there_is_not_is_a_problem_of_the_file() {
    let toml = "[plugins]\npuppet = { path = 'puppet.wasm', grants = ['everything'] }";
    let error = setup(toml).try_start().err().expect("it is wrong");
    assert!(error.contains(":2:") && error.contains("`everything`") && error.contains("`rooms`"), "{error}");
}

/// Asks how often the instance was called that takes this event.
async fn calls(client: &mut Client) -> String {
    client.send("calls").await;
    client.text().await
}

#[tokio::test]
async fn an_instance_takes_any_event_or_those_of_one_connection_or_one() {
    for (reuse, expected) in
        [("always", ["1", "2", "3", "4"]), ("connection", ["1", "1", "2", "2"]), ("never", ["1", "1", "1", "1"])]
    {
        let toml = format!(
            "[server]\nworkers = 1\n[plugins]\npuppet = {{ path = 'puppet.wasm', reuse = '{reuse}' }}\n
            [[route]]\npath = '/ws'\nhandler = 'puppet'"
        );
        let server = setup(&toml).reuse(Reuse::Always).start();
        let (mut ann, mut bob) = (server.connect("/ws").await, server.connect("/ws").await);
        let told = [calls(&mut ann).await, calls(&mut bob).await, calls(&mut ann).await, calls(&mut bob).await];
        assert_eq!(told, expected, "{reuse}");
    }
}
