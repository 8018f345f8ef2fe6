//! The configuration changes while its server runs: L7, and what of 6 in the guarantees it stands for.
//!
//! New connections follow the new file, open ones keep their route and its chain; a file with an error changes nothing.

use std::cell::Cell;

use futures_util::future::{join, join_all};
use switchboard_harness::{Client, Record, TestServer};

use crate::fixtures::{ANSWERS, serving, setup, start};

const PLUGINS: &str = r#"
    [plugins.puppet]
    path = "puppet.wasm"

    [plugins.outer]
    path = "link.wasm"
    config = { in = "send outer" }

    [plugins.inner]
    path = "link.wasm"
    config = { in = "send inner" }
"#;

/// The plugins, with this in front of them and that behind.
pub fn with(front: &str, behind: &str) -> String {
    format!("{front}\n{PLUGINS}\n{behind}")
}

/// A route of the puppet with these keys.
pub fn route(path: &str, keys: &str) -> String {
    format!("[[route]]\npath = '{path}'\nhandler = 'puppet'\n{keys}\n")
}

/// Has the puppet say something, and hears it.
pub async fn says(client: &mut Client, what: &str) {
    client.send(&format!("send {what}")).await;
    client.expect_text(what).await;
}

#[tokio::test]
async fn l7_an_added_route_serves_and_the_others_go_on() {
    let server = start(&with("", &route("/one", "")));
    let mut ann = server.connect("/one").await;
    assert_eq!(server.request("/two").refused().await.status, 404);
    server.reconfigure(&with("", &(route("/two", "") + &route("/one", "")))).await.expect("it is right");
    let mut bob = server.connect("/two").await;
    for client in [&mut ann, &mut bob] {
        says(client, "hello").await;
    }
    let mut cy = server.connect("/one?do=publish+@route//one+cy").await;
    for client in [&mut ann, &mut cy] {
        client.expect_text("cy").await;
    }
    says(&mut bob, "not of that route").await;
    says(&mut cy, "hello").await;
    assert_eq!(server.metrics().reconfigurations.get(), 1);
}

#[tokio::test]
async fn l7_connections_of_a_removed_route_stay_with_its_chain_and_its_room() {
    let server = start(&with("", &(route("/one", "") + &route("/two", "middleware = ['inner']"))));
    let mut ann = server.connect("/two").await;
    let mut bob = server.connect("/two").await;
    server.reconfigure(&with("", &route("/one", ""))).await.expect("it is right");
    assert_eq!(server.request("/two").refused().await.status, 404);
    ann.send("publish @route//two hello").await;
    ann.expect_text("inner").await;
    for client in [&mut ann, &mut bob] {
        client.expect_text("hello").await;
    }
    ann.close(1000, "").await;
    server.logged(|record| record.field("plugin") == "inner" && record.message.starts_with("disconnect 1000")).await;
}

#[tokio::test]
async fn l7_connections_of_a_removed_route_are_closed_with_1001_where_that_is_said() {
    let close = "[server]\nremoved-routes = 'close'";
    let server = start(&with("", &(route("/one", "") + &route("/two", "name = 'second'"))));
    let mut ann = server.connect("/one").await;
    let mut others = [server.connect("/two").await, server.connect("/two").await, server.connect("/two").await];
    server.reconfigure(&with(close, &route("/one", ""))).await.expect("it is right");
    for other in &mut others {
        other.expect_close(1001, "route removed").await;
    }
    says(&mut ann, "still here").await;
    server.reconfigure(&with(close, &route("/elsewhere", "name = '/one'"))).await.expect("it is right");
    says(&mut ann, "the route has its name still").await;
    assert_eq!(server.request("/one").refused().await.status, 404);
}

/// Which plugins were told of a message from the client, in order.
fn heard(server: &TestServer, message: &str) -> Vec<String> {
    let wanted = format!("in {message}");
    let records = server.log().records();
    records.iter().filter(|record| record.message == wanted).map(|record| record.field("plugin").to_owned()).collect()
}

