//! An HTTP response as a client saw it: the 101 of an open connection, or a refusal.
//!
//! Read by hand from the socket, so that nothing is lost of what a refused client would see, and that what follows a 101
//! stays at hand for the WebSocket.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Status, headers and body of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// In the order of arrival.
    pub headers: Vec<(String, String)>,
    /// As text; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Response {
    /// The first value of a header; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_all(name).next()
    }

    /// All values of a header.
    pub fn header_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let same = move |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str())
    }

    /// Reads a response; gives it with the bytes that came behind it.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(Self, Vec<u8>)> {
        let mut received = Vec::new();
        let end = loop {
            if let Some(at) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            more(stream, &mut received).await?;
        };
        let mut response = parse(&String::from_utf8_lossy(&received[..end]));
        let mut rest = received.split_off(end);
        let length = response.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while rest.len() < length {
            more(stream, &mut rest).await?;
        }
        let behind = rest.split_off(length);
        response.body = String::from_utf8_lossy(&rest).into_owned();
        Ok((response, behind))
    }
}

async fn more(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_buf(received).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn parse(head: &str) -> Response {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    Response { status: status.unwrap_or_else(|| panic!("no status in {head:?}")), headers, body: String::new() }
}
