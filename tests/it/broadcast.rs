//! Publishing: scenarios B1 to B4, and Q2: a member that reads too slowly.
//!
//! The members sit on several workers, which each test that depends on it checks by their ids.

use std::collections::BTreeSet;

use switchboard::id::ConnectionId;
use switchboard_harness::{Client, Clock, Received, TestServer};

use crate::fixtures::{serving, setup, start};

/// A member of the lobby with its id.
async fn member(server: &TestServer) -> (Client, u64) {
    let mut client = server.connect("/ws?do=join+lobby").await;
    client.send("id").await;
    let id = client.text().await.parse().expect("an id");
    (client, id)
}

fn workers(ids: impl IntoIterator<Item = u64>) -> BTreeSet<usize> {
    ids.into_iter().map(|id| ConnectionId::from_guest(id).worker()).collect()
}

#[tokio::test]
async fn b1_all_members_get_what_one_publishes() {
    let server = serving("puppet");
    let (mut ann, ann_id) = member(&server).await;
    let (mut bob, bob_id) = member(&server).await;
    let (mut cy, cy_id) = member(&server).await;
    assert_eq!(workers([ann_id, bob_id, cy_id]).len(), 2, "they sit on both workers");
    ann.send("publish lobby hello").await;
    bob.send("publish-others lobby not to me").await;
    for client in [&mut ann, &mut cy] {
        let both = BTreeSet::from([client.text().await, client.text().await]);
        assert_eq!(both, BTreeSet::from(["hello".to_owned(), "not to me".to_owned()]));
        client.expect_nothing_more().await;
    }
    bob.expect_text("hello").await;
    bob.expect_nothing_more().await;
}

#[tokio::test]
async fn b1_what_one_event_sends_comes_in_the_order_of_the_calls() {
    let server = serving("puppet");
    let (mut ann, _) = member(&server).await;
    let (mut bob, bob_id) = member(&server).await;
    for _ in 0..20 {
        ann.send(&format!("send 1\npublish lobby 2\nsend 3\nsend-to {bob_id} 4\npublish lobby 5\nsend 6")).await;
        for text in ["1", "2", "3", "5", "6"] {
            ann.expect_text(text).await;
        }
        for text in ["2", "4", "5"] {
            bob.expect_text(text).await;
        }
    }
}

const MEMBERS: usize = 6;
const ROUNDS: usize = 20;
/// Two rounds of all members fit into a mailbox.
const EACH: usize = 80;

/// Publishes in one event, hears what all publish, and so on; gives all that was heard, in its order.
async fn converse(client: &mut Client, id: u64) -> Vec<String> {
    let mut heard = Vec::new();
    for round in 0..ROUNDS {
        let publishes: Vec<_> =
            (0..EACH).map(|number| format!("publish lobby {id} {}", round * EACH + number)).collect();
        client.send(&publishes.join("\n")).await;
        while heard.len() < (round + 1) * MEMBERS * EACH {
            heard.push(client.text().await);
        }
    }
    heard
}

#[tokio::test]
async fn b1_all_members_see_one_order() {
    let server = start(
        r#"
        [server]
        workers = 3

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        "#,
    );
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(member(&server).await);
    }
    assert_eq!(workers(members.iter().map(|(_, id)| *id)).len(), 3, "they sit on all workers");
    let conversing = members.iter_mut().map(|(client, id)| converse(client, *id));
    let heard = futures_util::future::join_all(conversing).await;
    for (_, id) in &members {
        let own = heard[0].iter().filter(|text| text.starts_with(&format!("{id} "))).cloned();
        let expected = (0..ROUNDS * EACH).map(|number| format!("{id} {number}"));
        assert!(own.eq(expected), "each once, in the order of the calls");
    }
    for other in &heard[1..] {
        let same = other.iter().zip(&heard[0]).take_while(|(one, other)| one == other).count();
        assert_eq!(same, heard[0].len(), "the order is another from this message on");
    }
}

#[tokio::test]
async fn b2_a_member_that_died_stops_nobody() {
    let server = serving("puppet");
    let (mut ann, _) = member(&server).await;
    let (mut bob, _) = member(&server).await;
    let (dead, _) = member(&server).await;
    dead.reset();
    for number in 0..50 {
        let text = format!("message {number}");
        ann.send(&format!("publish lobby {text}")).await;
        ann.expect_text(&text).await;
        bob.expect_text(&text).await;
    }
    server.until("the dead one is gone", |server| server.metrics().connections.get() == 2).await;
    ann.send("count lobby").await;
    ann.expect_text("lobby has 2").await;
}

const SLOW: &str = r#"
    [server.limits]
    mailbox-messages = 20

    [plugins.puppet]
    path = "puppet.wasm"

    [[route]]
    path = "/ws"
    handler = "puppet"
"#;

