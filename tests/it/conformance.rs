//! RFC 6455 case by case against the echo, in the groups of the usual conformance suite: framing, pings, reserved bits, opcodes,
//! fragments, UTF-8, closes, sizes.
//!
//! A case is what a client sends and all that has to come back. Each is sent whole, and once more byte by byte, since frames come
//! cut anywhere. Where the suite itself can be had, `tests/conformance/run` has all of its cases, those of compression too.

use switchboard_harness::{Client, Received, TestServer, masked};

use crate::fixtures::{serving, serving_within};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// First fragments, one that continues, and the last one.
const FIRST_TEXT: u8 = 0x01;
const FIRST_BINARY: u8 = 0x02;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

/// So long, a case is sent byte by byte too.
const CUT: usize = 1000;

fn text(text: &str) -> Received {
    Received::Text(text.to_owned())
}

fn binary(bytes: &[u8]) -> Received {
    Received::Binary(bytes.to_vec())
}

fn pong(bytes: &[u8]) -> Received {
    Received::Pong(bytes.to_vec())
}

/// Frames that are all answered; then the client closes.
async fn answered(server: &TestServer, frames: &[Vec<u8>], expected: &[Received]) {
    for mut client in sent(server, frames).await {
        receive(&mut client, expected).await;
        client.close(1000, "").await;
        expect_close(client, 1000).await;
    }
}

/// Frames that the server answers so far, and then by a close: since the client closes, or breaks the rules.
async fn closed(server: &TestServer, frames: &[Vec<u8>], (expected, code): (&[Received], u16)) {
    for mut client in sent(server, frames).await {
        receive(&mut client, expected).await;
        expect_close(client, code).await;
    }
}

/// A client that sends it whole, and where it is short one that sends it byte by byte.
async fn sent(server: &TestServer, frames: &[Vec<u8>]) -> Vec<Client> {
    let bytes = frames.concat();
    let mut whole = server.connect("/ws").await;
    whole.raw(&bytes).await;
    if bytes.len() > CUT {
        return vec![whole];
    }
    let mut cut = server.connect("/ws").await;
    for byte in &bytes {
        cut.raw(&[*byte]).await;
    }
    vec![whole, cut]
}

async fn receive(client: &mut Client, expected: &[Received]) {
    for expected in expected {
        let received = client.receive().await;
        // Not printed as a whole: some have megabytes.
        assert!(received == *expected, "not what was expected, but {:.200}", format!("{received:?}"));
    }
}

async fn expect_close(mut client: Client, code: u16) {
    match client.receive().await {
        Received::Close(closed, _) => assert_eq!(closed, code),
        other => panic!("no close with {code}, but {:.200}", format!("{other:?}")),
    }
    client.expect_end().await;
}

#[tokio::test]
async fn framing_of_all_lengths() {
    let server = serving("echo");
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        let (letters, bytes) = ("*".repeat(length), vec![0xFE; length]);
        answered(&server, &[masked(TEXT, letters.as_bytes())], &[text(&letters)]).await;
        answered(&server, &[masked(BINARY, &bytes)], &[binary(&bytes)]).await;
    }
}

#[tokio::test]
async fn pings_and_pongs() {
    let server = serving("echo");
    for payload in [&b""[..], b"Hello", &[0, 0xFF, 0xFE, 0xFD], &[0xFE; 125]] {
        answered(&server, &[masked(PING, payload)], &[pong(payload)]).await;
    }
    closed(&server, &[masked(PING, &[0xFE; 126])], (&[], 1002)).await;
    // Those that nobody asked for.
    answered(&server, &[masked(PONG, b""), masked(PONG, b"unsolicited")], &[]).await;
    answered(&server, &[masked(PONG, b"unsolicited"), masked(PING, b"a ping")], &[pong(b"a ping")]).await;
    let pings: Vec<_> = (0..10).map(|number| masked(PING, &[number])).collect();
    let pongs: Vec<_> = (0..10).map(|number| pong(&[number])).collect();
    answered(&server, &pings, &pongs).await;
}

#[tokio::test]
async fn reserved_bits_and_opcodes() {
    let server = serving("echo");
    let before = [text("before")];
    for reserved in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            let frames = [masked(TEXT, b"before"), masked(opcode | reserved, b"")];
            closed(&server, &frames, (&before, 1002)).await;
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for payload in [&b""[..], b"reserved"] {
            let frames = [masked(TEXT, b"before"), masked(0x80 | opcode, payload), masked(PING, b"behind")];
            closed(&server, &frames, (&before, 1002)).await;
        }
    }
}

