//! `http`: the hosts that a plugin may send HTTP requests to.
//!
//! Written as `api.example.com:443`, `*.example.org`, `10.0.0.0/8:8080` or `[fd00::1]:80`; without a port, that of the scheme is
//! meant. `config/resolve` reads them, `engine/http` asks twice: for the host of a request, and for each address that its name
//! turns out to have. Invariant: an address that is no public one is allowed only by an entry that says so as an address.

mod reserved;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::parse_network;

/// The longest name that DNS has (RFC 1035, section 2.3.4), in bytes.
const MAX_NAME: usize = 253;

/// What a plugin's `http` lists; nothing where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets(Arc<[Target]>);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: Host,
    /// None stands for that of the request's scheme, 80 or 443.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// This name, in lower case.
    Name(String),
    /// All names that end with this, which begins with a dot.
    Under(String),
    /// These addresses.
    Net(IpNet),
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// A name in lower case without a dot at its end, or an address without brackets.
    pub host: String,
    /// The port that is connected to.
    pub port: u16,
    /// The port that the request's scheme has by default.
    pub usual: u16,
}

impl Targets {
    /// These entries.
    pub fn new(targets: Vec<Target>) -> Self {
        Self(targets.into())
    }

    /// Whether there is nothing that could be asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an import, by the name of its interface, is of no use without any.
    pub fn are_needed_by(import: &str) -> bool {
        import.split('@').next() == Some("wasi:http/outgoing-handler")
    }

    /// Whether requests may go there, as far as the request itself says where that is.
    pub fn allow(&self, destination: &Destination) -> bool {
        match destination.address() {
            Some(address) => self.list(address, destination),
            None => self.0.iter().any(|target| target.has_port(destination) && target.host.names(&destination.host)),
        }
    }

    /// Whether an address may be connected to that the destination's name has: any public one, and others where they are
    /// listed themselves.
    pub fn allow_address(&self, address: IpAddr, destination: &Destination) -> bool {
        reserved::is_public(address) || self.list(address, destination)
    }

    fn list(&self, address: IpAddr, destination: &Destination) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|target| target.has_port(destination) && target.host.has(address))
    }
}

impl Target {
    /// Reads an entry; refused with the reason and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split('/').next().unwrap_or_default();
            return Err(format!("`{text}` is a URL; write the host and the port alone, as `{host}`"));
        }
        let (host, port) = split_port(text)?;
        Ok(Self { host: Host::parse(host)?, port })
    }

    fn has_port(&self, destination: &Destination) -> bool {
        self.port.unwrap_or(destination.usual) == destination.port
    }
}

/// The port stands behind the only colon, or behind brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| format!("`{text}` has a `[` without a `]`"))?;
            (host, (!port.is_empty()).then_some(port))
        }
        None if text.matches(':').count() == 1 => {
            let (host, _) = text.split_once(':').unwrap_or((text, ""));
            (host, Some(&text[host.len()..]))
        }
        None => (text, None),
    };
    let Some(port) = port else { return Ok((host, None)) };
    let number = port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    number.map(|port| (host, Some(port))).ok_or_else(|| format!("`{text}`: a port is a number from 1 to 65535"))
}

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(net) = parse_network(text) {
            return Ok(Self::Net(net));
        }
        let under = text.strip_prefix("*.");
        let name = under.unwrap_or(text).to_ascii_lowercase();
        if !is_name(&name) {
            let what =
                "write a name, `*.` and a name, an address or a network, and then `:` and a port if only that is meant";
            return Err(format!("`{text}` is no host; {what}"));
        }
        Ok(if under.is_some() { Self::Under(format!(".{name}")) } else { Self::Name(name) })
    }

    fn names(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => name == host,
            Self::Under(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Self::Net(_) => false,
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        matches!(self, Self::Net(net) if net.contains(&address))
    }
}

