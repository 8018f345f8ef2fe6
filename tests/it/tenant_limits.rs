//! What a tenant may use, and what others have beside one that wants more.
//!
//! Names, hosts and the coming and going of tenants are in `tenants`.

use std::cell::Cell;

use futures_util::future::{join, join_all};
use switchboard_harness::{Reuse, TestServer};

use crate::fixtures::{components, setup};
use crate::tenants::{SERVER, tenant};

#[tokio::test]
async fn a_limit_of_one_tenant_is_no_limit_of_another() {
    let server = setup(SERVER)
        .tenant("acme", &tenant("limits = { effects = 2, event-cpu-ms = 20000 }"))
        .tenant("umbrella", &tenant(""))
        .start();
    let three = "send one\nsend two\nsend three";
    let mut ann = server.connect("/acme/ws").await;
    ann.send(three).await;
    for text in ["one", "two"] {
        ann.expect_text(text).await;
    }
    ann.expect_nothing_more().await;
    assert_eq!(server.metrics().over_quota.get(), 2, "the third, and the word on it");
    for path in ["/umbrella/ws", "/ws"] {
        let mut client = server.connect(path).await;
        client.send(three).await;
        for text in ["one", "two", "three"] {
            client.expect_text(text).await;
        }
    }
}

#[tokio::test]
async fn a_tenant_has_so_many_connections_and_others_have_theirs() {
    let server = setup(SERVER)
        .tenant("acme", &tenant("limits = { tenant-connections = 2 }"))
        .tenant("umbrella", &tenant(""))
        .start();
    let (ann, _bob) = (server.connect("/acme/ws").await, server.connect("/acme/ws").await);
    let refused = server.request("/acme/ws").refused().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")));
    assert_eq!(server.metrics().refused_tenant.get(), 1);
    server.connect("/umbrella/ws").await;
    ann.reset();
    server.until("its place is free", |server| server.metrics().connections.get() == 1).await;
    server.connect("/acme/ws").await;
}

#[tokio::test]
async fn another_limit_applies_to_connections_that_are_open() {
    let server = setup(SERVER).tenant("acme", &tenant("")).start();
    let mut ann = server.connect("/acme/ws").await;
    server.change_tenant("acme", &tenant("limits = { effects = 1 }")).await.expect("it is right");
    ann.send("send one\nsend two").await;
    ann.expect_text("one").await;
    ann.expect_nothing_more().await;
}

#[tokio::test]
async fn a_tenant_has_so_many_instances_and_its_events_wait_for_one() {
    let two = r#"
        [tenant]
        limits = { tenant-instances = 1, event-cpu-ms = 60000, event-wall-ms = 60000 }

        [plugins]
        one = { path = "../puppet.wasm" }
        other = { path = "../puppet.wasm" }

        [[route]]
        path = "/one"
        handler = "one"

        [[route]]
        path = "/other"
        handler = "other"
    "#;
    let server = setup(SERVER).tenant("acme", two).reuse(Reuse::Always).start();
    // On another worker each, so that none can make room for the other at once.
    let mut ann = server.connect("/acme/one").await;
    let mut bob = server.connect("/acme/other").await;
    for _ in 0..2 {
        for client in [&mut ann, &mut bob] {
            client.send("send here").await;
            client.expect_text("here").await;
            assert_eq!(server.metrics().instances.get(), 1);
        }
    }
    ann.send("await go\nsend on").await;
    server.logged(|record| record.message.starts_with("in await")).await;
    let waits = server.metrics().instance_waits.get();
    bob.send("send late").await;
    server.until("it waits", |server| server.metrics().instance_waits.get() > waits).await;
    // What others do is no business of this tenant's.
    let mut cy = server.connect("/ws").await;
    cy.send("send here").await;
    cy.expect_text("here").await;
    server
        .change_tenant("acme", &two.replace("tenant-instances = 1", "tenant-instances = 2"))
        .await
        .expect("it is right");
    let mut dan = server.connect("/acme/one").await;
    dan.send("join go").await;
    ann.expect_text("on").await;
    bob.expect_text("late").await;
}

