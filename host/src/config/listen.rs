//! Where a server listens: addresses and Unix sockets, with or without TLS.
//!
//! Written `ADDRESS:PORT`, `http://ADDRESS:PORT`, `https://ADDRESS:PORT` or `unix:PATH`. Without a scheme an address has TLS where
//! there is a certificate. Binding is `server/listener`'s.
//! Invariant: what is read here is printed so that it reads the same again.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// The address that a configuration without one listens on.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// One place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// Where.
    pub address: Address,
    /// Whether clients have to speak TLS.
    pub tls: bool,
}

/// What a socket can be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A port of this machine; 0 takes a free one. The unspecified IPv6 address means all, those of IPv4 too.
    Tcp(SocketAddr),
    /// A file.
    Unix(PathBuf),
}

/// `[server.tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificates in PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
}

impl ListenConfig {
    /// Where a server listens that was not told: `tls` is whether it has a certificate.
    pub fn unsaid(tls: bool) -> Self {
        Self { address: Address::Tcp(DEFAULT), tls }
    }

    /// Reads one; paths are relative to the folder. The error says what is wrong with the text.
    pub fn parse(text: &str, folder: &Path, has_certificate: bool) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("`unix:` needs a path behind it, as in `unix:/run/switchboard.sock`".to_owned()),
                path => Ok(Self { address: Address::Unix(absolute(folder.join(path))), tls: false }),
            };
        }
        let (tls, address) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(address), _) => (true, address),
            (_, Some(address)) => (false, address),
            _ => (has_certificate, text),
        };
        if tls && !has_certificate {
            return Err(format!("`{text}` needs `certificate` and `key` in [server.tls]"));
        }
        // A name such as `localhost` is looked up once.
        let address = address.to_socket_addrs().ok().and_then(|mut found| found.next());
        let wrong =
            || format!("`{text}` is not an address; write it like `{DEFAULT}`, or `unix:/run/switchboard.sock`");
        Ok(Self { address: Address::Tcp(address.ok_or_else(wrong)?), tls })
    }
}

/// The same from whatever folder a command is given.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

impl fmt::Display for ListenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) if self.tls => write!(f, "https://{address}"),
            Address::Tcp(address) => write!(f, "http://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_the_same_again() {
        for (text, has_certificate, printed) in [
            ("127.0.0.1:80", false, "http://127.0.0.1:80"),
            ("127.0.0.1:80", true, "https://127.0.0.1:80"),
            ("http://[::]:80", true, "http://[::]:80"),
            ("https://[::1]:443", true, "https://[::1]:443"),
            ("unix:/run/s", true, "unix:/run/s"),
            ("unix:s", false, "unix:/project/s"),
        ] {
            let read = |text: &str| ListenConfig::parse(text, Path::new("/project"), has_certificate);
            let listen = read(text).expect(text);
            assert_eq!(listen.to_string(), printed);
            assert_eq!(read(printed), Ok(listen));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_right() {
        for (text, words) in [
            ("here", "`here` is not an address; write it like `127.0.0.1:8080`"),
            ("127.0.0.1", "is not an address"),
            ("ftp://127.0.0.1:1", "is not an address"),
            ("unix:", "needs a path"),
            ("https://127.0.0.1:1", "needs `certificate` and `key` in [server.tls]"),
        ] {
            let error = ListenConfig::parse(text, Path::new("/"), false).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }
}
