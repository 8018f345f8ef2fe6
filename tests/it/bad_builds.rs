//! What must never take the place of a plugin that works: scenario L2.
//!
//! For each kind of bad file: the old generation goes on, the reason is in the log, and a server that is started again
//! with the bad file in place serves the old generation too.

use std::fs::OpenOptions;
use std::io::Write;

use switchboard_harness::{Client, LoadError, Reload, TestServer};

use crate::fixtures::{ANSWERS, components, setup};

/// A server with build 1 and a connection to it.
async fn answering() -> (TestServer, Client) {
    let server = setup(ANSWERS).start();
    let client = server.connect("/ws").await;
    (server, client)
}

async fn expect_build(client: &mut Client, build: u8) {
    client.send("hi").await;
    client.expect_text(&format!("{build} hi")).await;
}

/// Tries the file that is in place; gives why it was refused.
async fn refused(server: &TestServer) -> LoadError {
    server.reload("answers").await.expect_err("it cannot be used")
}

/// That a bad file is refused with these words, and that build 1 goes on, now and after a restart.
async fn stays(bytes: &[u8], words: &str) {
    let (mut server, mut ann) = answering().await;
    server.replace_with("answers", bytes);
    let error = refused(&server).await.to_string();
    assert!(error.contains("plugin answers") && error.contains(words), "{error}");
    server.logged(|record| record.field("plugin") == "answers" && record.message.contains(words)).await;
    assert_eq!((server.metrics().failed_loads.get(), server.metrics().reloads.get()), (1, 0));
    expect_build(&mut ann, 1).await;
    drop(ann);
    restart(&mut server, words).await;
    server.replace("answers", "answers_2");
    assert!(matches!(server.reload("answers").await, Ok(Reload::Swapped { .. })), "a good file is taken again");
    expect_build(&mut server.connect("/ws").await, 2).await;
}

/// That a restarted server serves build 1, and says why.
async fn restart(server: &mut TestServer, words: &str) {
    server.restart().await;
    let started = "started with the last good component instead";
    let record = server.logged(|record| record.message.starts_with(started)).await;
    assert!(record.message.contains(words), "{record}");
    expect_build(&mut server.connect("/ws").await, 1).await;
}

/// Whether the state folder knows of a rejected component of this plugin; that is written by a thread of its own.
pub fn has_rejected(server: &TestServer, plugin: &str) -> bool {
    let record = server.folder().join(format!(".switchboard/plugins/{plugin}.json"));
    let text = std::fs::read_to_string(record).unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    record["rejected"].as_array().is_some_and(|hashes| !hashes.is_empty())
}

#[tokio::test]
async fn l2_garbage() {
    stays(b"this is not WebAssembly", "is not WebAssembly").await;
}

#[tokio::test]
async fn l2_an_empty_file() {
    stays(b"", "is not WebAssembly").await;
}

#[tokio::test]
async fn l2_a_half_written_component() {
    let whole = components().bytes("answers_2");
    stays(&whole[..whole.len() / 2], "damaged or incomplete").await;
}

#[tokio::test]
async fn l2_a_core_module() {
    stays(b"\0asm\x01\0\0\0", "is a core module").await;
}

#[tokio::test]
async fn l2_a_component_of_another_world() {
    stays(&components().bytes("other_world"), "exports nothing of switchboard:ws").await;
}

#[tokio::test]
async fn l2_middleware_in_the_place_of_a_handler() {
    stays(&components().bytes("link"), "is used as a route's handler").await;
}

#[tokio::test]
async fn l2_a_component_of_another_version_of_the_contract() {
    stays(&components().bytes("other_version"), "switchboard:ws/handler@0.2.0").await;
}

#[tokio::test]
async fn l2_a_component_that_traps_as_it_starts() {
    stays(&components().bytes("start_trap"), "no start today").await;
}

#[tokio::test]
async fn l2_a_file_that_is_too_large() {
    let limit = components().bytes("answers_1").len();
    let mut server = setup(&format!("[server.limits]\nplugin-bytes = {limit}\n{ANSWERS}")).start();
    let mut ann = server.connect("/ws").await;
    server.replace_with("answers", &vec![0; limit + 1]);
    let words = format!("has {} bytes, the limit `plugin-bytes` is {limit}", limit + 1);
    assert!(refused(&server).await.to_string().contains(&words));
    expect_build(&mut ann, 1).await;
    drop(ann);
    restart(&mut server, &words).await;
}

#[tokio::test]
async fn l2_a_file_that_is_gone() {
    let (mut server, mut ann) = answering().await;
    std::fs::remove_file(server.file("answers")).expect("it is there");
    assert!(matches!(refused(&server).await, LoadError::Missing(..)));
    expect_build(&mut ann, 1).await;
    drop(ann);
    restart(&mut server, "does not exist").await;
}

