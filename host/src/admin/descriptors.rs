//! Descriptors over a Unix socket (`SCM_RIGHTS`, unix(7)): how listening sockets get from one process to the next.
//!
//! They come with one byte, since they cannot come alone.
//! Invariant: at most `MOST` descriptors go at once; more are refused before anything is sent.

use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// So many sockets a server may listen at, to be taken over.
const MOST: usize = 64;
/// What they come with.
const MARK: u8 = b'\n';

/// Sends all of these.
pub fn send<T: AsFd>(stream: &UnixStream, descriptors: &[T]) -> Result<()> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MOST || !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Error::new(ErrorKind::InvalidInput, format!("more than {MOST} sockets cannot be handed on")));
    }
    sendmsg(stream, &[IoSlice::new(&[MARK])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what the other end sent so; fails where it sent something else.
pub fn receive(stream: &UnixStream) -> Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut mark = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut mark)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors: Vec<_> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    match received.bytes {
        1 if mark == [MARK] && !descriptors.is_empty() => Ok(descriptors),
        _ => Err(Error::new(ErrorKind::InvalidData, "no sockets came")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_that_was_sent_is_the_same_one() {
        let (own, other) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        send(&own, &[listener]).expect("it can be sent");
        let received = receive(&other).expect("it came");
        let mut client = TcpStream::connect(address).expect("somebody listens");
        let listener = TcpListener::from(received.into_iter().next().expect("one was sent"));
        let (mut accepted, _) = listener.accept().expect("it listens");
        accepted.write_all(b"hello").expect("it is open");
        drop(accepted);
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("it is text");
        assert_eq!(heard, "hello");
    }

    #[test]
    fn too_many_are_refused_and_anything_else_is_no_socket() {
        let (mut own, other) = UnixStream::pair().expect("a pair");
        let many: Vec<_> = (0..=MOST).map(|_| own.try_clone().expect("a clone")).collect();
        assert!(send(&own, &many).is_err());
        assert!(send(&own, &many[..MOST]).is_ok());
        assert_eq!(receive(&other).expect("all came").len(), MOST);
        own.write_all(b"x").expect("it is open");
        assert!(receive(&other).is_err(), "these are only bytes");
        drop((own, many));
        assert!(receive(&other).is_err(), "this is the end");
    }
}
