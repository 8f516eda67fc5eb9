//! Sends and receives descriptors over a Unix socket (`SCM_RIGHTS`).
#![expect(unsafe_code, reason = "nix hands received descriptors over as bare numbers")]

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most descriptors that one message may carry.
pub const MAX_DESCRIPTORS: usize = 4;

/// The most descriptors that the kernel passes in one message (SCM_MAX_FD). The buffer holds them all,
/// because those of a truncated message are already in our descriptor table and would leak.
const SCM_MAX_FD: usize = 253;

/// The result of one recvmsg(2).
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; 0 at the end of the stream.
    pub size: usize,
    /// The received descriptors, with close-on-exec set.
    pub descriptors: Vec<OwnedFd>,
    /// Whether the message was truncated, or had more than [`MAX_DESCRIPTORS`] descriptors.
    pub truncated: bool,
}

/// Sends `bytes` as one message, with descriptors.
///
/// # Errors
/// Returns the kernel's error; `WouldBlock` if `wait` is false and the socket's buffer is full.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?;
    Ok(())
}

/// Receives one message.
///
/// # Errors
/// Returns the kernel's error; `WouldBlock` if `wait` is false and no message is waiting.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> io::Result<Received> {
    let mut control = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    let mut vectors = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut control), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just created these descriptors, and nothing else owns them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let cut = received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
        || descriptors.len() > MAX_DESCRIPTORS;
    Ok(Received { size: received.bytes, descriptors, truncated: cut })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::fd::AsFd, os::unix::net::UnixStream};

    #[test]
    fn excess_descriptors_are_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut end, other) = UnixStream::pair().unwrap();
        send(theirs.as_fd(), b"x", &[other.as_fd(); MAX_DESCRIPTORS + 3], true).unwrap();
        drop(other);
        assert!(receive(ours.as_fd(), &mut [0; 8], true).unwrap().truncated);
        // A program that another test starts at that moment may briefly have them open too.
        end.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        assert_eq!(end.read(&mut [0; 8]).unwrap(), 0, "one of them is still open");
    }
}
