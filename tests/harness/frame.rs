//! WebSocket frames by hand, for clients that break the rules (RFC 6455, section 5.2).
//!
//! The first byte holds FIN (0x80), the reserved bits (0x70) and the opcode: 0x81 is a whole text, 0x01 the first part of
//! one, 0x80 its last part, 0x89 a ping.

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A frame as a client has to send it.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, 0x80, payload.len());
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame as only a server may send it.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&head(first, 0, payload.len()), payload].concat()
}

fn head(first: u8, mask: u8, length: usize) -> Vec<u8> {
    match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xFFFF => [&[first, mask | 126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[first, mask | 127], &(length as u64).to_be_bytes()[..]].concat(),
    }
}
