//! Clients that attack by what they send, or leave unsent: no guest of the attacker has a part in it.
//!
//! All of them are on the thread of one attacker. Each has its opening, and what it sends behind it again and again; one that the server
//! ends begins anew.
//! Invariant: nothing that such a client does waits for the server, but for its end.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use flate2::{Compress, Compression, FlushCompress};

use super::attacker::{Attacker, Progress};
use super::corpus::Wire;
use crate::connection::handshake;
use crate::frames;

const TO_CONNECT: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(1);
const READ_BUFFER: usize = 64 * 1024;
/// How long a socket stays that says only half of what it owes.
const STAY: Duration = Duration::from_secs(1);
/// What a bomb becomes: more than a message may have.
const BOMB: usize = 16 << 20;
const OFFER: &str = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
/// The end of a flushed block, which a message leaves out (RFC 7692, section 7.2.1).
const TAIL: usize = 4;

/// What one client does.
#[derive(Clone)]
struct Script {
    opening: Vec<u8>,
    /// Behind it, again and again.
    again: Vec<u8>,
    then: Then,
}

/// What follows when all is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It leaves without a word.
    Leave,
    /// It waits for its end, and reads until then.
    Wait,
    /// It sends the rest again, and reads nothing.
    Repeat,
}

/// Attacks with so many clients.
pub fn start(address: SocketAddr, path: &str, wire: Wire, clients: usize) -> Result<Attacker> {
    let script = script(wire, &handshake(address, path));
    Attacker::start("wire", move |progress| attack(address, (&script, clients), &progress))
}

fn attack(address: SocketAddr, (script, clients): (&Script, usize), progress: &Progress) {
    let mut sockets: Vec<Option<Client>> = (0..clients).map(|_| None).collect();
    let mut buffer = vec![0; READ_BUFFER];
    while !progress.is_over() {
        let mut moved = false;
        for socket in &mut sockets {
            let Some(client) = socket else {
                *socket = Client::open(address).ok();
                if socket.is_none() {
                    progress.note_turned_away();
                }
                continue;
            };
            let turn = client.turn(script, &mut buffer);
            moved |= turn.moved;
            progress.note_events(turn.done);
            if turn.is_over {
                *socket = None;
            }
        }
        if !moved {
            std::thread::sleep(REST);
        }
    }
}

struct Client {
    socket: TcpStream,
    opened: Instant,
    sent: usize,
}

/// What came of one look at a client.
#[derive(Default)]
struct Turn {
    moved: bool,
    done: u64,
    is_over: bool,
}

impl Client {
    fn open(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&address, TO_CONNECT)?;
        // Ended by a reset: thousands of these a second would use up all ports.
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, opened: Instant::now(), sent: 0 })
    }

    fn turn(&mut self, script: &Script, buffer: &mut [u8]) -> Turn {
        let whole = script.opening.len() + script.again.len();
        if self.sent < whole {
            return self.send(script);
        }
        match script.then {
            Then::Leave => Turn { done: 1, is_over: true, moved: true },
            Then::Repeat => {
                self.sent = script.opening.len();
                Turn { done: 1, moved: true, is_over: false }
            }
            Then::Wait => {
                let is_over = self.opened.elapsed() > STAY || is_end(self.socket.read(buffer));
                Turn { done: u64::from(is_over), is_over, moved: false }
            }
        }
    }

    fn send(&mut self, script: &Script) -> Turn {
        let rest = match self.sent.checked_sub(script.opening.len()) {
            None => &script.opening[self.sent..],
            Some(sent) => &script.again[sent..],
        };
        match self.socket.write(rest) {
            Ok(sent) => {
                self.sent += sent;
                Turn { moved: true, ..Turn::default() }
            }
            Err(error) => Turn { is_over: !is_later(&error), ..Turn::default() },
        }
    }
}

fn is_end(read: std::io::Result<usize>) -> bool {
    read.map_or_else(|error| !is_later(&error), |count| count == 0)
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn script(wire: Wire, head: &str) -> Script {
    let head = head.as_bytes().to_vec();
    let with = |again: Vec<u8>, then| Script { opening: head.clone(), again, then };
    match wire {
        Wire::Storm => with(Vec::new(), Then::Leave),
        Wire::HalfHeads => Script { opening: head[..head.len() / 2].to_vec(), again: Vec::new(), then: Then::Wait },
        Wire::BrokenFrames => with(frames::server_text(b"unmasked"), Then::Wait),
        // A length of 62 bits, and nothing of it.
        Wire::Claims => with(vec![0x82, 0xFF, 0x3F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], Then::Wait),
        Wire::Fragments => {
            with([0x00, 0x81, 0, 0, 0, 0, b'x'].repeat(1000), Then::Repeat).beginning(&[0x01, 0x80, 0, 0, 0, 0])
        }
        Wire::Pings => with(frames::client_ping().repeat(100), Then::Repeat),
        Wire::Flood => with(frames::client_text(&[b'x'; 64]).repeat(100), Then::Repeat),
        Wire::Bombs => {
            let offer = String::from_utf8_lossy(&head).replacen("\r\n\r\n", OFFER, 1);
            Script { opening: offer.into_bytes(), again: frames::client_deflated(&bomb()), then: Then::Wait }
        }
    }
}

impl Script {
    /// With this behind its opening, once.
    fn beginning(mut self, with: &[u8]) -> Self {
        self.opening.extend_from_slice(with);
        self
    }
}

fn bomb() -> Vec<u8> {
    let mut deflated = Vec::with_capacity(BOMB / 64);
    let mut codec = Compress::new(Compression::best(), false);
    // Where the room did not do, the bomb would be a smaller one.
    let _ = codec.compress_vec(&vec![0; BOMB], &mut deflated, FlushCompress::Sync);
    deflated.truncate(deflated.len().saturating_sub(TAIL));
    deflated
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const HEAD: &str = "GET /ws HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_bomb_is_small_and_half_a_head_has_no_end() {
        assert!((10_000..100_000).contains(&bomb().len()));
        let half = script(Wire::HalfHeads, HEAD).opening;
        assert!(HEAD.as_bytes().starts_with(&half) && half.len() < HEAD.len());
        let offer = script(Wire::Bombs, HEAD).opening;
        assert!(offer.ends_with(OFFER.as_bytes()) && offer.starts_with(b"GET /ws"));
    }

    #[test]
    fn what_is_sent_again_follows_what_is_sent_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let script = Script { opening: b"once ".to_vec(), again: b"again ".to_vec(), then: Then::Repeat };
        let mut client = Client::open(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut done = 0;
        while done < 3 {
            done += client.turn(&script, &mut []).done;
        }
        let mut heard = [0; 23];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"once again again again ");
    }
}
