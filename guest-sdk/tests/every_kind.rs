//! One plugin of every kind, driven through the fake host: what a plugin author relies on, from outside of the crate.
//!
//! The `export!` lines are part of it: natively they check that the types are what they are said to be.

use std::time::Duration;

use switchboard_sdk::{
    Accept, Close, Connection, ControlEvents, FaultEvents, FlowEvents, Gate, Handler, Inbound, Joined, Message,
    Migration, Origin, Outbound, Pass, Refusal, Request, Room, RoomEvents, Service, TimerEvents, Verdict, config,
    export, flow, store,
    testing::{FakeHost, FakeRequest, expect_fault},
    timer,
};

/// A handler that does all that a handler can, and faults on demand.
#[derive(Default)]
struct Everything;

#[derive(Debug, thiserror::Error)]
#[error("out of stock")]
struct OutOfStock;

impl Handler for Everything {
    type State = u32;

    fn connect(&self, connection: &Connection, request: &Request, seen: &mut u32) -> Result<Accept, Refusal> {
        let id: u32 = request.param("id")?;
        if id == 0 {
            return Err(Refusal::respond(403, "not you").header("x-why", "zero"));
        }
        *seen = id;
        connection.join("lobby")?;
        Ok(Accept::new().subprotocol("chat").header("X-Server", "Switchboard"))
    }

    fn message(&self, connection: &Connection, message: Message, seen: &mut u32) -> Result<(), Close> {
        match message.text()? {
            "sold out" => return Err(OutOfStock.into()),
            "bad code" => return Err(Close::new(999, "")),
            "wake me" => timer::set(connection, 7, Duration::from_secs(30))?,
            "ping" => connection.ping(b"hello")?,
            _ => {}
        }
        *seen += 1;
        connection.send_json(&serde_json::json!({"seen": *seen}))?;
        connection.room("lobby").publish("news")?;
        connection.leave("lobby")?;
        connection.set_state("shared", "value")?;
        store::set("kept", b"value", None)?;
        store::increment("counted", 2, None)?;
        assert!(message != "fault", "told to fault after {} bytes", flow::queued(connection)?);
        Ok(())
    }

    fn on_error(&self, close: Close) -> Close {
        match close.cause().is_some_and(|cause| cause.is::<OutOfStock>()) {
            true => Close::new(4001, "come back tomorrow"),
            false => close,
        }
    }
}

impl TimerEvents for Everything {
    type State = u32;
    fn timer(&self, connection: &Connection, token: u32, seen: &mut u32) -> Result<(), Close> {
        Ok(connection.send_text(format!("timer {token} after {seen}"))?)
    }
}

impl FlowEvents for Everything {
    type State = u32;
    fn drained(&self, connection: &Connection, _: &mut u32) -> Result<(), Close> {
        Ok(connection.send_bytes([1, 2])?)
    }
}

impl ControlEvents for Everything {
    type State = ();
    fn ping(&self, connection: &Connection, payload: &[u8], _: &mut ()) -> Result<(), Close> {
        Ok(connection.pong(payload)?)
    }
}

impl RoomEvents for Everything {
    type State = ();
    fn joined(&self, connection: &Connection, joined: Joined<'_>, _: &mut ()) -> Result<(), Close> {
        Ok(connection.send_text(joined.room)?)
    }
}

impl Migration for Everything {
    const VERSION: u32 = 1;
    fn migrate(&self, _: u32, _: &str, value: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(value)
    }
}

export!(Everything: handler, timer_events, flow_events, control_events, room_events, migration);

/// A gate and filters that drop, replace, close, and try what an outbound filter may not.
#[derive(Default)]
struct Guard;

impl Gate for Guard {
    fn connect(&self, _: &Connection, request: &Request) -> Result<Pass, Refusal> {
        match request.offers("chat") {
            true => Ok(Pass::new().header("x-guard", "passed")),
            false => Err(Close::policy("No chat").into()),
        }
    }
}

impl FaultEvents for Guard {
    fn fault(&self, _: &Connection, plugin: &str, kind: &str) -> Option<Close> {
        (kind == "trap").then(|| Close::new(4000, format!("{plugin} failed")))
    }
}

