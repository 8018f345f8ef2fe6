//! Another host, that guests may ask: what it answers goes by the path.
//!
//! `/hello` says hello, `/moved` sends one there, `/never` does not answer, `/held` only once it is let, `/half` stops in the
//! middle of the body, `/bytes/N` has a body and `/head/N` a head of that size, `/endless` a body without an end, `/length` says
//! how much it was sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A host on this machine, which lasts as long as the test's runtime.
pub struct Elsewhere {
    address: SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    /// The first line and the `Host` of each request.
    asked: Mutex<Vec<String>>,
    /// Connections that are open.
    open: AtomicUsize,
    /// One permit for each that is let go of.
    let_go: Semaphore,
}

impl Elsewhere {
    /// Begins to listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let (asked, open, let_go) = (Mutex::default(), AtomicUsize::new(0), Semaphore::new(0));
        let seen = Arc::new(Seen { asked, open, let_go });
        tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, address, seen.clone()));
                }
            }
        });
        Self { address, seen }
    }

    /// As a list of hosts has it.
    pub fn entry(&self) -> String {
        self.address.to_string()
    }

    /// What is found under a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The first line and the `Host` of each request so far.
    pub fn asked(&self) -> Vec<String> {
        self.seen.asked.lock().expect("no test panics while it looks").clone()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// Has one request for `/held` be answered, a past or a future one.
    pub fn let_go(&self) {
        self.seen.let_go.add_permits(1);
    }
}

/// Serves one request.
async fn serve(mut stream: TcpStream, address: SocketAddr, seen: Arc<Seen>) {
    seen.open.fetch_add(1, Ordering::Relaxed);
    // Whoever asked is gone where this fails, and that is what some of the tests want.
    let _ = answer(&mut stream, address, &seen).await;
    seen.open.fetch_sub(1, Ordering::Relaxed);
}

async fn answer(stream: &mut TcpStream, address: SocketAddr, seen: &Seen) -> std::io::Result<()> {
    let (head, mut body) = read_head(stream).await?;
    let line = head.lines().next().unwrap_or_default();
    let host = head.lines().find(|line| line.to_ascii_lowercase().starts_with("host:")).unwrap_or_default();
    seen.asked.lock().expect("no test panics while it looks").push(format!("{line} {host}"));
    let path = line.split(' ').nth(1).unwrap_or_default();
    match path.rsplit_once('/').unwrap_or_default() {
        ("", "hello") => say(stream, "200 OK", "hello").await,
        ("", "moved") => {
            let head = format!("HTTP/1.1 302 Found\r\nlocation: http://{address}/hello\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        ("", "never") => until_closed(stream).await,
        ("", "held") => {
            seen.let_go.acquire().await.expect("it is never closed").forget();
            say(stream, "200 OK", "held").await
        }
        ("", "half") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf-").await?;
            until_closed(stream).await
        }
        ("", "endless") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes()).await?;
            }
        }
        ("", "length") => {
            let length = read_body(stream, &head, &mut body).await?;
            say(stream, "200 OK", &length.to_string()).await
        }
        ("/bytes", count) => say(stream, "200 OK", &"x".repeat(number(count))).await,
        ("/head", count) => say(stream, &format!("200 OK\r\nlong: {}", "x".repeat(number(count))), "long").await,
        _ => say(stream, "404 Not Found", "").await,
    }
}

async fn say(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await
}

async fn until_closed(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// The head, and what came behind it.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), body));
        }
        // What begins like this is TLS, which is not spoken here.
        if stream.read_buf(&mut read).await? == 0 || read[0] == 0x16 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How many bytes the body has, that of chunks included.
async fn read_body(stream: &mut TcpStream, head: &str, body: &mut Vec<u8>) -> std::io::Result<usize> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(number);
    let is_whole = |body: &[u8]| match length {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    };
    while !is_whole(body) {
        if stream.read_buf(body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.iter().filter(|byte| **byte == b'x').count())
}

fn number(text: &str) -> usize {
    text.parse().expect("a number of bytes")
}
