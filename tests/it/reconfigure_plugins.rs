//! A configuration whose plugins do not load, or fault once they do: L7, where it meets L2 and L5.
//!
//! Either all of a configuration is applied, or nothing; one that only waits for a plugin's file is tried again when that comes.

use switchboard_harness::{Record, TestServer};

use crate::fixtures::{ANSWERS, components, setup, start};
use crate::reconfigure::{route, says, with};

#[tokio::test]
async fn l7_a_config_that_its_plugin_faults_on_is_rolled_back_and_the_component_is_not_to_blame() {
    let of_outer = |what: &str| with("", &route("/ws", "middleware = ['outer']")).replace("send outer", what);
    let mut server = start(&of_outer("send outer"));
    let mut ann = server.connect("/ws").await;
    server.reconfigure(&of_outer("trap on purpose")).await.expect("it is right");
    ann.send("send 1").await;
    ann.expect_text("outer").await;
    ann.expect_text("1").await;
    server.logged(|record| record.message.contains("rolled back") && record.field("plugin") == "outer").await;
    server.reconfigure(&of_outer("send better")).await.expect("the component was good");
    ann.send("send 2").await;
    ann.expect_text("better").await;
    ann.expect_text("2").await;
    drop(ann);
    server.restart().await;
    let mut ann = server.connect("/ws").await;
    ann.send("send 3").await;
    ann.expect_text("better").await;
    ann.expect_text("3").await;
    assert!(!server.log().records().iter().any(|record| record.message.contains("last good component")));
    let again = server.reconfigure(&of_outer("trap on purpose")).await.expect_err("it faulted with just this config");
    assert!(again.contains("plugin outer: ") && again.contains("was rejected before, because it faulted"), "{again}");
    ann.send("send 4").await;
    ann.expect_text("better").await;
}

#[tokio::test]
async fn l7_a_server_that_is_started_with_what_was_rejected_takes_the_component_before_if_there_is_one() {
    let answers = |config: &str| format!("{ANSWERS}\n[plugins.answers.config]\nlimit = '{config}'\n");
    for (before, build) in [(None, "2 hi"), (Some("answers_1"), "1 hi")] {
        let mut server = start(&answers("low").replace("answers_1", before.unwrap_or("answers_2")));
        server.replace("answers", "answers_2");
        if before.is_some() {
            server.reload("answers").await.expect("it is good");
            says_build(&server, "2 hi").await;
            server.app().registry().promote("answers").expect("it is young");
        }
        let high = answers("high").replace("answers_1", before.unwrap_or("answers_2"));
        server.reconfigure(&high).await.expect("it is right");
        server.app().registry().roll_back("answers").expect("it is young");
        says_build(&server, "2 hi").await;
        server.restart().await;
        says_build(&server, build).await;
        let how = before.map_or("all the same, since there is no other", |_| "with the last good component instead");
        server.logged(|record| record.message.starts_with(&format!("started {how}"))).await;
    }
}

async fn says_build(server: &TestServer, answer: &str) {
    let mut client = server.connect("/ws").await;
    client.send("hi").await;
    client.expect_text(answer).await;
}

#[tokio::test]
async fn l7_a_component_that_was_rejected_is_taken_with_another_config() {
    let of_puppet =
        |config: &str| with("", &route("/ws", "")).replacen("puppet.wasm\"", &format!("puppet.wasm\"\n{config}"), 1);
    let mut server = start(&of_puppet(""));
    let mut ann = server.connect("/ws").await;
    server.replace("puppet", "newborn_trap");
    server.reload("puppet").await.expect("it starts well");
    says(&mut ann, "hello").await;
    let refused = server.reload("puppet").await.expect_err("it was rejected");
    assert!(refused.to_string().contains("was rejected before"), "{refused}");
    server.reconfigure(&of_puppet("config = { other = 'value' }")).await.expect("nobody knows how it does with this");
    says(&mut ann, "hello").await;
    let rolled_back = |record: &&Record| record.message.starts_with("rolled back");
    assert_eq!(server.log().records().iter().filter(rolled_back).count(), 2, "it was tried, and was no better");
    drop(ann);
    server.restart().await;
    says(&mut server.connect("/ws").await, "hello").await;
}

#[tokio::test]
async fn l7_a_configuration_whose_plugin_is_missing_is_tried_again_when_the_file_comes() {
    let server = setup(&with("", &route("/ws", ""))).watch().start();
    let later = with("", &(route("/ws", "") + &route("/later", "middleware = ['later']")))
        + "[plugins.later]\npath = 'later.wasm'\nconfig = { in = 'send later' }\n";
    let missing = server.reconfigure(&later).await.expect_err("one of the plugins is not there");
    assert!(missing.contains("later.wasm does not exist"), "{missing}");
    server.logged(|record| record.message.starts_with("the configuration is tried again when a file")).await;
    let file = server.folder().join("later.wasm");
    std::fs::write(&file, "no component").expect("it can be written");
    server
        .logged(|record| record.message.contains("was not applied") && record.message.contains("is not WebAssembly"))
        .await;
    std::fs::write(&file, components().bytes("link")).expect("it can be written");
    server.until("it is applied", |server| server.metrics().reconfigurations.get() >= 1).await;
    let mut ann = server.connect("/later").await;
    ann.send("send hello").await;
    ann.expect_text("later").await;
    ann.expect_text("hello").await;
    let tried = format!("{} changed: the configuration is tried again", file.display());
    server.logged(|record| record.message == tried).await;
    assert!(!server.log().records().iter().any(|record| record.message.contains("is gone")), "it was never there");
}

#[tokio::test]
async fn l7_a_configuration_that_is_given_up_waits_for_nothing() {
    let server = setup(&with("", &route("/ws", ""))).watch().start();
    let later = with("", &route("/later", "")) + "[plugins.later]\npath = 'later.wasm'\n";
    server.reconfigure(&later).await.expect_err("one of the plugins is not there");
    server.reconfigure(&with("", &route("/other", ""))).await.expect("it is right");
    server.replace("puppet", "answers_2");
    std::fs::write(server.folder().join("later.wasm"), components().bytes("link")).expect("it can be written");
    server.until("the puppet is reloaded", |server| server.metrics().reloads.get() == 1).await;
    assert_eq!(server.request("/later").refused().await.status, 404);
    assert!(
        !server
            .log()
            .records()
            .iter()
            .any(|record| record.message.ends_with("changed: the configuration is tried again"))
    );
}

#[tokio::test]
async fn l7_a_plugin_that_loads_takes_over_only_if_all_do() {
    let outer = "path = \"link.wasm\"\n    config = { in = \"send outer\" }";
    let server = start(&with("", &route("/ws", "middleware = ['outer']")));
    let mut ann = server.connect("/ws").await;
    let changed =
        with("", &route("/ws", "middleware = ['outer']")).replace(outer, &outer.replace("send outer", "send new"));
    let broken = format!("{changed}[plugins.zzz]\npath = 'zzz.wasm'\n");
    server.reconfigure(&broken).await.expect_err("one of the plugins is not there");
    ann.send("send 1").await;
    ann.expect_text("outer").await;
    ann.expect_text("1").await;
    server.reconfigure(&changed).await.expect("it is right");
    ann.send("send 2").await;
    ann.expect_text("new").await;
    ann.expect_text("2").await;
    assert_eq!(server.metrics().reloads.get(), 1);
}
