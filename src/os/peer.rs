//! Credentials of the process at the other end of a Unix socket, from the kernel.

use std::{io, os::unix::net::UnixStream};

/// Returns the effective user ID that the process at the other end had when it connected or began to listen.
///
/// Linux: SO_PEERCRED. The BSDs: getpeereid(3), which is LOCAL_PEERCRED on FreeBSD, SO_PEERCRED on OpenBSD
/// and LOCAL_PEEREID on NetBSD.
///
/// # Errors
/// Returns the kernel's error if the socket is not connected.
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

/// Returns the PID of the process that listens at the other end or connected from it. `None` on the BSDs,
/// whose kernels could report it but where no caller needs it.
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
    fn socket_pair_reports_this_process() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(super::uid(&a).unwrap(), nix::unistd::geteuid().as_raw());
        if cfg!(target_os = "linux") {
            assert_eq!(super::pid(&a), i32::try_from(std::process::id()).ok());
        }
    }
}