/// Publishes until a member is found to be too slow; gives the number of messages.
async fn flood(server: &TestServer, sender: &mut Client, others: &mut [Client]) -> usize {
    let mut published = 0;
    while server.metrics().slow_consumers.get() == 0 {
        sender.send("publish-bytes lobby 65536").await;
        published += 1;
        assert!(published < 2000, "nobody minds that one member reads nothing");
        let expected = Received::Binary(vec![b'x'; 65536]);
        assert_eq!(sender.receive().await, expected);
        for other in &mut *others {
            assert_eq!(other.receive().await, expected, "the others lose nothing and wait for no one");
        }
    }
    published
}

#[tokio::test]
async fn b3_a_member_that_never_reads_is_closed_with_1013_and_the_others_lose_nothing() {
    let server = setup(SLOW).clock(Clock::manual()).start();
    let mut observer = server.connect("/ws?do=join+observers").await;
    let (mut slow, _) = member(&server).await;
    let (mut ann, _) = member(&server).await;
    let mut others = [member(&server).await.0, member(&server).await.0, member(&server).await.0];
    let published = flood(&server, &mut ann, &mut others).await;
    // It reads after all: what the kernel had for it, and then why it was closed.
    let mut read = 0;
    while let Received::Binary(bytes) = slow.receive().await {
        assert_eq!(bytes.len(), 65536);
        read += 1;
    }
    assert!(read < published, "{read} of {published}");
    slow.expect_end().await;
    observer.expect_text("left 1013 \"slow consumer\"").await;
    assert_eq!(server.metrics().slow_consumers.get(), 1);
    ann.send("count lobby").await;
    ann.expect_text("lobby has 4").await;
}

#[tokio::test]
async fn b3_a_member_that_reads_nothing_at_all_is_cut_off() {
    let server = setup(SLOW).clock(Clock::manual()).start();
    let mut observer = server.connect("/ws?do=join+observers").await;
    let (_slow, _) = member(&server).await;
    let (mut ann, _) = member(&server).await;
    flood(&server, &mut ann, &mut []).await;
    server
        .until("the slow one is cut off", |server| {
            server.advance(std::time::Duration::from_secs(5));
            server.metrics().connections.get() == 2
        })
        .await;
    observer.expect_text("left 1013 \"slow consumer\"").await;
}

/// How many messages wait in the server for one member of the lobby that reads slowly, where `others` read all.
fn held(server: &TestServer, published: usize, others: usize) -> u64 {
    let metrics = server.metrics();
    let written = metrics.messages_out.get() - (published * others) as u64;
    published as u64 - written - metrics.dropped_oldest.get() - metrics.dropped_newest.get()
}

#[tokio::test]
async fn b3_hundreds_of_others_lose_nothing_and_what_waits_for_one_is_bounded() {
    const OTHERS: usize = 200;
    let server = setup(SLOW).clock(Clock::manual()).start();
    let (_slow, _) = member(&server).await;
    let (mut ann, _) = member(&server).await;
    let mut others = Vec::new();
    for _ in 1..OTHERS {
        others.push(server.connect("/ws?do=join+lobby").await);
    }
    let before = server.metrics().messages_out.get() as usize;
    let published = flood(&server, &mut ann, &mut others).await;
    assert!(held(&server, published, OTHERS) - before as u64 <= 17, "a mailbox of 1 MiB, and the one too many");
    assert_eq!(server.metrics().slow_consumers.get(), 1);
}

/// A lobby with this policy, whose members have room for 1000 messages, and where all is in order because one worker does it.
fn with_policy(policy: &str) -> TestServer {
    start(&format!(
        r#"
        [server]
        workers = 1

        [server.limits]
        mailbox-messages = 1000
        mailbox-bytes = 67108864

        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/ws"
        handler = "puppet"
        slow = "{policy}"
        "#
    ))
}

/// Publishes numbered messages until so many were dropped; gives how many there were.
async fn overrun(server: &TestServer, sender: &mut Client, wanted: u64) -> usize {
    const BATCH: usize = 100;
    let padding = "x".repeat(8 * 1024);
    let (mut published, metrics) = (0, server.metrics());
    while metrics.dropped_oldest.get() + metrics.dropped_newest.get() < wanted {
        let batch = (published..published + BATCH).map(|number| format!("publish lobby {number} {padding}\n"));
        sender.send(&(batch.collect::<String>() + "send published")).await;
        sender.expect_text("published").await;
        published += BATCH;
        assert!(published < 20_000, "nothing is ever dropped");
    }
    published
}

/// The numbers of the next messages, which must rise.
async fn numbers(client: &mut Client, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(number(client).await);
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "not in order: {numbers:?}");
    numbers
}

/// The number of the next message.
async fn number(client: &mut Client) -> usize {
    let text = client.text().await;
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test]
async fn q2_with_drop_oldest_the_newest_1000_arrive_in_order() {
    let server = with_policy("drop-oldest");
    let mut slow = server.connect("/ws?do=join+lobby").await;
    let mut ann = server.connect("/ws").await;
    let published = overrun(&server, &mut ann, 1500).await;
    let dropped = server.metrics().dropped_oldest.get() as usize;
    // What the kernel took before the mailbox filled comes first; behind the gap there is the mailbox.
    let received = numbers(&mut slow, published - dropped).await;
    assert_eq!(received[0], 0);
    assert_eq!(received[received.len() - 1000..], Vec::from_iter(published - 1000..published));
    slow.expect_nothing_more().await;
    ann.send("publish lobby 99999 and on it goes").await;
    assert_eq!(number(&mut slow).await, 99_999);
    let metrics = server.metrics();
    assert_eq!((metrics.dropped_newest.get(), metrics.slow_consumers.get()), (0, 0));
}