impl Inbound for Guard {
    fn message(&self, _: &Connection, message: &Message) -> Result<Verdict, Close> {
        Ok(match message.text()? {
            "spam" => Verdict::Drop,
            "rude" => Verdict::Replace("polite".into()),
            "evil" => Verdict::Close(Close::policy("Go away")),
            _ => Verdict::Pass,
        })
    }
}

impl Outbound for Guard {
    fn message(&self, connection: &Connection, _: &Message, origin: Option<&Origin>) -> Result<Verdict, Close> {
        let denied = [connection.join("x").is_err(), connection.room("x").publish("y").is_err()];
        connection.send(format!("{} {denied:?}", origin.map_or("-", |origin| &origin.room)))?;
        Ok(Verdict::Pass)
    }
}

export!(Guard: gate, fault_events, inbound, outbound);

/// A service that tells everyone something from time to time.
#[derive(Default)]
struct News;

impl Service for News {
    fn tick(&self) -> Duration {
        let text = config::get("text").unwrap_or_default();
        Room::named("@all").publish(text).expect("nothing of it can fail");
        Duration::from_secs(1)
    }
}

export!(News: service);

/// Keeps values for a second, and says how many bytes wait for its client.
#[derive(Default)]
struct Keeper;

impl Handler for Keeper {
    type State = ();
    fn message(&self, connection: &Connection, _: Message, _: &mut ()) -> Result<(), Close> {
        store::set("short", b"value", Some(Duration::from_secs(1)))?;
        store::increment("count", 1, Some(Duration::from_secs(1)))?;
        Ok(connection.send_text(flow::queued(connection)?.to_string())?)
    }
}

export!(Keeper);

fn everything(host: &FakeHost) -> switchboard_sdk::testing::FakeConnection {
    let ann = host.connection(FakeRequest::new("/ws/3").param("id", "3"));
    ann.connect::<Everything>().expect("it accepts");
    ann
}

