//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! `offer` agrees on it in the handshake, `inflating` sits below the WebSocket library and hands it plain frames; what is
//! written is deflated here, before the library sees it. Both directions begin anew with each message, so the codecs belong
//! to the thread and an idle connection has none.
//! Invariant: inflating stops at the limit of a message, whatever its compressed form promises.

mod inflating;
mod offer;

pub use inflating::Inflating;
pub use offer::{Agreed, agree};

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::config::CompressionConfig;
use bytes::Bytes;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What ends each message on the way through a codec, and is left out on the wire (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Room that is made at first for what a message is inflated to.
const FIRST_ROOM: usize = 4 * 1024;

/// How many messages are remembered that were deflated, of how many bytes at most.
const MOST_RECENT: usize = 8;
const LARGEST_RECENT: usize = 64 * 1024;

thread_local! {
    /// What was deflated last, for a message that goes to many.
    static RECENT: RefCell<VecDeque<Done>> = const { RefCell::new(VecDeque::new()) };
    /// One for each level and window that routes of this server use: a few.
    static DEFLATERS: RefCell<Vec<(Settings, Compress)>> = const { RefCell::new(Vec::new()) };
    /// A window of the largest size takes what any other wrote.
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// What a connection agreed on for what is written to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deflating {
    settings: Settings,
    threshold: usize,
}

/// How messages are deflated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// From 1, fast, to 9, small.
    pub level: u8,
    /// The window is two to the power of this, 9 to 15.
    pub window_bits: u8,
}

/// A message that was deflated, or did not get smaller.
struct Done {
    message: Bytes,
    settings: Settings,
    deflated: Option<Bytes>,
}

/// Why a message cannot be inflated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It is larger than a message may be.
    TooBig,
    /// It is not what deflating makes.
    Malformed,
}

impl Deflating {
    /// As the route says, with the window that was agreed on.
    pub fn new(config: &CompressionConfig, agreed: Agreed) -> Self {
        let settings = Settings { level: config.level, window_bits: agreed.window_bits };
        Self { settings, threshold: config.threshold }
    }

    /// The message as it is to be written, if that is deflated. One that goes to many is deflated once.
    pub fn deflate(&self, message: &Bytes) -> Option<Bytes> {
        if message.len() < self.threshold {
            return None;
        }
        if message.len() > LARGEST_RECENT {
            return deflate(message, self.settings);
        }
        RECENT.with_borrow_mut(|recent| {
            let is_same = |done: &Done| done.settings == self.settings && is_same(&done.message, message);
            if let Some(done) = recent.iter().find(|done| is_same(done)) {
                return done.deflated.clone();
            }
            let deflated = deflate(message, self.settings);
            recent.truncate(MOST_RECENT - 1);
            recent.push_front(Done { message: message.clone(), settings: self.settings, deflated: deflated.clone() });
            deflated
        })
    }
}

/// Whether these are the same bytes in memory, which nobody else can have while they are held.
fn is_same(one: &Bytes, other: &Bytes) -> bool {
    one.as_ptr() == other.as_ptr() && one.len() == other.len()
}

/// Room for the ends of blocks.
const ENDS: usize = 64;

/// Deflates a message; none where that does not make it smaller.
pub fn deflate(payload: &[u8], settings: Settings) -> Option<Bytes> {
    DEFLATERS.with_borrow_mut(|deflaters| {
        let known = deflaters.iter().position(|(known, _)| *known == settings);
        let index = known.unwrap_or_else(|| {
            let level = Compression::new(settings.level.into());
            deflaters.push((settings, Compress::new_with_window_bits(level, false, settings.window_bits)));
            deflaters.len() - 1
        });
        deflate_with(&mut deflaters[index].1, payload)
    })
}

/// With room for whatever comes of it: the library panics where noise fills less, in its fastest way (zlib-rs 0.6.8, level 1). There, a
/// byte takes nine bits at most; the rest are the ends of blocks.
fn deflate_with(deflater: &mut Compress, payload: &[u8]) -> Option<Bytes> {
    deflater.reset();
    let mut deflated = Vec::with_capacity(payload.len() + payload.len() / 4 + ENDS);
    deflater.compress_vec(payload, &mut deflated, FlushCompress::Sync).ok()?;
    let is_whole = deflater.total_in() == payload.len() as u64 && deflated.ends_with(&TAIL);
    deflated.truncate(deflated.len().saturating_sub(TAIL.len()));
    (is_whole && deflated.len() < payload.len()).then(|| deflated.into())
}