impl Destination {
    /// The address that it is, where it is none that has to be looked up.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// A name as DNS has it, whose last part is no number: what looks like an address and is none would be read as one by some.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_part = |part: &str| (1..=63).contains(&part.len()) && part.chars().all(allowed);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= MAX_NAME && name.split('.').all(is_part) && !last.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(entries: &[&str]) -> Targets {
        Targets::new(entries.iter().map(|text| Target::parse(text).expect("an entry")).collect())
    }

    fn to(host: &str, port: u16) -> Destination {
        Destination { host: host.to_owned(), port, usual: 443 }
    }

    #[test]
    fn a_name_means_itself_and_its_port() {
        let listed = targets(&["API.example.com:8443", "plain.example"]);
        assert!(listed.allow(&to("api.example.com", 8443)) && listed.allow(&to("plain.example", 443)));
        for (host, port) in [
            ("api.example.com", 443),
            ("other.example.com", 8443),
            ("x.api.example.com", 8443),
            ("plain.example", 80),
            ("plain.example", 8443),
        ] {
            assert!(!listed.allow(&to(host, port)), "{host}:{port}");
        }
        assert!(listed.allow(&Destination { usual: 80, ..to("plain.example", 80) }));
        assert!(!targets(&[]).allow(&to("plain.example", 443)));
    }

    #[test]
    fn a_star_stands_for_what_is_under_a_name() {
        let listed = targets(&["*.example.org:443"]);
        assert!(listed.allow(&to("a.example.org", 443)) && listed.allow(&to("b.a.example.org", 443)));
        for host in ["example.org", ".example.org", "evilexample.org", "a.example.org.evil", "a.example.com"] {
            assert!(!listed.allow(&to(host, 443)), "{host}");
        }
    }

    #[test]
    fn an_address_means_itself_however_it_is_written() {
        let listed = targets(&["127.0.0.1:8080", "10.0.0.0/8:80", "[fd00::1]:80", "2001:db8::/32", "[::1]"]);
        for (host, port) in [("127.0.0.1", 8080), ("10.9.9.9", 80), ("fd00::1", 80), ("2001:db8::7", 443), ("::1", 443)]
        {
            assert!(listed.allow(&to(host, port)), "{host}:{port}");
        }
        assert!(listed.allow(&to("::ffff:127.0.0.1", 8080)));
        for (host, port) in [("127.0.0.1", 80), ("127.0.0.2", 8080), ("11.0.0.1", 80), ("fd00::2", 80), ("::1", 80)] {
            assert!(!listed.allow(&to(host, port)), "{host}:{port}");
        }
    }

    #[test]
    fn a_name_may_turn_out_to_be_public_or_what_is_listed_itself() {
        let listed = targets(&["api.example.com", "10.1.0.0/16:443"]);
        let allowed = |address: &str, port| listed.allow_address(address.parse().expect("it is"), &to("api", port));
        assert!(allowed("93.184.216.34", 443) && allowed("10.1.2.3", 443) && allowed("::ffff:10.1.2.3", 443));
        assert!(!allowed("10.2.0.1", 443) && !allowed("10.1.2.3", 8443) && !allowed("127.0.0.1", 443));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (text, told) in [
            ("https://api.example.com/v1", "as `api.example.com`"),
            ("api.example.com:0", "1 to 65535"),
            ("api.example.com:65536", "1 to 65535"),
            ("api.example.com:", "1 to 65535"),
            ("[::1", "without a `]`"),
            ("[::1]8080", "1 to 65535"),
            ("", "is no host"),
            ("*", "is no host"),
            ("*.", "is no host"),
            ("a.*.example.org", "is no host"),
            ("api example.com", "is no host"),
            ("api.example.com/v1", "is no host"),
            ("user@example.com", "is no host"),
            ("10.0.0/8", "is no host"),
            ("127.1", "is no host"),
            ("2130706433", "is no host"),
        ] {
            let error = Target::parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
