//! WebSocket frames as bytes (RFC 6455, section 5.2): the masked text frame a client sends, the unmasked one a
//! server answers with, and the close frame that ends a connection.
//!
//! Frames are built once, before the clock runs, and written again and again; so the mask key may be fixed. This is
//! not a WebSocket library: nothing here reads a frame.
//! Invariant: a frame has the shortest length encoding, because the answer of a server is compared byte by byte.

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
pub const FINAL_TEXT: u8 = 0x81;
/// The bit of a compressed message.
pub const COMPRESSED: u8 = 0x40;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;
const MASKED: u8 = 0x80;
const NORMAL_CLOSURE: u16 = 1000;

/// A text message in one frame, as a client must send it.
pub fn client_text(payload: &[u8]) -> Vec<u8> {
    masked(FINAL_TEXT, payload)
}

/// A message that was deflated, in one frame, as a client must send it (RFC 7692, section 6).
pub fn client_deflated(deflated: &[u8]) -> Vec<u8> {
    masked(FINAL_TEXT | COMPRESSED, deflated)
}

/// The same message in one frame, as a server must answer it.
pub fn server_text(payload: &[u8]) -> Vec<u8> {
    let mut frame = header(FINAL_TEXT, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

/// The frame with which a client says that it is done.
pub fn client_close() -> Vec<u8> {
    masked(FINAL_CLOSE, &NORMAL_CLOSURE.to_be_bytes())
}

/// A ping without payload: its answer says that what came before it was dealt with.
pub fn client_ping() -> Vec<u8> {
    masked(FINAL_PING, &[])
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len(), MASKED);
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn header(first: u8, length: usize, mask_bit: u8) -> Vec<u8> {
    let mut header = vec![first];
    if let Ok(short) = u8::try_from(length)
        && short <= 125
    {
        header.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(length) {
        header.push(mask_bit | 126);
        header.extend_from_slice(&medium.to_be_bytes());
    } else {
        header.push(mask_bit | 127);
        header.extend_from_slice(&(length as u64).to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_encoding() {
        assert_eq!(header(FINAL_TEXT, 0, 0), [0x81, 0]);
        assert_eq!(header(FINAL_TEXT, 125, 0), [0x81, 125]);
        assert_eq!(header(FINAL_TEXT, 126, 0), [0x81, 126, 0, 126]);
        assert_eq!(header(FINAL_TEXT, 65535, 0), [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(FINAL_TEXT, 65536, 0), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn client_frames_carry_the_mask_bit_and_the_key() {
        for (length, header_length) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            let frame = client_text(&vec![b'x'; length]);
            assert_eq!(frame.len(), header_length + MASK.len() + length);
            assert_eq!(frame[1] & MASKED, MASKED);
            assert_eq!(frame[header_length..header_length + 4], MASK);
        }
    }

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(client_text(b"Hello"), hello);
        assert_eq!(server_text(b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn masking_twice_gives_the_payload_back() {
        let payload: Vec<u8> = (0..=255).collect();
        let frame = client_text(&payload);
        let unmasked: Vec<u8> = frame[8..].iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(unmasked, payload);
    }

    #[test]
    fn a_close_says_that_all_is_well() {
        let frame = client_close();
        assert_eq!(frame[..2], [0x88, 0x82]);
        assert_eq!([frame[6] ^ MASK[0], frame[7] ^ MASK[1]], [0x03, 0xe8]);
    }
}
