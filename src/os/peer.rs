//! Who is at the other end of a Unix socket, as the kernel says it.

use std::{io, os::unix::net::UnixStream};

/// The effective user id that the process at the other end had when it connected or began to listen.
///
/// Linux: SO_PEERCRED. The BSDs: getpeereid(3), which is LOCAL_PEERCRED on FreeBSD, SO_PEERCRED on OpenBSD and
/// LOCAL_PEEREID on NetBSD.
///
/// # Errors
/// The kernel's, when the socket is not connected.
pub fn uid(stream: &UnixStream) -> io::Result<u32> {
    #[cfg(target_os = "linux")]
    {
        let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials)?;
        Ok(credentials.uid())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (uid, _) = nix::unistd::getpeereid(stream)?;
        Ok(uid.as_raw())
    }
}

/// The process that listens there or connected. `None` on the BSDs, where nobody asks (their kernels could say).
#[must_use]
pub fn pid(stream: &UnixStream) -> Option<i32> {
    #[cfg(target_os = "linux")]
    {
        let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials);
        credentials.ok().map(|credentials| credentials.pid()).filter(|pid| *pid > 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _asked = stream;
        None
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn our_own_other_end_is_us() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(super::uid(&a).unwrap(), nix::unistd::geteuid().as_raw());
        if cfg!(target_os = "linux") {
            assert_eq!(super::pid(&a), i32::try_from(std::process::id()).ok());
        }
    }
}