#[tokio::test]
async fn l7_new_connections_have_the_new_order_of_middleware_and_open_ones_keep_theirs() {
    let server = start(&with("", &route("/ws", "middleware = ['outer', 'inner']")));
    let mut ann = server.connect("/ws").await;
    server.reconfigure(&with("", &route("/ws", "middleware = ['inner', 'outer']"))).await.expect("it is right");
    let mut bob = server.connect("/ws").await;
    server.reconfigure(&with("", &route("/ws", ""))).await.expect("it is right");
    let mut cy = server.connect("/ws").await;
    let chains: [(&mut Client, &str, &[&str]); 3] =
        [(&mut ann, "ann", &["outer", "inner"]), (&mut bob, "bob", &["inner", "outer"]), (&mut cy, "cy", &[])];
    for (client, name, middleware) in chains {
        client.send(&format!("send {name}")).await;
        for plugin in middleware {
            client.expect_text(plugin).await;
        }
        client.expect_text(name).await;
        assert_eq!(heard(&server, &format!("send {name}")), [middleware, &["puppet"]].concat());
    }
}

#[tokio::test]
async fn l7_what_is_wrong_changes_nothing_and_is_said_with_file_line_and_key() {
    let right = with("", &route("/ws", ""));
    let server = start(&right);
    let mut ann = server.connect("/ws").await;
    let file = server.folder().join("switchboard.toml").display().to_string();
    let elsewhere = route("/elsewhere", "");
    let line = |toml: &str, text: &str| toml.lines().position(|line| line.contains(text)).map_or(0, |line| line + 1);
    let (unclosed, unknown) = (format!("{right}[[route\n"), with("", &elsewhere.replace("'puppet'", "'pupil'")));
    let (last, pupil) = (unclosed.lines().count(), line(&unknown, "pupil"));
    let cases = [
        (unclosed, format!("{file}:{last}:route: unclosed array table")),
        (format!("{elsewhere}handle = 3\n"), format!("{file}:5:handle: unknown key `handle`")),
        (unknown, format!("{file}:{pupil}:handler: there is no plugin `pupil`; there are: inner, outer, puppet")),
        (with(&elsewhere, "[plugins.gone]\npath = 'gone.wasm'"), "plugin gone: ".to_owned()),
        (with(&elsewhere, "[plugins.bad]\npath = 'start_trap.wasm'"), "plugin bad: ".to_owned()),
        (with(&route("/elsewhere", "middleware = ['puppet']"), ""), "plugin puppet: ".to_owned()),
        (with("[server.limits]\nrooms = 1", ""), format!("{file}: there is no [[route]]")),
    ];
    let count = cases.len() as u64;
    for (toml, reason) in cases {
        let wrong = server.reconfigure(&toml).await.expect_err("it is wrong");
        assert!(wrong.starts_with(&reason), "{wrong}\nshould begin with {reason}");
        let told = |record: &Record| record.message.contains("was not applied") && record.message.ends_with(&wrong);
        server.logged(told).await;
        assert_eq!(server.request("/elsewhere").refused().await.status, 404);
        says(&mut ann, "hello").await;
        says(&mut server.connect("/ws?do=join+a&do=join+b").await, "hello").await;
    }
    assert_eq!(server.metrics().failed_reconfigurations.get(), count);
    assert_eq!(server.metrics().reconfigurations.get() + server.metrics().reloads.get(), 0);
    server.reconfigure(&with("", &elsewhere)).await.expect("it is right");
    says(&mut server.connect("/elsewhere").await, "hello").await;
}

