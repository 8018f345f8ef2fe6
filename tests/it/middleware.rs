//! The onion: scenarios M1 to M4, M6, M7 and B5. M5, a filter that traps, is in `faults`.
//!
//! Each link writes what it was told to the log, tagged with its name; so the order of the log is the order of the chain.

use switchboard_harness::TestServer;

use crate::fixtures::start;

/// Global `G1` and `G2`, router `R1`, route `RT1`, and a handler that does what its client says.
/// `r1` is the configuration of `R1`.
fn onion(r1: &str) -> TestServer {
    start(&format!(
        r#"
        middleware = ["G1", "G2"]

        [plugins]
        G1 = {{ path = "link.wasm", config = {{ connect = "set user ann", disconnect = "get user" }} }}
        G2 = {{ path = "link.wasm" }}
        R1 = {{ path = "link.wasm", config = {{ {r1} }} }}
        RT1 = {{ path = "link.wasm" }}
        handler = {{ path = "puppet.wasm" }}

        [[router]]
        name = "inner"
        prefix = "/inner"
        middleware = ["R1"]

        [[router.route]]
        path = "/ws"
        handler = "handler"
        middleware = ["RT1"]

        [[route]]
        path = "/outer"
        handler = "handler"
        "#
    ))
}

/// What the guests wrote, as `PLUGIN LINE`.
fn told(server: &TestServer) -> Vec<String> {
    let records = server.log().records().into_iter().filter(|record| record.is_of_guest());
    records.map(|record| format!("{} {}", record.field("plugin"), record.message)).collect()
}

/// What they wrote, once the outermost one was told of the end.
async fn all_told(server: &TestServer) -> Vec<String> {
    server.logged(|record| record.field("plugin") == "G1" && record.message == "user is ann").await;
    told(server)
}

/// The same line from each of these.
fn each(plugins: &[&str], line: &str) -> Vec<String> {
    plugins.iter().map(|plugin| format!("{plugin} {line}")).collect()
}

const INWARDS: [&str; 5] = ["G1", "G2", "R1", "RT1", "handler"];
const OUTWARDS: [&str; 5] = ["handler", "RT1", "R1", "G2", "G1"];

#[tokio::test]
async fn m1_events_pass_the_onion_inwards_and_outwards() {
    let server = onion("");
    let mut ann = server.connect("/inner/ws").await;
    ann.send("send hello").await;
    ann.expect_text("hello").await;
    ann.close(1000, "bye").await;
    ann.expect_close(1000, "bye").await;
    let expected = [
        each(&INWARDS, "connect"),
        each(&INWARDS, "in send hello"),
        each(&OUTWARDS[1..], "out hello"),
        each(&OUTWARDS, "disconnect 1000 \"bye\""),
        each(&["G1"], "user is ann"),
    ];
    assert_eq!(all_told(&server).await, expected.concat());
}

#[tokio::test]
async fn m2_a_refusal_reaches_nobody_inside_and_all_that_passed() {
    for (refusal, heard) in
        [("close 1008 no", "disconnect 1008 \"no\""), ("respond 402 pay", "disconnect 1006 \"refused\"")]
    {
        let server = onion(&format!("connect = '{refusal}'"));
        match server.request("/inner/ws").open().await {
            Ok(mut opened) => opened.expect_close(1008, "no").await,
            Err(refused) => assert_eq!((refused.status, refused.body.as_str()), (402, "pay")),
        }
        let expected = [each(&INWARDS[..3], "connect"), each(&["G2", "G1"], heard), each(&["G1"], "user is ann")];
        assert_eq!(all_told(&server).await, expected.concat());
    }
}

#[tokio::test]
async fn m3_a_filter_replaces_a_message_for_those_behind_it() {
    let server = onion("in = 'append !', out = 'append ?'");
    let mut ann = server.connect("/inner/ws").await;
    ann.send("send hello").await;
    ann.expect_text("hello!?").await;
    let expected = [
        each(&["G1", "G2", "R1"], "in send hello"),
        each(&["RT1", "handler"], "in send hello!"),
        each(&["RT1", "R1"], "out hello!"),
        each(&["G2", "G1"], "out hello!?"),
    ];
    assert_eq!(told(&server)[INWARDS.len()..], expected.concat());
}

#[tokio::test]
async fn m3_a_dropped_message_goes_no_further_and_what_was_asked_for_happens() {
    let server = onion("in = 'send dropped; drop', when = 'send x'");
    let mut ann = server.connect("/inner/ws").await;
    ann.send("send x").await;
    ann.expect_text("dropped").await;
    ann.send("send y").await;
    ann.expect_text("y").await;
    assert!(!told(&server).contains(&"RT1 in send x".to_owned()), "{:?}", told(&server));
}

#[tokio::test]
async fn m3_a_message_to_the_client_can_be_dropped_too() {
    let server = onion("out = 'drop', when = 'secret'");
    let mut ann = server.connect("/inner/ws").await;
    ann.send("send secret\nsend open").await;
    ann.expect_text("open").await;
    assert!(!told(&server).contains(&"G2 out secret".to_owned()), "{:?}", told(&server));
}

