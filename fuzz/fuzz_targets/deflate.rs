//! A message to a client, deflated: at every level and with every window, whatever guests send.
//!
//! The input is a message of pieces that come again, as large as it takes for the codec to fill its buffers. What is deflated is smaller,
//! and is inflated to the same; nothing in the codec gives up.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use switchboard::server::fuzzing::{Settings, deflate, inflate};

/// The largest message.
const MOST: usize = 512 * 1024;

#[derive(Arbitrary, Debug)]
struct Input {
    level: u8,
    window_bits: u8,
    pieces: Vec<(Vec<u8>, u8)>,
    /// Where noise begins from, if there is any.
    seed: u64,
    noise: u16,
}

fuzz_target!(|input: Input| {
    let message = message(&input);
    let settings = Settings { level: 1 + input.level % 9, window_bits: 9 + input.window_bits % 7 };
    if let Some(deflated) = deflate(&message, settings) {
        assert!(deflated.len() < message.len());
        assert_eq!(inflate(&deflated, message.len()).as_deref(), Ok(&message[..]), "{settings:?}");
    }
});

fn message(input: &Input) -> Vec<u8> {
    let mut message = Vec::new();
    for (piece, times) in &input.pieces {
        for _ in 0..=*times {
            message.extend_from_slice(piece);
        }
        message.truncate(MOST);
    }
    let mut state = input.seed | 1;
    message.extend((0..input.noise).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    }));
    message
}
