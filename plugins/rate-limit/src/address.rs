//! Whose a connection is: the part of the peer's address that one customer cannot change at will.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The bits of an IPv6 address that name a network; the rest belongs to whoever has it.
const NETWORK: u128 = !0 << 64;

/// The address of `ip:port`, without its port. What is no address stays as it is, cut to what a key of the store can hold.
pub fn of(peer: &str) -> String {
    match peer.parse::<SocketAddr>().map(|peer| peer.ip().to_canonical()) {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        Err(_) => peer[..peer.floor_char_boundary(48)].to_owned(),
    }
}
