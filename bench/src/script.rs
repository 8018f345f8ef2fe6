//! What every connection says and what it must hear: one message, over and over, and its echo.
//!
//! Both directions of a connection are therefore periodic streams of bytes. A position in them is all that a
//! connection has to remember: what is still to be written is a slice of a buffer built beforehand, what was answered
//! is a division, and checking an answer is a comparison with the period.
//! Invariant: `requests` holds one frame more than may be in flight, so that a slice that begins inside a frame fits.

use crate::frames;

pub struct Script {
    frame_length: usize,
    requests: Vec<u8>,
    reply: Vec<u8>,
    /// Whether connections offer compression.
    pub offers_deflate: bool,
}

impl Script {
    /// Messages of `size` bytes of text, of which up to `in_flight` wait for their echo at a time.
    pub fn new(size: usize, in_flight: usize) -> Self {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        Self::of_frames(&frames::client_text(&payload), frames::server_text(&payload), in_flight)
    }

    /// This frame, which is answered by that one.
    pub fn of_frames(request: &[u8], reply: Vec<u8>, in_flight: usize) -> Self {
        let requests = request.repeat(in_flight + 1);
        Self { frame_length: request.len(), requests, reply, offers_deflate: false }
    }

    /// The same for connections that offer compression, and need it.
    pub fn with_deflate(self) -> Self {
        Self { offers_deflate: true, ..self }
    }

    pub fn frame_length(&self) -> usize {
        self.frame_length
    }

    pub fn reply_length(&self) -> usize {
        self.reply.len()
    }

    /// The next `length` bytes to write for a connection that has written `position` bytes.
    pub fn requests_from(&self, position: u64, length: usize) -> &[u8] {
        let start = offset(position, self.frame_length);
        &self.requests[start..start + length]
    }

    /// How many whole echoes a connection has that has received `bytes`.
    pub fn answers_in(&self, bytes: u64) -> u64 {
        bytes / self.reply.len() as u64
    }

    /// Whether `bytes` are what must follow for a connection that has received `position` bytes.
    pub fn is_answer(&self, position: u64, bytes: &[u8]) -> bool {
        let mut start = offset(position, self.reply.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(self.reply.len() - start));
            if head != &self.reply[start..start + head.len()] {
                return false;
            }
            (rest, start) = (tail, 0);
        }
        true
    }
}

fn offset(position: u64, period: usize) -> usize {
    // A remainder is below the period, which is a usize.
    (position % period as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_echoes_count() {
        let script = Script::new(64, 1);
        assert_eq!(script.reply_length(), 66);
        assert_eq!(script.answers_in(0), 0);
        assert_eq!(script.answers_in(65), 0);
        assert_eq!(script.answers_in(66), 1);
        assert_eq!(script.answers_in(66 * 16 + 65), 16);
    }

    #[test]
    fn a_message_without_payload_still_counts() {
        let script = Script::new(0, 1);
        assert_eq!((script.frame_length(), script.reply_length()), (6, 2));
        assert_eq!(script.answers_in(5), 2);
    }

    #[test]
    fn answers_are_checked_across_any_split() {
        let script = Script::new(200, 4);
        let stream = script.reply.repeat(4);
        for cut in 0..stream.len() {
            assert!(script.is_answer(0, &stream[..cut]));
            assert!(script.is_answer(cut as u64, &stream[cut..]));
        }
    }

    #[test]
    fn a_wrong_byte_is_found_wherever_it_is() {
        let script = Script::new(10, 4);
        for wrong in 0..script.reply.len() * 3 {
            let mut stream = script.reply.repeat(3);
            stream[wrong] ^= 1;
            assert!(!script.is_answer(0, &stream));
        }
    }

    #[test]
    fn a_write_can_go_on_inside_a_frame() {
        let script = Script::new(10, 2);
        let length = script.frame_length();
        let stream = script.requests.clone();
        assert_eq!(script.requests_from(5, 2 * length), &stream[5..5 + 2 * length]);
        assert_eq!(script.requests_from(7 * length as u64, length), &stream[..length]);
    }
}