#[test]
fn all_effects_of_an_event_are_committed() {
    let host = FakeHost::new();
    let ann = everything(&host);
    assert_eq!(ann.rooms(), ["lobby"]);
    ann.message::<Everything>("hi");
    assert_eq!(ann.take_received(), [r#"{"seen":4}"#, "news"]);
    assert_eq!((ann.rooms().len(), ann.state::<String>("shared")), (0, Some("value".into())));
    assert_eq!((host.stored("kept"), host.stored("counted")), (Some(b"value".to_vec()), Some(b"2".to_vec())));
}

#[test]
fn nothing_of_an_event_that_faults_happens() {
    let host = FakeHost::new();
    let ann = everything(&host);
    let text = expect_fault(|| ann.message::<Everything>("fault"));
    assert_eq!(text, "told to fault after 10 bytes");
    assert_eq!((ann.take_received(), host.take_published()), (vec![], vec![]));
    assert_eq!((ann.rooms().len(), ann.state::<String>("shared")), (1, None));
    assert_eq!((host.stored("kept"), host.stored("counted")), (None, None));
    assert_eq!(ann.closed(), Some(Close::internal("internal error")));
}

#[test]
fn errors_close_as_on_error_says() {
    let host = FakeHost::new();
    let (ann, bob, cy) = (everything(&host), everything(&host), everything(&host));
    ann.message::<Everything>("sold out");
    assert_eq!(ann.closed(), Some(Close::new(4001, "come back tomorrow")));
    bob.message::<Everything>(vec![1]);
    assert_eq!(bob.closed(), Some(Close::unsupported("expected a text message, got a binary one")));
    cy.message::<Everything>("bad code");
    assert_eq!(cy.closed(), Some(Close::internal("internal error")));
    assert!(host.take_log().iter().any(|line| line.starts_with("error: closed with 1011 instead: invalid")));
}

#[test]
fn a_handshake_is_answered_or_refused() {
    let host = FakeHost::new();
    let accept = host.connection(FakeRequest::new("/ws/1").param("id", "1")).connect::<Everything>();
    assert_eq!(accept, Ok(Accept::new().subprotocol("chat").header("X-Server", "Switchboard")));
    let zero = host.connection(FakeRequest::new("/ws/0").param("id", "0"));
    assert_eq!(zero.connect::<Everything>().unwrap_err().status(), Some(403));
    let none = host.connection("/ws").connect::<Everything>().unwrap_err();
    assert_eq!(none.status(), Some(400));
}

#[test]
fn further_events_see_the_state_of_the_handler() {
    let ann = everything(&FakeHost::new());
    ann.message::<Everything>("wake me");
    assert_eq!(ann.timers(), [(7, Duration::from_secs(30))]);
    ann.take_received();
    ann.timer::<Everything>(7);
    ann.drained::<Everything>();
    let expected: [Message; 2] = ["timer 7 after 4".into(), vec![1, 2].into()];
    assert_eq!((ann.take_received(), ann.timers()), (expected.to_vec(), vec![]));
}

#[test]
fn time_moves_where_the_test_moves_it() {
    let host = FakeHost::new().config("text", "x");
    let ann = everything(&host);
    ann.message::<Everything>("wake me");
    assert_eq!(ann.advance::<Everything>(Duration::from_secs(29)), [0; 0]);
    assert_eq!(ann.timers(), [(7, Duration::from_secs(1))]);
    assert_eq!(ann.advance::<Everything>(Duration::from_secs(1)), [7]);
    ann.take_received();
    assert_eq!(host.run::<News>(Duration::from_secs(5)), 5);
    assert_eq!(ann.take_received().len(), 5);
}

#[test]
fn values_of_the_store_end_with_the_time() {
    let host = FakeHost::new();
    let ann = host.connection("/ws");
    ann.message::<Keeper>("");
    host.advance(Duration::from_millis(999));
    assert_eq!((host.stored("short"), host.stored("count")), (Some(b"value".to_vec()), Some(b"1".to_vec())));
    host.advance(Duration::from_millis(1));
    assert_eq!((host.stored("short"), host.stored("count")), (None, None));
    ann.message::<Keeper>("");
    assert_eq!(host.stored("count"), Some(b"1".to_vec()));
}

#[test]
fn what_the_client_has_not_taken_waits_in_its_mailbox() {
    let ann = FakeHost::new().connection("/ws");
    ann.message::<Keeper>("");
    ann.message::<Keeper>("");
    assert_eq!(ann.take_received(), ["0", "1"]);
    ann.message::<Keeper>("");
    assert_eq!(ann.take_received(), ["0"]);
}

#[test]
fn pings_and_pongs_have_payloads() {
    let ann = everything(&FakeHost::new());
    ann.message::<Everything>("ping");
    ann.ping::<Everything>(b"there?");
    assert_eq!((ann.take_pings(), ann.take_pongs()), (vec![b"hello".to_vec()], vec![b"there?".to_vec()]));
}

#[test]
fn a_gate_passes_or_refuses() {
    let host = FakeHost::new();
    let passed = host.connection(FakeRequest::new("/ws").subprotocol("chat")).connect_gate::<Guard>();
    assert_eq!(passed, Ok(Pass::new().header("x-guard", "passed")));
    let refused = host.connection("/ws");
    assert!(refused.connect_gate::<Guard>().is_err());
    assert_eq!(refused.closed(), Some(Close::policy("No chat")));
}

#[test]
fn filters_decide_about_messages() {
    let ann = FakeHost::new().connection("/ws");
    assert_eq!(ann.inbound::<Guard>("spam"), Verdict::Drop);
    assert_eq!(ann.inbound::<Guard>("rude"), Verdict::Replace("polite".into()));
    assert_eq!(ann.outbound::<Guard>("hi"), Verdict::Pass);
    let origin = Origin { room: "lobby".into(), place: None };
    assert_eq!(ann.outbound_from::<Guard>("hi", &origin), Verdict::Pass);
    assert_eq!(ann.take_received(), ["- [true, true]", "lobby [true, true]"]);
    assert_eq!(ann.inbound::<Guard>("evil"), Verdict::Close(Close::policy("Go away")));
    assert_eq!(ann.closed(), Some(Close::policy("Go away")));
}

#[test]
fn a_service_speaks_to_everyone() {
    let host = FakeHost::new().config("text", "extra, extra");
    let ann = host.connection("/ws");
    host.start::<News>().unwrap();
    assert_eq!(host.tick::<News>(), Duration::from_secs(1));
    assert_eq!(ann.take_received(), ["extra, extra"]);
}
