//! The channel between supervisor and engine: a pair of Unix sockets that keeps message boundaries and can
//! carry descriptors (`SOCK_SEQPACKET`, `SCM_RIGHTS`).
//!
//! It knows nothing of what is said. A message is at most [`LARGEST`] bytes; a longer one is an error at the
//! sender, and at the receiver too, so that a captured engine cannot make its supervisor read half of one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::os::rights;

/// The largest message, in bytes.
pub const LARGEST: usize = 32 * 1024;

/// One end of the channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// One message with the descriptors that came with it.
#[derive(Debug)]
pub struct Message {
    /// What was said.
    pub bytes: Vec<u8>,
    /// What was handed over, in the sender's order.
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Two ends, both closed on exec.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(a), Self(b)))
    }

    /// Takes over a descriptor that is one end of such a pair.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Gives the descriptor away, for a child's standard input.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends one message, waiting while the other end is behind.
    ///
    /// # Errors
    /// `EMSGSIZE` when it is too large, `EPIPE` when the other end is gone.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_or_wait(bytes, descriptors, true)
    }

    /// Sends one message, or none: an end that must not depend on the other never waits for it.
    ///
    /// # Errors
    /// As [`Channel::send`]; `WouldBlock` when the other end is behind.
    pub fn offer(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_or_wait(bytes, &[], false)
    }

    fn send_or_wait(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>], wait: bool) -> io::Result<()> {
        if bytes.len() > LARGEST || bytes.is_empty() || descriptors.len() > rights::MOST_DESCRIPTORS {
            return Err(nix::errno::Errno::EMSGSIZE.into());
        }
        rights::send(self.0.as_fd(), bytes, descriptors, wait)
    }

    /// The next message; `Ok(None)` when the other end is gone.
    ///
    /// # Errors
    /// `WouldBlock` when `wait` is false and nothing is there; `InvalidData` for a message that was cut.
    pub fn receive(&self, wait: bool) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; LARGEST];
        let received = match rights::receive(self.0.as_fd(), &mut bytes, wait) {
            // The other end went without having read all that we sent; what it has said before is still there,
            // and its last word counts.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                rights::receive(self.0.as_fd(), &mut bytes, wait)?
            }
            received => received?,
        };
        if received.cut {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message cut short"));
        }
        if received.size == 0 {
            return Ok(None);
        }
        bytes.truncate(received.size);
        Ok(Some(Message { bytes, descriptors: received.descriptors }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_boundaries_and_bring_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let (inner, other) = Channel::pair().unwrap();
        a.send(b"first", &[inner.as_fd()]).unwrap();
        a.send(b"second", &[]).unwrap();
        let first = b.receive(true).unwrap().unwrap();
        assert_eq!(first.bytes, b"first");
        assert_eq!(b.receive(true).unwrap().unwrap().bytes, b"second");
        let handed = Channel::from_fd(first.descriptors.into_iter().next().unwrap());
        handed.send(b"through", &[]).unwrap();
        assert_eq!(other.receive(true).unwrap().unwrap().bytes, b"through");
        drop(a);
        assert!(b.receive(true).unwrap().is_none(), "the end is told");
    }

    #[test]
    fn the_last_word_is_heard_of_one_who_did_not_listen_any_more() {
        let (a, b) = Channel::pair().unwrap();
        a.send(b"a question", &[]).unwrap();
        b.send(b"the last word", &[]).unwrap();
        drop(b);
        assert_eq!(a.receive(false).unwrap().unwrap().bytes, b"the last word");
        assert!(a.receive(false).unwrap().is_none());
    }

    #[test]
    fn an_offer_does_not_wait() {
        let (a, _b) = Channel::pair().unwrap();
        let full = (0..100_000).find_map(|_| a.offer(b"x").err()).expect("an end to its room");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn nothing_there_is_not_the_end() {
        let (a, _b) = Channel::pair().unwrap();
        assert_eq!(a.receive(false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn too_large_and_empty_are_refused_at_the_sender() {
        let (a, _b) = Channel::pair().unwrap();
        assert!(a.send(&vec![0; LARGEST + 1], &[]).is_err());
        assert!(a.send(&[], &[]).is_err());
        a.send(&vec![1; LARGEST], &[]).unwrap();
    }
}
