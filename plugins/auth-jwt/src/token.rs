//! A token in its compact form: `HEADER.CLAIMS.SIGNATURE`, each in base64url (RFC 7515, section 3.1).
//!
//! Parsing trusts nothing and checks no signature; the claims are read by whoever has checked it. What a client sends is
//! bounded here, so that nothing further on works on more than a token of the limit.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// The most bytes of a token; the server's own limit of a request's head is the same.
const TOKEN_BYTES: usize = 8 << 10;

/// A token as it came.
pub struct Token<'a> {
    pub header: Header,
    /// What the signature is of: header and claims as they were written.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    claims: &'a str,
}

/// What is needed of a token's header; the rest is passed over.
#[derive(Deserialize)]
pub struct Header {
    /// As the token says. It chooses among the keys that are made for it, and nothing else.
    #[serde(rename = "alg")]
    pub algorithm: String,
    /// The name of the key that signed it.
    #[serde(rename = "kid")]
    pub key_id: Option<String>,
    /// What a receiver must understand (RFC 7515, section 4.1.11). Nothing such is understood here.
    #[serde(rename = "crit")]
    critical: Option<IgnoredAny>,
}

/// Why a token is refused, for the log; the client learns only that it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejection {
    TooLong,
    /// It is not what a token looks like; the text says where.
    Malformed(&'static str),
    /// No key that is made for its algorithm and has its name signed it.
    Unsigned,
    /// This claim is not there, or is none of its kind.
    NoClaim(String),
    Expired,
    NotYetValid,
    /// It was made for somebody else, or by somebody else.
    Foreign(&'static str),
}

impl<'a> Token<'a> {
    /// Takes it apart.
    pub fn parse(text: &'a str) -> Result<Self, Rejection> {
        if text.len() > TOKEN_BYTES {
            return Err(Rejection::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Rejection::Malformed("its parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(Rejection::Malformed("its parts"))?;
        let header: Header = read(header).ok_or(Rejection::Malformed("its header"))?;
        if header.critical.is_some() {
            return Err(Rejection::Malformed("a header that must be understood"));
        }
        let signature = decode(signature).ok_or(Rejection::Malformed("its signature"))?;
        Ok(Self { header, signed: signed.as_bytes(), signature, claims })
    }

    /// What it claims; to be believed only once the signature is checked.
    pub fn claims(&self) -> Result<Map<String, Value>, Rejection> {
        read(self.claims).ok_or(Rejection::Malformed("its claims"))
    }
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&decode(part)?).ok()
}

fn decode(part: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(part).ok()
}

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(out, "it has more than {TOKEN_BYTES} bytes"),
            Self::Malformed(what) => write!(out, "{what} cannot be read"),
            Self::Unsigned => out.write_str("no configured key has signed it"),
            Self::NoClaim(claim) => write!(out, "its claim \"{claim}\" is missing or of the wrong kind"),
            Self::Expired => out.write_str("it is expired"),
            Self::NotYetValid => out.write_str("its time has not come"),
            Self::Foreign(claim) => write!(out, "its claim \"{claim}\" names somebody else"),
        }
    }
}
