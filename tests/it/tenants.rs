//! Tenants: what one has means nothing to another, and each comes, changes and goes while the server runs.
//!
//! All run the same component `puppet`, whose client says what it does; so a difference is the host's doing.

use switchboard_harness::{LoadError, Reload, Reuse, TestServer};

use crate::bad_builds::has_rejected;
use crate::fixtures::setup;

/// The server's own route.
pub const SERVER: &str = r#"
    [plugins.puppet]
    path = "puppet.wasm"

    [[room]]
    name = "kept"
    keep = 10

    [[route]]
    path = "/ws"
    handler = "puppet"
"#;

/// A tenant under its name, with this said of it.
pub fn tenant(about: &str) -> String {
    format!(
        r#"
        [tenant]
        {about}

        [plugins.puppet]
        path = "../puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        "#
    )
}

fn server() -> TestServer {
    setup(SERVER).tenant("acme", &tenant("")).tenant("umbrella", &tenant("")).reuse(Reuse::Always).start()
}

#[tokio::test]
async fn rooms_of_the_same_name_are_apart() {
    let server = server();
    let mut ann = server.connect("/acme/ws").await;
    let mut bob = server.connect("/umbrella/ws").await;
    let mut cy = server.connect("/ws").await;
    for client in [&mut ann, &mut bob, &mut cy] {
        client.send("join lobby\nsend joined").await;
        client.expect_text("joined").await;
    }
    for (client, text) in [(&mut ann, "of acme"), (&mut bob, "of umbrella"), (&mut cy, "of nobody")] {
        client.send(&format!("publish lobby {text}\npublish @all {text} too\ncount lobby\ncount @all")).await;
        for expected in [text, &format!("{text} too")] {
            client.expect_text(expected).await;
        }
        client.expect_text("lobby has 1").await;
        client.expect_text("@all has 1").await;
    }
    for client in [&mut ann, &mut bob, &mut cy] {
        client.expect_nothing_more().await;
    }
}

#[tokio::test]
async fn ids_of_another_tenants_connections_name_nobody() {
    let server = server();
    let mut ann = server.connect("/acme/ws").await;
    let mut bob = server.connect("/umbrella/ws").await;
    ann.send("id").await;
    let id = ann.text().await;
    bob.send(&format!("send-to {id} a secret\nclose-other {id} 4000 gone\nsend done")).await;
    bob.expect_text("done").await;
    ann.expect_nothing_more().await;
}

#[tokio::test]
async fn keys_of_the_same_name_are_apart() {
    let server = server();
    for (path, value) in [("/acme/ws", "one"), ("/umbrella/ws", "two"), ("/ws", "three")] {
        let mut client = server.connect(path).await;
        client.send(&format!("store-get key\nstore-set key {value}\nincrement hits 1")).await;
        client.expect_text("key is not set").await;
        client.expect_text("hits is 1").await;
        client.send("store-get key").await;
        client.expect_text(&format!("key is {value}")).await;
    }
}

