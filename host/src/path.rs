//! The path of a request, normalized once, before anything else looks at it.
//!
//! Each segment is decoded and encoded again in one canonical way, so that `/caf%c3%a9`, `/caf%C3%A9` and a pattern
//! that says `/café` are the same; an encoded slash stays encoded, inside its segment.
//! Invariant: a normalized path has no dot segments, no control characters, and is UTF-8 once decoded.

pub mod pattern;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What is encoded in a segment: all but unreserved characters, sub-delimiters, ':' and '@' (RFC 3986, section 3.3).
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The normalized path; none where it is not one that a client may ask for.
pub fn normalize(raw: &str) -> Option<String> {
    let rest = raw.strip_prefix('/')?;
    let mut path = String::with_capacity(raw.len());
    for segment in rest.split('/') {
        path.push('/');
        path.push_str(&canonical_segment(segment)?);
    }
    Some(path)
}

/// One segment in its canonical form; none for a dot segment, a control character, or what cannot be decoded.
pub fn canonical_segment(segment: &str) -> Option<String> {
    let decoded = decode(segment)?;
    let forbidden = decoded == "." || decoded == ".." || decoded.chars().any(char::is_control);
    (!forbidden).then(|| utf8_percent_encode(&decoded, ENCODED).to_string())
}

/// Percent-decoded; none where that is not UTF-8, or a percent sign has not two digits behind it (RFC 3986, section 2.1).
pub fn decode(text: &str) -> Option<String> {
    let mut escapes = text.split('%').skip(1).map(str::as_bytes);
    if !escapes.all(|behind| behind.len() >= 2 && behind[..2].iter().all(u8::is_ascii_hexdigit)) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_form() {
        for (raw, normal) in [
            ("/ws", "/ws"),
            ("/%77s", "/ws"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/a//b/", "/a//b/"),
        ] {
            assert_eq!(normalize(raw).as_deref(), Some(normal), "{raw}");
        }
    }

    #[test]
    fn what_nobody_may_ask_for_is_refused() {
        for raw in ["", "ws", "/..", "/a/%2e%2E/b", "/.", "/%00", "/a%0d%0ab", "/%ff", "/a%", "/%4", "/%zz", "/%%41"] {
            assert_eq!(normalize(raw), None, "{raw}");
        }
    }
}