#[tokio::test]
async fn q2_with_drop_newest_the_oldest_arrive_in_order() {
    let server = with_policy("drop-newest");
    let mut slow = server.connect("/ws?do=join+lobby").await;
    let mut ann = server.connect("/ws").await;
    let published = overrun(&server, &mut ann, 1500).await;
    let dropped = server.metrics().dropped_newest.get() as usize;
    let received = numbers(&mut slow, published - dropped).await;
    assert_eq!(received[..1000], Vec::from_iter(0..1000));
    slow.expect_nothing_more().await;
    ann.send("publish lobby 99999 and on it goes").await;
    assert_eq!(number(&mut slow).await, 99_999);
    let metrics = server.metrics();
    assert_eq!((metrics.dropped_oldest.get(), metrics.slow_consumers.get()), (0, 0));
}

#[tokio::test]
async fn q2_a_message_over_the_whole_mailbox_is_left_out_and_the_connection_goes_on() {
    for policy in ["drop-oldest", "drop-newest"] {
        let limits = "[server.limits]\nmailbox-bytes = 1000\n";
        let route = "[plugins.puppet]\npath = 'puppet.wasm'\n[[route]]\npath = '/ws'\nhandler = 'puppet'\n";
        let server = start(&format!("{limits}{route}slow = '{policy}'"));
        let (mut ann, _) = member(&server).await;
        ann.send("publish lobby before\npublish-bytes lobby 1001\npublish-bytes lobby 900\nsend after").await;
        ann.expect_text("before").await;
        ann.expect_binary(&[b'x'; 900]).await;
        ann.expect_text("after").await;
        let metrics = server.metrics();
        assert_eq!((metrics.dropped_oldest.get(), metrics.dropped_newest.get()), (0, 1));
        assert_eq!(metrics.slow_consumers.get(), 0);
    }
}

#[tokio::test]
async fn b4_implicit_rooms_reach_exactly_who_came_that_way() {
    let server = start(
        r#"
        [plugins.puppet]
        path = "puppet.wasm"

        [[route]]
        path = "/alone"
        handler = "puppet"
        name = "alone"

        [[router]]
        name = "api"
        prefix = "/api"

        [[router.route]]
        path = "/a"
        handler = "puppet"
        name = "a"

        [[router.route]]
        path = "/b"
        handler = "puppet"
        "#,
    );
    let mut alone = server.connect("/alone").await;
    let mut first = [server.connect("/api/a").await, server.connect("/api/a").await];
    let mut second = server.connect("/api/b").await;
    alone
        .send("publish @all all\npublish @router/api router\npublish @route/a route\npublish @route//api/b unnamed")
        .await;
    alone.send("publish @router/none x\npublish @all end").await;
    for client in &mut first {
        for text in ["all", "router", "route", "end"] {
            client.expect_text(text).await;
        }
    }
    for text in ["all", "router", "unnamed", "end"] {
        second.expect_text(text).await;
    }
    for text in ["all", "end"] {
        alone.expect_text(text).await;
    }
    alone.send("count @all\ncount @router/api\njoin @all\nleave @route/alone").await;
    for text in ["@all has 4", "@router/api has 3", "join: invalid", "leave: invalid"] {
        alone.expect_text(text).await;
    }
}

#[tokio::test]
async fn b4_sending_to_ids_reaches_these_and_ignores_who_is_gone() {
    let server = serving("puppet");
    let (mut ann, _) = member(&server).await;
    let (mut bob, bob_id) = member(&server).await;
    let (mut cy, cy_id) = member(&server).await;
    let (mut gone, gone_id) = member(&server).await;
    gone.close(1000, "").await;
    gone.expect_close(1000, "").await;
    server.until("it is gone", |server| server.metrics().connections.get() == 3).await;
    let nobody = [0, 1 << 52, (1 << 53) - 1, u64::MAX, cy_id + (200 << 35), gone_id];
    let unknown: String = nobody.iter().map(|id| format!("send-to {id} lost\nclose-other {id} 1000 x\n")).collect();
    ann.send(&format!("{unknown}send-to {bob_id} to bob\nsend-to {cy_id} to cy\nsend done")).await;
    bob.expect_text("to bob").await;
    cy.expect_text("to cy").await;
    ann.expect_text("done").await;
    ann.send(&format!("close-other {bob_id} 4000 out")).await;
    bob.expect_close(4000, "out").await;
    for client in [&mut ann, &mut cy] {
        client.expect_nothing_more().await;
    }
}
