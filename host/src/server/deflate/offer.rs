//! Agreeing on compression in the handshake.
//!
//! The client offers `permessage-deflate`, maybe several times with other parameters; the first offer that can be kept is
//! answered. Both sides begin anew with each message, which a server may ask for whatever was offered (RFC 7692, section
//! 7.1.1).
//! Invariant: an offer with anything unknown, repeated or out of range is declined, which leaves a connection without.

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;

const NAME: &str = "permessage-deflate";
/// The largest window, two to the power of this, and the smallest that the codec can write.
const LARGEST: u8 = 15;
const SMALLEST: u8 = 9;

/// What was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// The window of what the server writes.
    pub window_bits: u8,
    /// Whether the answer has to name it.
    is_asked: bool,
}

impl Agreed {
    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub fn answer(self) -> String {
        let window =
            if self.is_asked { format!("; server_max_window_bits={}", self.window_bits) } else { String::new() };
        format!("{NAME}; server_no_context_takeover; client_no_context_takeover{window}")
    }
}

/// Agrees to the first offer that can be kept, with no larger window than `window_bits`; none where there is none.
pub fn agree(headers: &HeaderMap, window_bits: u8) -> Option<Agreed> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|offer| keep(offer, window_bits))
}

fn keep(offer: &str, most: u8) -> Option<Agreed> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let (mut seen, mut asked) = (Vec::new(), None);
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        if seen.contains(&name) || !is_known(name, value) {
            return None;
        }
        if name == "server_max_window_bits" {
            asked = Some(bits(value?).filter(|bits| *bits >= SMALLEST)?);
        }
        seen.push(name);
    }
    Some(Agreed { window_bits: asked.unwrap_or(LARGEST).min(most), is_asked: asked.is_some() })
}

fn is_known(name: &str, value: Option<&str>) -> bool {
    match name {
        "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
        "server_max_window_bits" => value.and_then(bits).is_some(),
        "client_max_window_bits" => value.is_none_or(|value| bits(value).is_some()),
        _ => false,
    }
}

/// A window as it is written: 8 to 15, without leading zeros.
fn bits(value: &str) -> Option<u8> {
    value.parse().ok().filter(|bits| (8..=LARGEST).contains(bits) && !value.starts_with(['0', '+']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(offers: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, offer.parse().expect("it is a value"));
        }
        agree(&headers, LARGEST).map(Agreed::answer)
    }

    #[test]
    fn what_browsers_offer_is_agreed_to() {
        let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "Permessage-Deflate;client_max_window_bits=10",
        ] {
            assert_eq!(answer(&[offer]).as_deref(), Some(agreed), "{offer}");
        }
    }

    #[test]
    fn the_first_offer_that_can_be_kept_is_taken() {
        let agreed =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10";
        let first = "x-webkit-frame, permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10";
        assert_eq!(answer(&[first]).as_deref(), Some(agreed));
        assert_eq!(
            answer(&["permessage-bzip2", "permessage-deflate; server_max_window_bits=\"10\""]).as_deref(),
            Some(agreed)
        );
    }

    #[test]
    fn what_is_unknown_repeated_or_out_of_range_is_declined() {
        for offer in [
            "",
            "permessage-deflat",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=012",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=999999999999",
        ] {
            assert_eq!(answer(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn a_route_may_want_a_smaller_window_than_the_client() {
        let mut headers = HeaderMap::new();
        headers.append(
            SEC_WEBSOCKET_EXTENSIONS,
            "permessage-deflate; server_max_window_bits=12".parse().expect("a value"),
        );
        assert_eq!(agree(&headers, 10).map(|agreed| agreed.window_bits), Some(10));
    }
}
