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

/// Returns whether the process at the other end was a member of this group when it connected; `None` if the kernel
/// does not report it (the BSDs report the effective group only).
///
/// # Errors
/// Returns the kernel's error if the socket is not connected.
pub fn is_in_group(stream: &UnixStream, group: u32) -> io::Result<Option<bool>> {
    #[cfg(target_os = "linux")]
    {
        let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials)?;
        Ok(Some(credentials.gid() == group || supplementary_groups(stream)?.contains(&group)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (_, effective) = nix::unistd::getpeereid(stream)?;
        Ok((effective.as_raw() == group).then_some(true))
    }
}

/// Reads SO_PEERGROUPS.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe wrapper has SO_PEERGROUPS")]
fn supplementary_groups(stream: &UnixStream) -> io::Result<Vec<libc::gid_t>> {
    use std::os::fd::AsRawFd;
    // The kernel's limit (NGROUPS_MAX).
    let mut groups = vec![0; 65_536];
    let mut size =
        libc::socklen_t::try_from(std::mem::size_of_val(groups.as_slice())).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the kernel writes at most `size` bytes into `groups`, which has that size.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(size).unwrap_or(0) / size_of::<libc::gid_t>();
    groups.truncate(count);
    Ok(groups)
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
        let own_group = nix::unistd::getegid().as_raw();
        assert_eq!(super::is_in_group(&a, own_group).unwrap(), Some(true));
        assert_ne!(super::is_in_group(&a, u32::MAX - 7).unwrap(), Some(true));
        if cfg!(target_os = "linux") {
            assert_eq!(super::pid(&a), i32::try_from(std::process::id()).ok());
        }
    }
}
