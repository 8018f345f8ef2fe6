//! Which proxies are trusted, and how they say whom they speak for.
//!
//! The meaning of `trusted-proxies`, `forwarded` and `proxy-protocol`; read by `config/resolve`, followed by `server/peer`.
//! Invariant: without a trusted proxy nothing that anybody reports is believed.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

/// The prefix that an IPv4 address has as an IPv6 address, in bits (RFC 4291, section 2.5.5.2).
const MAPPED: u8 = 96;

/// What `[server]` says of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxiesConfig {
    /// Whose word is taken.
    pub trusted: Vec<IpNet>,
    /// The header by which they give it.
    pub forwarded: ForwardedHeader,
    /// Whether they begin each connection with a header of the PROXY protocol.
    pub protocol: bool,
}

/// The request header by which a proxy reports its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, a list of addresses.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None is read.
    None,
}

impl ProxiesConfig {
    /// Whether the word of this address is taken. An IPv4 address may be written as IPv6.
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// A single address, or a network as `ADDRESS/BITS`. An IPv4 network that is written as IPv6 is one of IPv4.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let IpNet::V6(mapped) = network else { return Some(network) };
    let address = mapped.addr().to_ipv4_mapped().filter(|_| mapped.prefix_len() >= MAPPED);
    let of_ipv4 = address.and_then(|address| Ipv4Net::new(address, mapped.prefix_len() - MAPPED).ok());
    Some(of_ipv4.map_or(network, IpNet::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(networks: &[&str]) -> ProxiesConfig {
        let trusted = networks.iter().map(|text| parse_network(text).expect("a network")).collect();
        ProxiesConfig { trusted, ..ProxiesConfig::default() }
    }

    #[test]
    fn addresses_and_networks_are_trusted_and_nobody_else() {
        let proxies = trusting(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
        for address in ["10.0.0.1", "10.255.255.255", "192.0.2.7", "2001:db8::5", "::1"] {
            assert!(proxies.trust(address.parse().expect("an address")), "{address}");
        }
        for address in ["11.0.0.1", "192.0.2.8", "2001:db9::5", "::2", "127.0.0.1"] {
            assert!(!proxies.trust(address.parse().expect("an address")), "{address}");
        }
        assert!(!ProxiesConfig::default().trust("127.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn ipv4_is_the_same_however_it_is_written() {
        for network in ["10.1.2.3/8", "::ffff:10.0.0.0/104"] {
            let proxies = trusting(&[network]);
            for (address, trusted) in [("10.9.9.9", true), ("::ffff:10.9.9.9", true), ("::ffff:11.9.9.9", false)] {
                assert_eq!(proxies.trust(address.parse().expect("an address")), trusted, "{address} in {network}");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.1:80", "[::1]", "::1/129", "10.0.0.0/8 "] {
            assert_eq!(parse_network(text), None, "{text}");
        }
    }
}