#[tokio::test]
async fn l7_limits_apply_when_they_are_used_next_and_those_of_a_start_are_named() {
    let server = serving("puppet");
    let mut ann = server.connect("/ws").await;
    let limits = "[server]\nlisten = '127.0.0.1:1'\n[server.limits]\nrooms = 1\nmessage-bytes = 100\ninstances = 3\n";
    server.reconfigure(&with(limits, &route("/ws", ""))).await.expect("it is right");
    let warned = server.logged(|record| record.message.contains("when the server is started again")).await;
    assert_eq!(warned.field("keys"), "listen, instances");
    ann.send("join a\njoin b").await;
    ann.expect_text("join: quota").await;
    let long = format!("send {}", "x".repeat(100));
    ann.send(&long).await;
    ann.expect_text(&long[5..]).await;
    let mut bob = server.connect("/ws").await;
    bob.send(&long).await;
    bob.expect_close(1009, "message too big").await;
}

#[tokio::test]
async fn l7_a_routes_capacity_holds_over_both_configurations() {
    let limited = |most: usize| with("", &route("/ws", &format!("max-connections = {most}")));
    let server = start(&with("", &route("/ws", "")));
    let mut ann = server.connect("/ws").await;
    let bob = server.connect("/ws").await;
    server.reconfigure(&limited(2)).await.expect("it is right");
    assert_eq!(server.request("/ws").refused().await.status, 503);
    server.reconfigure(&limited(3)).await.expect("it is right");
    let _cy = server.connect("/ws").await;
    assert_eq!(server.request("/ws").refused().await.status, 503);
    // A route that was away, and comes back while it has connections still.
    server.reconfigure(&with("", &route("/other", ""))).await.expect("it is right");
    server.reconfigure(&limited(2)).await.expect("it is right");
    assert_eq!(server.request("/ws").refused().await.status, 503);
    drop(bob);
    server.until("bob is gone", |server| server.metrics().connections.get() == 2).await;
    assert_eq!(server.request("/ws").refused().await.status, 503);
    ann.close(1000, "").await;
    let _dan = crate::capacity::admitted_to(&server, "/ws").await;
    assert_eq!(server.request("/ws").refused().await.status, 503);
}

#[tokio::test]
async fn l7_rooms_that_begin_keep_what_the_new_file_says() {
    let room = "[[room]]\nname = 'kept*'\nkeep = 10\n";
    let server = start(&with("", &route("/ws", "")));
    let mut ann = server.connect("/ws?do=join+kept-old").await;
    server.reconfigure(&with("", &(room.to_owned() + &route("/ws", "")))).await.expect("it is right");
    ann.send("publish kept-old 1\njoin kept-new\npublish kept-new 2\nhistory kept-old - 5").await;
    for text in ["1", "2", "history: unsupported"] {
        ann.expect_text(text).await;
    }
    ann.send("history kept-new - 5").await;
    ann.expect_text("1-1: 1 2").await;
    server.reconfigure(&with("", &route("/ws", ""))).await.expect("it is right");
    ann.send("publish kept-new 3\nhistory kept-new - 5\nhistory kept-other - 5").await;
    for text in ["3", "1-1: 1 2", "history: unsupported"] {
        ann.expect_text(text).await;
    }
}

#[tokio::test]
async fn l7_a_removed_plugin_ends_with_its_last_connection() {
    let server = setup(&with("", &route("/ws", ""))).reuse(switchboard_harness::Reuse::Always).start();
    let mut ann = server.connect("/ws").await;
    let answers = ANSWERS.replace("/ws", "/answers");
    server.reconfigure(&answers).await.expect("it is right");
    says(&mut ann, "hello").await;
    let mut bob = server.connect("/answers").await;
    bob.send("hi").await;
    bob.expect_text("1 hi").await;
    // It is the same plugin that comes back, and so a generation of it.
    server.reconfigure(&with("", &route("/ws", ""))).await.expect("it is right");
    says(&mut ann, "again").await;
    let again = server.logged(|record| record.message == "in send again").await;
    assert_eq!(again.field("generation"), "2");
    server.reconfigure(&answers).await.expect("it is right");
    ann.close(1000, "").await;
    bob.close(1000, "").await;
    server.reconfigure("[[static]]\npath = '/'\nfolder = '.'").await.expect("it is right");
    server.until("all instances are gone", |server| server.metrics().instances.get() == 0).await;
}

