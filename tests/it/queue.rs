//! The first-party plugin `queue`: scenario Q1.
//!
//! It holds no items itself, so what happens to them when a mailbox is full is no part of it; that is in `broadcast`.

use switchboard_harness::TestServer;

use crate::fixtures::start;

fn queue() -> TestServer {
    let toml = "[plugins.queue]\npath = 'queue.wasm'\n[[route]]\npath = '/queue/{name}'\nhandler = 'queue'";
    start(toml)
}

#[tokio::test]
async fn q1_json_comes_out_as_it_went_in_and_in_order() {
    let server = queue();
    let mut ann = server.connect("/queue/jobs").await;
    for number in 0..200 {
        ann.send(&format!(r#"{{"job": {number}, "a": [1,  2]}}"#)).await;
    }
    for number in 0..200 {
        ann.expect_text(&format!(r#"{{"job": {number}, "a": [1,  2]}}"#)).await;
    }
    ann.send("{bad").await;
    ann.expect_close(1007, "expected JSON: key must be a string at line 1 column 2").await;
}

#[tokio::test]
async fn q1_workers_of_a_queue_take_turns_and_each_gets_its_items_in_order() {
    let server = queue();
    let mut workers = [server.connect("/queue/jobs?work").await, server.connect("/queue/jobs?work").await];
    let mut other = server.connect("/queue/others?work").await;
    let mut ann = server.connect("/queue/jobs").await;
    for number in 0..100 {
        ann.send(&number.to_string()).await;
    }
    for number in 0..100 {
        workers[number % 2].expect_text(&number.to_string()).await;
    }
    other.expect_nothing_more().await;
    ann.expect_nothing_more().await;
}
