//! Which addresses are those of the open network.
//!
//! After the registries of special-purpose addresses (RFC 6890 and what followed). An IPv6 address that stands for one of IPv4 is
//! taken for that. Invariant: what is not known to be public is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};

/// All that is not for everybody: own networks, the machine itself, links, shared, for documents, benchmarks and groups.
const RESERVED_V4: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// What IANA has given out of IPv6 for everybody; the rest is local, for groups, or not given out.
const GLOBAL_V6: &str = "2000::/3";
/// Of these: for protocols (tunnels, benchmarks), documents, and IPv4 networks in IPv6 (6to4).
const RESERVED_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];
/// Where gateways to IPv4 have its addresses, in the last 32 bits (RFC 6052).
const GATEWAY_V6: &str = "64:ff9b::/96";

struct Table {
    v4: Vec<Ipv4Net>,
    global: Ipv6Net,
    v6: Vec<Ipv6Net>,
    gateway: Ipv6Net,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let v6 = |text: &str| text.parse::<Ipv6Net>().expect("the tables hold networks");
    Table {
        v4: RESERVED_V4.iter().map(|text| text.parse().expect("the tables hold networks")).collect(),
        global: v6(GLOBAL_V6),
        v6: RESERVED_V6.iter().map(|text| v6(text)).collect(),
        gateway: v6(GATEWAY_V6),
    }
});

/// Whether anybody may be found at this address by everybody.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !TABLE.v4.iter().any(|net| net.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if TABLE.gateway.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    TABLE.global.contains(&address) && !TABLE.v6.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_the_open_network_are_public() {
        for address in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            assert!(public(address), "{address}");
        }
        assert!(public("::ffff:1.1.1.1") && public("64:ff9b::101:101"));
    }

    #[test]
    fn all_others_are_not() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }
}