#[tokio::test]
async fn fragments() {
    let server = serving("echo");
    let (first, more, last) = (masked(FIRST_TEXT, b"one"), masked(MORE, b"two"), masked(LAST, b"three"));
    let whole = [text("onetwothree")];
    answered(&server, &[first.clone(), more.clone(), last.clone()], &whole).await;
    answered(&server, &[masked(FIRST_TEXT, b""), masked(MORE, b""), masked(LAST, b"")], &[text("")]).await;
    answered(&server, &[masked(FIRST_BINARY, &[1]), masked(LAST, &[2])], &[binary(&[1, 2])]).await;
    let ping = masked(PING, b"between");
    let with_pings = [first.clone(), ping.clone(), more.clone(), ping, last.clone()];
    answered(&server, &with_pings, &[&[pong(b"between"), pong(b"between")], &whole[..]].concat()).await;
    for wrong in [
        &[masked(0x09, b"a ping in parts"), masked(LAST, b"")][..],
        &[masked(0x0A, b"a pong in parts"), masked(LAST, b"")],
        &[masked(0x08, b""), masked(LAST, b"")],
        &[more.clone(), masked(TEXT, b"behind")],
        &[last.clone(), masked(TEXT, b"behind")],
        &[first.clone(), masked(TEXT, b"another begins")],
        &[first.clone(), masked(FIRST_TEXT, b"another begins")],
    ] {
        closed(&server, wrong, (&[], 1002)).await;
    }
    let two = [first.clone(), last.clone(), last];
    closed(&server, &two, (&[text("onethree")], 1002)).await;
}

#[tokio::test]
async fn utf_8() {
    let server = serving("echo");
    let valid = [
        "Hello-µ@ßöäüàá-UTF-8!!",
        "κόσμε",
        "\u{0}",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{10000}",
        "\u{3fffe}",
        "\u{10ffff}",
    ];
    for valid in valid {
        answered(&server, &[masked(TEXT, valid.as_bytes())], &[text(valid)]).await;
        // Cut within its characters.
        let (last, before) = valid.as_bytes().split_last().expect("none is empty");
        answered(&server, &[masked(FIRST_TEXT, before), masked(LAST, &[*last])], &[text(valid)]).await;
    }
    for invalid in [
        &b"\x80"[..],
        b"\xbf",
        b"\x80\xbf\x80",
        b"\xc0 ",
        b"\xe0\xa0 ",
        b"\xf0\x90\x80 ",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9d\x84",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xed\xa0\x80",
        b"\xed\xaf\xbf\xed\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
        "κόσμε\u{fffd}".as_bytes().split_at(12).0,
    ] {
        closed(&server, &[masked(TEXT, invalid)], (&[], 1007)).await;
        let (first, last) = invalid.split_at(invalid.len() / 2);
        closed(&server, &[masked(FIRST_TEXT, first), masked(LAST, last)], (&[], 1007)).await;
        answered(&server, &[masked(BINARY, invalid)], &[binary(invalid)]).await;
    }
}

#[tokio::test]
async fn closes() {
    let server = serving("echo");
    let close = |code: u16, reason: &[u8]| masked(CLOSE, &[&code.to_be_bytes(), reason].concat());
    closed(&server, &[masked(CLOSE, b"")], (&[], 1005)).await;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        closed(&server, &[close(code, b"")], (&[], code)).await;
    }
    closed(&server, &[close(1000, &[b'*'; 123])], (&[], 1000)).await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        closed(&server, &[close(code, b"")], (&[], 1002)).await;
    }
    closed(&server, &[masked(CLOSE, &[3])], (&[], 1002)).await;
    closed(&server, &[close(1000, &[b'*'; 124])], (&[], 1002)).await;
    closed(&server, &[close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")], (&[], 1007)).await;
    // What comes behind a close is nothing.
    let behind = [close(1000, b""), masked(TEXT, b"behind"), masked(PING, b"behind"), close(1001, b"")];
    closed(&server, &behind, (&[], 1000)).await;
    closed(&server, &[masked(FIRST_TEXT, b"begun"), close(1000, b"")], (&[], 1000)).await;
}

#[tokio::test]
async fn sizes() {
    let server = serving_within("message-bytes = 4194304\neffects-bytes = 8388608", "echo");
    for length in [64 << 10, 256 << 10, 1 << 20, 4 << 20] {
        let (letters, bytes) = ("*".repeat(length), vec![0xFE; length]);
        answered(&server, &[masked(TEXT, letters.as_bytes())], &[text(&letters)]).await;
        answered(&server, &[masked(BINARY, &bytes)], &[binary(&bytes)]).await;
    }
    let mib = vec![b'*'; 1 << 20];
    for part in [64, 256, 1 << 10, 4 << 10, 64 << 10, 256 << 10] {
        let mut parts: Vec<_> = mib.chunks(part).map(|part| masked(MORE, part)).collect();
        parts[0][0] = FIRST_BINARY;
        parts.push(masked(LAST, b""));
        answered(&server, &parts, &[binary(&mib)]).await;
    }
    // A whole message in one piece, and more of them than are read at once.
    let many: Vec<_> = (0..1000).map(|number: u32| masked(TEXT, number.to_string().as_bytes())).collect();
    let all: Vec<_> = (0..1000).map(|number: u32| text(&number.to_string())).collect();
    answered(&server, &many, &all).await;
}