/// Inflates a message to `limit` bytes at most.
pub fn inflate(deflated: &[u8], limit: usize) -> Result<Vec<u8>, Unfit> {
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut message = Vec::new();
        for part in [deflated, &TAIL] {
            // What follows a last block is nothing (RFC 7692, section 7.2.3.5).
            if inflate_part(inflater, part, (&mut message, limit))? == Status::StreamEnd {
                break;
            }
        }
        Ok(message)
    })
}

fn inflate_part(
    inflater: &mut Decompress,
    mut part: &[u8],
    (message, limit): (&mut Vec<u8>, usize),
) -> Result<Status, Unfit> {
    loop {
        if message.len() == message.capacity() {
            // One byte beyond the limit shows that there is more.
            let room = message.len().max(FIRST_ROOM).min(limit + 1 - message.len());
            message.reserve_exact(room);
        }
        let before = inflater.total_in();
        let status = inflater.decompress_vec(part, message, FlushDecompress::Sync).map_err(|_| Unfit::Malformed)?;
        part = &part[usize::try_from(inflater.total_in() - before).unwrap_or(part.len())..];
        if message.len() > limit {
            return Err(Unfit::TooBig);
        }
        // Where there is room left, all that could be made of it was made.
        if status == Status::StreamEnd || (part.is_empty() && message.len() < message.capacity()) {
            return Ok(status);
        }
        if status == Status::BufError && message.len() < message.capacity() {
            return Err(Unfit::Malformed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { level: 6, window_bits: 15 };

    fn text(length: usize) -> Vec<u8> {
        b"a line that comes again, with a number: ".iter().cycle().take(length).copied().collect()
    }

    #[test]
    fn what_was_deflated_is_inflated_to_the_same() {
        for length in [100, 4095, 4096, 4097, 100_000] {
            for window_bits in 9..=15 {
                let message = text(length);
                let deflated = deflate(&message, Settings { level: 1, window_bits }).expect("it gets smaller");
                assert_eq!(inflate(&deflated, length), Ok(message), "{length} bytes");
            }
        }
    }

    /// Of which so many in 256 are like any other.
    fn noise(length: usize, share: u64) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..length).map(|_| if next() % 256 < share { (next() >> 32) as u8 } else { b'a' }).collect()
    }

    #[test]
    fn noise_that_gets_no_smaller_or_hardly_is_no_trouble_at_any_level() {
        for level in 1..=9 {
            for window_bits in 9..=15 {
                for (length, share) in
                    [700, 4096, 70_000].into_iter().flat_map(|length| [256, 200, 20].map(|share| (length, share)))
                {
                    let message = noise(length, share);
                    let deflated = deflate(&message, Settings { level, window_bits });
                    if let Some(deflated) = deflated {
                        assert!(deflated.len() < length);
                        assert_eq!(inflate(&deflated, length), Ok(message), "level {level}, {length} bytes");
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_of_the_limit_passes_and_a_byte_more_does_not() {
        let deflated = deflate(&text(10_000), SETTINGS).expect("it gets smaller");
        assert!(inflate(&deflated, 10_000).is_ok());
        assert_eq!(inflate(&deflated, 9_999), Err(Unfit::TooBig));
        assert_eq!(inflate(&deflated, 0), Err(Unfit::TooBig));
    }

    #[test]
    fn a_bomb_takes_no_more_than_the_limit() {
        let bomb = deflate(&vec![0; 64 << 20], Settings { level: 9, window_bits: 15 }).expect("it gets much smaller");
        assert!(bomb.len() < 100_000);
        assert_eq!(inflate(&bomb, 1 << 20), Err(Unfit::TooBig));
    }

    #[test]
    fn what_does_not_get_smaller_is_left_as_it_is() {
        assert_eq!(deflate(b"", SETTINGS), None);
        assert_eq!(deflate(b"short", SETTINGS), None);
    }

    #[test]
    fn what_nobody_deflated_is_malformed() {
        assert_eq!(inflate(&[0xff; 20], 1000), Err(Unfit::Malformed));
        assert_eq!(inflate(&[], 1000), Ok(Vec::new()));
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7692, section 7.2.3: one block, one without compression, one that is marked as the last.
        for deflated in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(deflated, 100), Ok(b"Hello".to_vec()));
        }
    }
}
