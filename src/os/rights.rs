//! Descriptors that travel over a Unix socket (`SCM_RIGHTS`).
#![expect(unsafe_code, reason = "nix hands received descriptors over as bare numbers")]

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most descriptors that one message may carry.
pub const MOST_DESCRIPTORS: usize = 4;

/// The most that the kernel lets anyone send at once (SCM_MAX_FD). There is room for all of them, because those
/// that a cut message has brought are in our table already and would stay there.
const MOST_SENT: usize = 253;

/// What one recvmsg(2) brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; 0 at the end of the stream.
    pub size: usize,
    /// The descriptors, ours to close, closed on exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether there was more than fits, or than [`MOST_DESCRIPTORS`].
    pub cut: bool,
}

/// Sends `bytes` as one message, with descriptors.
///
/// # Errors
/// The kernel's; `WouldBlock` when `wait` is false and there is no room.
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
/// The kernel's; `WouldBlock` when `wait` is false and nothing is there.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> io::Result<Received> {
    let mut control = nix::cmsg_space!([RawFd; MOST_SENT]);
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    let mut vectors = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut control), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let cut = received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
        || descriptors.len() > MOST_DESCRIPTORS;
    Ok(Received { size: received.bytes, descriptors, cut })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::fd::AsFd, os::unix::net::UnixStream};

    #[test]
    fn descriptors_that_nobody_wants_are_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut end, other) = UnixStream::pair().unwrap();
        send(theirs.as_fd(), b"x", &[other.as_fd(); MOST_DESCRIPTORS + 3], true).unwrap();
        drop(other);
        assert!(receive(ours.as_fd(), &mut [0; 8], true).unwrap().cut);
        // What another test starts just then has them open for a moment still.
        end.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        assert_eq!(end.read(&mut [0; 8]).unwrap(), 0, "one of them is still open");
    }
}