/// A service that says how it is called, under this name.
fn metronome(config: &str) -> String {
    format!("[plugins.metronome]\npath = 'metronome.wasm'\n{config}\n")
}

#[tokio::test]
async fn l7_services_of_added_plugins_start_and_those_of_removed_ones_are_told_to_stop() {
    let without = with("", &route("/ws", ""));
    let server = start(&without);
    let told = |what: &'static str, times: usize| {
        move |server: &TestServer| {
            let records = server.log().records();
            let heard = |record: &&Record| record.field("plugin") == "metronome" && record.message == what;
            records.iter().filter(heard).count() == times
        }
    };
    for times in 1..=2 {
        server.reconfigure(&(without.clone() + &metronome(""))).await.expect("it is right");
        server.until("the service starts", told("start", times)).await;
        server.reconfigure(&without).await.expect("it is right");
        server.until("the service stops", told("stop", times)).await;
    }
}

#[tokio::test]
async fn l7_a_watched_configuration_is_applied_by_itself() {
    let server = setup(&with("", &route("/ws", ""))).watch().start();
    for applied in 1..=3 {
        let path = format!("/{applied}");
        server.write_configuration(&with("", &route(&path, "")));
        server.until("it is applied", |server| server.metrics().reconfigurations.get() == applied).await;
        says(&mut server.connect(&path).await, "hello").await;
    }
    // The files of plugins that it adds are watched from then on.
    server.reconfigure(ANSWERS).await.expect("it is right");
    let mut ann = server.connect("/ws").await;
    server.replace("answers", "answers_2");
    server.until("the plugin is reloaded", |server| server.metrics().reloads.get() == 1).await;
    ann.send("hi").await;
    ann.expect_text("2 hi").await;
}

const CLIENTS: usize = 60;
const CHANGES: usize = 50;

/// A configuration that differs from its neighbors in its routes, its middleware, its limits and a plugin's `config`.
fn version(number: usize) -> String {
    let front = format!("[server.limits]\nping-ms = {}", 20_000 + number);
    let middleware = ["['outer', 'inner']", "['inner', 'outer']", "['outer']"][number % 3];
    let ws = route("/ws", &format!("middleware = {middleware}\nmax-connections = {}", 1000 + number));
    with(&front, &(ws + &route(&format!("/{number}"), "")))
        .replace("in = \"send outer\"", &format!("disconnect = \"log {number}\""))
        .replace("in = \"send inner\"", "")
}

/// Sends numbered texts of its own, some at a time, until told to stop; each comes back once and in order.
async fn echo(client: &mut Client, changes: &Cell<usize>) {
    let mut number = 0;
    while changes.get() < CHANGES {
        for ahead in 0..4 {
            client.send(&format!("send {}", number + ahead)).await;
        }
        for ahead in 0..4 {
            client.expect_text(&(number + ahead).to_string()).await;
        }
        number += 4;
    }
}

#[tokio::test]
async fn l7_fifty_changes_under_load_close_lose_and_double_nothing() {
    let server = setup(&version(0)).reuse(switchboard_harness::Reuse::Always).start();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(server.connect("/ws").await);
    }
    let changes = Cell::new(0);
    let changing = async {
        for number in 1..=CHANGES {
            server.reconfigure(&version(number)).await.expect("it is right");
            // A new connection follows the new file at once, while the old ones go on.
            let mut new = server.connect(&format!("/{number}")).await;
            says(&mut new, "hello").await;
            new.close(1000, "").await;
            assert_eq!(server.request(&format!("/{}", number - 1)).refused().await.status, 404);
            changes.set(number);
        }
    };
    join(changing, join_all(clients.iter_mut().map(|client| echo(client, &changes)))).await;
    server.until("only the clients are left", |server| server.metrics().connections.get() == CLIENTS as i64).await;
    assert_eq!(server.metrics().faults.get(), 0);
    assert_eq!(server.metrics().messages_in.get(), server.metrics().messages_out.get());
    assert_eq!(server.metrics().reconfigurations.get(), CHANGES as u64);
}
