//! What is sent: JSON of a given size, as applications send it.
//!
//! Prices with names that come again and numbers that do not, which deflates about as well as such messages do. The same for
//! each run, so that figures of two runs can be compared.
//! Invariant: a document is JSON and has the size that was asked for, to the byte.

use std::ops::RangeInclusive;

/// What can be asked for.
pub const SIZES: RangeInclusive<usize> = 64..=1 << 20;
const SYMBOLS: [&str; 8] = ["ACME", "GLBX", "INIT", "HOOL", "UMBR", "WYNE", "STRK", "TYRL"];
const VENUES: [&str; 3] = ["north", "harbor", "old-town"];

/// A document of this size.
pub fn of(size: usize) -> Vec<u8> {
    let mut numbers = Numbers(size as u64 + 1);
    let mut text = format!("{{\"event\":\"prices\",\"at\":{}", 1_700_000_000_000 + numbers.below(1_000_000_000));
    let end = ",\"note\":\"\"}".len();
    let mut is_first = true;
    loop {
        let start = if is_first { ",\"items\":[" } else { "," };
        let item = start.to_owned() + &item(&mut numbers);
        if text.len() + item.len() + "]".len() + end > size {
            break;
        }
        text += &item;
        is_first = false;
    }
    if !is_first {
        text.push(']');
    }
    let room = size.saturating_sub(text.len() + end);
    let note: String = (0..room).map(|_| numbers.letter()).collect();
    (text + ",\"note\":\"" + &note + "\"}").into_bytes()
}

fn item(numbers: &mut Numbers) -> String {
    let (symbol, venue) = (SYMBOLS[numbers.index(8)], VENUES[numbers.index(3)]);
    let (price, size, up) = (numbers.below(900_000) + 1000, numbers.below(500), numbers.below(2) == 0);
    let (whole, cents) = (price / 100, price % 100);
    format!(
        "{{\"symbol\":\"{symbol}\",\"price\":{whole}.{cents:02},\"size\":{size},\"venue\":\"{venue}\",\"up\":{up}}}"
    )
}

/// Marsaglia's xorshift with 64 bits: numbers without a pattern that deflate would find.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn index(&mut self, end: usize) -> usize {
        // Below `end`, which is a usize.
        self.below(end as u64) as usize
    }

    fn letter(&mut self) -> char {
        char::from(b'a' + self.index(26) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_document_is_json_of_the_size_that_was_asked_for() {
        for size in [*SIZES.start(), 65, 127, 200, 800, 4000, 70_000] {
            let document = of(size);
            assert_eq!(document.len(), size);
            let read: Value = serde_json::from_slice(&document).unwrap();
            assert_eq!(read["event"], "prices");
            assert_eq!(document, of(size), "each run has the same");
        }
        assert!(serde_json::from_slice::<Value>(&of(800)).unwrap()["items"].as_array().unwrap().len() > 5);
    }
}