#[tokio::test]
async fn l2_a_component_whose_first_event_traps() {
    let (mut server, mut ann) = answering().await;
    server.replace("answers", "newborn_trap");
    assert!(matches!(server.reload("answers").await, Ok(Reload::Swapped { generation: 2, .. })), "it starts well");
    for _ in 0..3 {
        expect_build(&mut ann, 1).await;
    }
    expect_build(&mut server.connect("/ws").await, 1).await;
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert_eq!((fault.field("generation"), fault.field("event")), ("2", "on-message"));
    assert!(fault.field("printed").contains("the first event is too much"), "{fault}");
    server.logged(|record| record.message.contains("the one before serves again")).await;
    assert_eq!(server.metrics().faults.get(), 1, "it had one event and no more");
    server.until("the archive has noted it", |server| has_rejected(server, "answers")).await;
    assert!(matches!(refused(&server).await, LoadError::Rejected(..)));
    drop(ann);
    restart(&mut server, "was rejected before").await;
}

#[tokio::test]
async fn l2_a_handshake_that_is_the_first_event_falls_back_too() {
    let (server, mut ann) = answering().await;
    server.replace("answers", "newborn_trap");
    server.reload("answers").await.expect("it starts well");
    expect_build(&mut server.connect("/ws").await, 1).await;
    expect_build(&mut ann, 1).await;
    let fault = server.logged(|record| record.message.starts_with("guest fault")).await;
    assert_eq!((fault.field("generation"), fault.field("event")), ("2", "on-connect"));
}

#[tokio::test]
async fn l2_a_build_that_only_saw_clients_off_is_nothing_to_go_back_to() {
    let (server, mut ann) = answering().await;
    server.replace("answers", "newborn_trap");
    server.reload("answers").await.expect("it starts well");
    ann.close(1000, "").await;
    let closes = |server: &TestServer| {
        let rollout = server.app().registry().plugins()["answers"].report().rollout;
        rollout.is_some_and(|rollout| rollout.new.closes == 1)
    };
    server.until("it has seen her off", closes).await;
    server.replace_with("answers", &components().rebuilt("newborn_trap", 2));
    server.reload("answers").await.expect("it starts well");
    expect_build(&mut server.connect("/ws").await, 1).await;
}

#[tokio::test]
async fn l2_a_file_that_is_written_in_pieces_is_never_taken_before_it_is_whole() {
    let server = setup(ANSWERS).watch().start();
    let mut ann = server.connect("/ws").await;
    let whole = components().bytes("answers_2");
    let (first, second) = whole.split_at(whole.len() / 2);
    std::fs::write(server.file("answers"), first).expect("it can be written");
    server.logged(|record| record.message.starts_with("not reloaded")).await;
    expect_build(&mut ann, 1).await;
    let mut file = OpenOptions::new().append(true).open(server.file("answers")).expect("it is there");
    file.write_all(second).expect("it can be written");
    drop(file);
    server.logged(|record| record.message == "reloaded").await;
    expect_build(&mut ann, 2).await;
}

#[tokio::test]
async fn l2_a_folder_that_goes_and_comes_back() {
    let server = setup(ANSWERS).watch().start();
    let mut ann = server.connect("/ws").await;
    let (folder, away) = (server.folder().join("built"), server.folder().join("away"));
    std::fs::create_dir(&folder).expect("it can be made");
    std::fs::copy(server.file("answers"), folder.join("answers_1.wasm")).expect("it is there");
    server.reconfigure(&ANSWERS.replace("answers_1", "built/answers_1")).await.expect("it is right");
    std::fs::rename(&folder, &away).expect("it is there");
    let gone = format!("the folder {} is gone; the code goes on", folder.display());
    server.logged(|record| record.message.starts_with(&gone)).await;
    expect_build(&mut ann, 1).await;
    std::fs::rename(&away, &folder).expect("it was moved there");
    let back = format!("{} is back", folder.join("answers_1.wasm").display());
    server.logged(|record| record.message == back).await;
    std::fs::write(folder.join("answers_1.wasm"), components().bytes("answers_2")).expect("it can be written");
    server.logged(|record| record.message == "reloaded").await;
    expect_build(&mut ann, 2).await;
}

#[test]
fn l2_a_server_without_a_good_component_does_not_start_and_says_why() {
    let error = setup(&ANSWERS.replace("answers_1", "other_world")).try_start().err().expect("it does not start");
    assert!(error.contains("plugin answers") && error.contains("exports nothing of switchboard:ws"), "{error}");
    let error = setup(&ANSWERS.replace("answers_1", "nowhere")).try_start().err().expect("it does not start");
    assert!(error.contains("nowhere.wasm does not exist"), "{error}");
}