#[tokio::test]
async fn a_host_of_a_tenant_is_all_its_own() {
    let hosts = tenant(r#"hosts = ["acme.example"]"#);
    let server = setup(SERVER).tenant("acme", &hosts).start();
    let at = |host: &str, path: &str| {
        server.request(path).without("host").header("host", host).origin(&format!("http://{host}"))
    };
    let mut ann = at("acme.example", "/ws").connect().await;
    let mut bob = at("other.example", "/ws").connect().await;
    ann.send("join lobby\nsend here").await;
    ann.expect_text("here").await;
    bob.send("count lobby").await;
    bob.expect_text("lobby has 0").await;
    assert_eq!(at("acme.example", "/other").refused().await.status, 404);
}

#[tokio::test]
async fn a_room_keeps_what_its_own_tenant_says() {
    let kept = tenant("") + "\n[[room]]\nname = 'own'\nkeep = 10";
    let server = setup(SERVER).tenant("acme", &kept).start();
    let (mut ann, mut bob) = (server.connect("/acme/ws").await, server.connect("/ws").await);
    ann.send("publish own one").await;
    ann.send("history own - 10\nhistory kept - 10").await;
    bob.send("history own - 10").await;
    ann.expect_text("1-1: 1 one").await;
    for client in [&mut ann, &mut bob] {
        client.expect_text("history: unsupported").await;
    }
}

#[tokio::test]
async fn a_tenant_is_suspended_and_comes_back_while_others_notice_nothing() {
    let server = server();
    let (mut ann, mut bob) = (server.connect("/acme/ws").await, server.connect("/umbrella/ws").await);
    server.change_tenant("acme", &tenant("suspended = true")).await.expect("it is right");
    ann.expect_close(1013, "suspended").await;
    let refused = server.request("/acme/ws").refused().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    bob.send("send still here").await;
    bob.expect_text("still here").await;
    server.change_tenant("acme", &tenant("")).await.expect("it is right");
    server.connect("/acme/ws").await.send("send back").await;
}

#[tokio::test]
async fn tenants_come_and_go_while_the_server_runs() {
    let server = server();
    let mut bob = server.connect("/umbrella/ws").await;
    server.change_tenant("initech", &tenant("")).await.expect("it is right");
    let mut ann = server.connect("/initech/ws").await;
    ann.send("join lobby\nstore-set key kept\nsend hello").await;
    ann.expect_text("hello").await;
    server.remove_tenant("initech").await.expect("one may go");
    ann.expect_close(1001, "route removed").await;
    assert_eq!(server.request("/initech/ws").refused().await.status, 404);
    bob.send("send still here").await;
    bob.expect_text("still here").await;
    server.change_tenant("initech", &tenant("")).await.expect("it is right");
    let mut ann = server.connect("/initech/ws").await;
    ann.send("store-get key").await;
    ann.expect_text("key is kept").await;
}

#[tokio::test]
async fn a_tenants_plugin_is_reloaded_by_its_whole_name() {
    let server = server();
    let mut ann = server.connect("/acme/ws").await;
    server.reload("acme/puppet").await.expect("the file is good");
    server.replace_with("acme/puppet", b"garbage");
    let error = server.reload("acme/puppet").await.expect_err("it is none");
    assert!(error.to_string().contains("plugin acme/puppet"), "{error}");
    ann.send("send still here").await;
    ann.expect_text("still here").await;
}

/// A plugin `chat` with this build behind `/ws`.
fn chat(build: &str) -> String {
    format!("[plugins.chat]\npath = '{build}.wasm'\n\n[[route]]\npath = '/ws'\nhandler = 'chat'\n")
}

/// Three plugins that their owners call `chat`, each with a build of its own: where they are, and what they say.
const CHATS: [(&str, &str, &str); 3] =
    [("chat", "/ws", "1 hi"), ("acme/chat", "/acme/ws", "2 hi"), ("umbrella/chat", "/umbrella/ws", "3 hi")];

fn chats() -> TestServer {
    setup(&chat("answers_1"))
        .tenant("acme", &chat("../answers_2"))
        .tenant("umbrella", &chat("../answers_3"))
        .reuse(Reuse::Always)
        .start()
}

async fn expect_own_builds(server: &TestServer) {
    for (_, path, answer) in CHATS {
        let mut client = server.connect(path).await;
        client.send("hi").await;
        client.expect_text(answer).await;
    }
}

#[tokio::test]
async fn plugins_with_broken_files_start_with_the_last_good_one_of_the_same_tenant() {
    let mut server = chats();
    for (broken, ..) in [CHATS[1], CHATS[0], CHATS[2]] {
        server.replace_with(broken, b"garbage");
        server.restart().await;
        let stood_in = "started with the last good component instead";
        server.logged(|record| record.field("plugin") == broken && record.message.starts_with(stood_in)).await;
        expect_own_builds(&server).await;
    }
}

#[tokio::test]
async fn a_file_that_is_rejected_for_one_tenant_is_not_for_another() {
    let mut server = chats();
    server.replace("acme/chat", "newborn_trap");
    assert!(matches!(server.reload("acme/chat").await, Ok(Reload::Swapped { .. })), "it starts well");
    expect_own_builds(&server).await;
    server.until("it is noted", |server| has_rejected(server, "acme/chat")).await;
    assert!(matches!(server.reload("acme/chat").await, Err(LoadError::Rejected(..))));
    for other in ["chat", "umbrella/chat"] {
        server.replace(other, "newborn_trap");
        assert!(matches!(server.reload(other).await, Ok(Reload::Swapped { .. })), "{other} has not tried it");
        assert!(!has_rejected(&server, other));
    }
    expect_own_builds(&server).await;
    server.until("it is noted", |server| CHATS.iter().all(|(plugin, ..)| has_rejected(server, plugin))).await;
    server.restart().await;
    expect_own_builds(&server).await;
}

#[tokio::test]
async fn what_is_wrong_in_a_tenants_file_is_told_with_file_and_line_and_changes_nothing() {
    let server = server();
    let wrong = |about: &str| tenant(about);
    for (toml, told) in [
        (wrong("limits = { effekts = 1 }"), "acme.toml:3:effekts: unknown key"),
        (wrong("limits = { drain-ms = 1 }"), "acme.toml:3:drain-ms: belongs to the server"),
        (wrong("limits = { cache-bytes = 1 }"), "acme.toml:3:cache-bytes: belongs to the server"),
        (wrong("limits = { effects = 0 }"), "acme.toml:3:effects: must be at least 1"),
        (wrong("limits = { guest-memory-bytes = 1000000000 }"), "acme.toml:3:guest-memory-bytes: is more than"),
        (wrong("prefix = 'acme'"), "acme.toml:3:prefix: `acme` must begin with '/'"),
        (wrong("hosts = ['a/b']"), "acme.toml:3:hosts: `a/b` is no host"),
        (wrong("prefix = '/umbrella'"), "umbrella.toml:"),
        (wrong("colour = 'red'"), "acme.toml:3:colour: unknown key"),
        (
            tenant("").replace("handler = \"puppet\"", "handler = \"umbrella/puppet\""),
            "there is no plugin `umbrella/puppet`",
        ),
    ] {
        let error = server.change_tenant("acme", &toml).await.expect_err("it is wrong");
        assert!(error.contains(told), "{error}\nshould tell {told}");
    }
    server.connect("/acme/ws").await.send("send still here").await;
}

#[tokio::test]
async fn a_file_that_appears_in_the_folder_is_a_new_tenant() {
    let server = setup(SERVER).tenant("umbrella", &tenant("")).watch().start();
    let new = server.folder().join("new");
    std::fs::write(&new, tenant("")).expect("a file can be written");
    std::fs::rename(&new, server.folder().join("tenants/acme.toml")).expect("a file can be renamed");
    server.until("it is there", |server| server.metrics().reconfigurations.get() > 0).await;
    server.connect("/acme/ws").await;
}
