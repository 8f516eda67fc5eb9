//! The channel between supervisor and engine: a pair of Unix sockets that preserves message boundaries and
//! can carry descriptors (`SOCK_SEQPACKET`, `SCM_RIGHTS`).
//!
//! The contents are opaque here. A message longer than [`MAX_MESSAGE`] is an error for the sender and for the
//! receiver, so that a compromised engine cannot make its supervisor parse a truncated one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::rights;

/// The maximum size of a message, in bytes.
pub const MAX_MESSAGE: usize = 32 * 1024;

/// One end of the channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// One received message and its descriptors.
#[derive(Debug)]
pub struct Message {
    /// The contents; never empty.
    pub bytes: Vec<u8>,
    /// The descriptors, in the sender's order.
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Creates a connected pair, both ends close-on-exec.
    ///
    /// # Errors
    /// Returns the kernel's error if socketpair(2) fails.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(a), Self(b)))
    }

    /// Returns the channel to the parent of a process that has it as standard input.
    ///
    /// # Errors
    /// Returns the kernel's error if dup(2) fails.
    pub fn to_parent() -> io::Result<Self> {
        Ok(Self(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Returns the descriptor, for a child's standard input.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends one message; blocks while the socket buffer is full.
    ///
    /// # Errors
    /// Returns `EMSGSIZE` if the message is empty or too large, `EPIPE` if the other end is closed.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_message(bytes, descriptors, true)
    }

    /// Sends one message without blocking, for a sender that must not depend on its reader.
    ///
    /// # Errors
    /// As [`Channel::send`]; `WouldBlock` if the socket buffer is full.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_message(bytes, &[], false)
    }

    /// Does the same with descriptors.
    ///
    /// # Errors
    /// As [`Channel::try_send`].
    pub fn try_send_with(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_message(bytes, descriptors, false)
    }

    fn send_message(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>], wait: bool) -> io::Result<()> {
        if bytes.len() > MAX_MESSAGE || bytes.is_empty() || descriptors.len() > rights::MAX_DESCRIPTORS {
            return Err(nix::errno::Errno::EMSGSIZE.into());
        }
        rights::send(self.0.as_fd(), bytes, descriptors, wait)
    }

    /// Receives the next message; returns `Ok(None)` if the other end is closed.
    ///
    /// # Errors
    /// Returns `WouldBlock` if `wait` is false and no message is queued, `InvalidData` if a message was
    /// truncated.
    pub fn receive(&self, wait: bool) -> io::Result<Option<Message>> {
        // No more than it needs: these processes wait for messages most of the time, and keep what they have used.
        let mut bytes = vec![0; self.next_size(wait)?.clamp(1, MAX_MESSAGE)];
        let received = match rights::receive(self.0.as_fd(), &mut bytes, wait) {
            // The other end was closed without reading all messages; those that it sent can still be
            // received.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                rights::receive(self.0.as_fd(), &mut bytes, wait)?
            }
            received => received?,
        };
        if received.truncated {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message cut short"));
        }
        if received.size == 0 {
            return Ok(None);
        }
        bytes.truncate(received.size);
        Ok(Some(Message { bytes, descriptors: received.descriptors }))
    }
}

impl Channel {
    /// Returns the size of the next message in bytes, as far as the system tells; 0 at the end.
    #[cfg(target_os = "linux")]
    fn next_size(&self, wait: bool) -> io::Result<usize> {
        use std::os::fd::AsRawFd;

        use nix::{
            errno::Errno,
            sys::socket::{MsgFlags, recv},
        };
        let mut flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        if !wait {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        match recv(self.0.as_raw_fd(), &mut [], flags) {
            // The error was pending, and messages may be queued behind it.
            Err(Errno::ECONNRESET) => Ok(MAX_MESSAGE),
            size => Ok(size?),
        }
    }

    /// Returns the size of the longest message.
    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same shape on every platform")]
    const fn next_size(&self, _wait: bool) -> io::Result<usize> {
        Ok(MAX_MESSAGE)
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
    fn preserves_message_boundaries_and_carries_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let (inner, other) = Channel::pair().unwrap();
        a.send(b"first", &[inner.as_fd()]).unwrap();
        a.send(b"second", &[]).unwrap();
        let first = b.receive(true).unwrap().unwrap();
        assert_eq!(first.bytes, b"first");
        assert_eq!(b.receive(true).unwrap().unwrap().bytes, b"second");
        let handed = Channel(first.descriptors.into_iter().next().unwrap());
        handed.send(b"through", &[]).unwrap();
        assert_eq!(other.receive(true).unwrap().unwrap().bytes, b"through");
        drop(a);
        assert!(b.receive(true).unwrap().is_none(), "the end is not reported");
    }

    #[test]
    fn queued_message_is_received_after_connection_reset() {
        let (a, b) = Channel::pair().unwrap();
        a.send(b"a question", &[]).unwrap();
        b.send(b"an answer", &[]).unwrap();
        drop(b);
        assert_eq!(a.receive(false).unwrap().unwrap().bytes, b"an answer");
        assert!(a.receive(false).unwrap().is_none());
    }

    #[test]
    fn offer_does_not_block_when_full() {
        let (a, _b) = Channel::pair().unwrap();
        let full = (0..100_000).find_map(|_| a.try_send(b"x").err()).expect("the socket never fills up");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn would_block_is_not_eof() {
        let (a, _b) = Channel::pair().unwrap();
        assert_eq!(a.receive(false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn send_refuses_oversized_and_empty_messages() {
        let (a, _b) = Channel::pair().unwrap();
        assert!(a.send(&vec![0; MAX_MESSAGE + 1], &[]).is_err());
        assert!(a.send(&[], &[]).is_err());
        a.send(&vec![1; MAX_MESSAGE], &[]).unwrap();
    }
}