#[tokio::test]
async fn m3_a_filter_closes_in_place_of_the_message() {
    let server = onion("in = 'send enough; close 4000 too much', when = 'send x'");
    let mut ann = server.connect("/inner/ws").await;
    ann.send("send x").await;
    ann.expect_text("enough").await;
    ann.expect_close(4000, "too much").await;
    let told = all_told(&server).await;
    assert!(!told.contains(&"RT1 in send x".to_owned()), "{told:?}");
    assert!(told.contains(&"handler disconnect 4000 \"too much\"".to_owned()), "{told:?}");
}

#[tokio::test]
async fn m3_a_filter_closes_in_place_of_a_message_to_the_client() {
    let server = onion("out = 'close 4001 not for you', when = 'secret'");
    let mut ann = server.connect("/inner/ws?do=join+lobby").await;
    let mut bob = server.connect("/outer?do=join+lobby").await;
    bob.send("publish lobby open\npublish lobby secret").await;
    for text in ["open", "secret"] {
        bob.expect_text(text).await;
    }
    ann.expect_text("open").await;
    ann.expect_close(4001, "not for you").await;
}

#[tokio::test]
async fn m4_headers_of_gates_are_in_the_101() {
    let server = onion("connect = 'header X-Gate one; header X-Gate two'");
    let ann = server.connect("/inner/ws").await;
    assert_eq!(ann.response().header_all("X-Gate").collect::<Vec<_>>(), ["one", "two"]);
}

#[tokio::test]
async fn m4_a_header_that_breaks_out_of_its_line_or_belongs_to_the_host_is_refused() {
    for header in
        ["X-Gate oneCRLFX-Evil: two", "Upgrade h2c", "Sec-WebSocket-Accept mine", "Content-Length 5", "X(Gate one"]
    {
        let server = onion(&format!("connect = 'header {header}'"));
        let refused = server.request("/inner/ws").refused().await;
        assert_eq!((refused.status, refused.body.as_str()), (500, "internal error\n"), "{header}");
        assert_eq!(refused.header("x-evil"), None);
        let fault = server.logged(|record| record.field("cause") == "answer").await;
        assert_eq!(fault.field("plugin"), "R1", "the one whose header it is");
        let ends = all_told(&server).await.into_iter().filter(|line| line.contains("disconnect"));
        let gates = each(&OUTWARDS[1..], "disconnect 1006");
        assert_eq!(
            ends.collect::<Vec<_>>(),
            gates,
            "all gates had passed, and for the handler there was no connection"
        );
    }
}

#[tokio::test]
async fn m6_what_an_outbound_filter_sends_passes_only_the_filters_further_out() {
    let server = onion("out = 'send extra', when = 'hello'");
    let mut ann = server.connect("/inner/ws").await;
    ann.send("send hello").await;
    ann.expect_text("hello").await;
    ann.expect_text("extra").await;
    let out = told(&server).into_iter().filter(|line| line.contains(" out "));
    let expected = [each(&OUTWARDS[1..], "out hello"), each(&["G2", "G1"], "out extra")];
    assert_eq!(out.collect::<Vec<_>>(), expected.concat());
}

#[tokio::test]
async fn m6_an_outbound_filter_may_not_publish_join_or_leave() {
    let server = onion("out = 'publish lobby leaked; join den; leave lobby', when = 'hello'");
    let mut bob = server.connect("/outer?do=join+lobby").await;
    let mut ann = server.connect("/inner/ws?do=join+lobby").await;
    ann.send("send hello").await;
    ann.expect_text("hello").await;
    for verb in ["publish", "join", "leave"] {
        ann.expect_text(&format!("{verb}: denied")).await;
    }
    bob.send("count den\ncount lobby").await;
    bob.expect_text("den has 0").await;
    bob.expect_text("lobby has 2").await;
}

#[tokio::test]
async fn m7_a_gate_that_passed_reads_its_state_when_a_gate_further_in_refuses() {
    let server = onion("connect = 'get user; close 4003 later'");
    server.connect("/inner/ws").await.expect_close(4003, "later").await;
    let expected = [
        each(&INWARDS[..3], "connect"),
        each(&["R1"], "user is ann"),
        each(&["G2", "G1"], "disconnect 4003 \"later\""),
        each(&["G1"], "user is ann"),
    ];
    server.until("the end is told", |server| told(server).len() >= 7).await;
    assert_eq!(told(&server), expected.concat());
}

#[tokio::test]
async fn b5_the_hooks_of_a_router_see_each_event_once_however_it_ends() {
    let server = onion("");
    let mut ann = server.connect("/inner/ws").await;
    for text in ["one", "two", "three"] {
        ann.send(&format!("send {text}")).await;
        ann.expect_text(text).await;
    }
    ann.reset();
    let told = all_told(&server).await;
    let expected = ["connect", "in send one", "out one", "in send two", "out two", "in send three", "out three"];
    let expected = [expected.map(|line| format!("R1 {line}")).to_vec(), each(&["R1"], "disconnect 1006")];
    let of_router = told.into_iter().filter(|line| line.starts_with("R1 "));
    assert_eq!(of_router.collect::<Vec<_>>(), expected.concat());
}