#[tokio::test]
async fn a_tenant_has_so_many_rooms_and_each_so_many_members() {
    let kept = tenant("limits = { tenant-rooms = 2, room-members = 1 }") + "\n[[room]]\nname = 'kept/*'\nkeep = 10";
    let server = setup(SERVER).tenant("acme", &kept).tenant("umbrella", &tenant("")).reuse(Reuse::Always).start();
    let mut clients = [server.connect("/acme/ws").await, server.connect("/acme/ws").await];
    for (who, says, told) in [
        (0, "join one\nsend in", "in"),
        (1, "join one", "join: quota"),
        (0, "join one\nsend in still", "in still"),
        (1, "publish kept/a x\nsend kept", "kept"),
        (0, "join two", "join: quota"),
        (1, "publish kept/b x", "publish: quota"),
        (1, "publish elsewhere x\nsend nobody there", "nobody there"),
        (1, "publish kept/a x\nsend kept", "kept"),
        (0, "leave one\nsend out", "out"),
        (1, "join two\nsend in", "in"),
    ] {
        clients[who].send(says).await;
        clients[who].expect_text(told).await;
    }
    assert_eq!(server.metrics().over_quota.get(), 3);
    let mut cy = server.connect("/umbrella/ws").await;
    cy.send("join one\njoin two\njoin three\nsend in all").await;
    cy.expect_text("in all").await;
}

#[tokio::test]
async fn many_files_of_one_tenant_keep_another_waiting_for_few_of_them() {
    const MANY: usize = 30;
    let plugin = |number| format!("[plugins.p{number}]\npath = '../answers_1.wasm'\n");
    let many: String = (0..MANY).map(plugin).collect();
    let server = setup(SERVER).tenant("acme", &tenant("").replace("[[route]]", &format!("{many}\n[[route]]")));
    let few = tenant("").replace("puppet.wasm", "answers_2.wasm");
    let server = server.tenant("umbrella", &few).reuse(Reuse::Always).watch().start();
    server.replace_with("acme/p0", &components().rebuilt("answers_1", 2));
    server.replace_with("umbrella/puppet", &components().rebuilt("answers_2", 2));
    server.until("all are reloaded", |server| server.metrics().reloads.get() == MANY as u64 + 1).await;
    let records = server.log().records();
    let reloaded = records.iter().filter(|record| record.message == "reloaded");
    let before = reloaded.take_while(|record| record.field("plugin") != "umbrella/puppet").count();
    assert!(before < MANY / 2, "{before} were loaded before the other's");
}

/// One worker, on which a tenant may take as long as it wants.
fn crowded() -> TestServer {
    let server = format!("[server]\nworkers = 1\n{SERVER}");
    let long = tenant("limits = { event-cpu-ms = 60000, event-wall-ms = 60000 }");
    setup(&server).tenant("greedy", &long).tenant("modest", &tenant("")).reuse(Reuse::Always).start()
}

#[tokio::test]
async fn one_that_wants_all_of_a_worker_gets_what_others_leave() {
    const GREEDY: usize = 8;
    let server = crowded();
    let mut greedy = join_all((0..GREEDY).map(|_| server.connect("/greedy/ws"))).await;
    let mut modest = server.connect("/modest/ws").await;
    modest.send("send ready").await;
    modest.expect_text("ready").await;
    let served = Cell::new(0);
    let burning = join_all(greedy.iter_mut().map(async |client| {
        for _ in 0..5 {
            client.send("burn 100\nsend burnt").await;
            client.expect_text("burnt").await;
            served.set(served.get() + 1);
        }
    }));
    let answered = async {
        let mut answers = 0;
        while served.get() < 5 * GREEDY {
            modest.send("send still here").await;
            modest.expect_text("still here").await;
            answers += 1;
        }
        answers
    };
    let (_, answers) = join(burning, answered).await;
    // Each of the forty takes so many turns that there is a good deal of room between them; in line with all, there were
    // one answer for some of them.
    assert!(answers >= 80, "{answers} answers beside {} that took long", served.get());
}
