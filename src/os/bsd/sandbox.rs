//! Restrictions beyond the change of user: pledge(2) and unveil(2) on OpenBSD, Capsicum on FreeBSD. NetBSD
//! has neither; it has only the empty root directory and the user ID.
//!
//! The supervisor, and the monitor of the call manager, do not call pledge(2). No promise of OpenBSD's kernel
//! (`kern_pledge.c`) covers their work: "wroute" allows addresses and the MTU (SIOCAIFADDR, SIOCDIFADDR,
//! SIOCSIFMTU), but no promise allows opening a socket of family AF_ROUTE, bringing an interface up or down
//! (SIOCSIFFLAGS), placing it in a routing domain (SIOCSIFRDOMAIN), or setting a sysctl(2). A process that
//! tries is killed, which leaves half of the changes to the host with no process to undo them. unveil(2)
//! would hold nothing: execve(2) clears it (`unveil_destroy` in `kern_exec.c`), and these processes run programs
//! (route(8), pfctl(8), hooks), so that captured code had only to execute one. It needs a launcher first, which
//! exists on Linux only (`src/os/launch`). Instead, these processes read nothing from the network.
#![cfg_attr(not(target_os = "netbsd"), expect(unsafe_code, reason = "no crate of ours has these calls"))]

use std::{io, os::fd::BorrowedFd};

/// The permitted use of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Reading, writing and polling.
    Stream,
    /// The same for a connected socket, and reading its errors and addresses.
    Socket,
}

/// Restricts this process to these promises (pledge(2), OpenBSD only); the kernel kills it if it breaks one.
///
/// # Errors
/// Returns the kernel's error.
pub fn pledge(promises: &std::ffi::CStr) -> io::Result<()> {
    #[cfg(target_os = "openbsd")]
    {
        // SAFETY: both strings end with a zero byte and are only read.
        let outcome = unsafe { libc::pledge(promises.as_ptr(), c"".as_ptr()) };
        if outcome == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    #[cfg(not(target_os = "openbsd"))]
    let _ = promises;
    Ok(())
}

/// Hides the file system except for these files, which stay readable (unveil(2)), irrevocably.
///
/// # Errors
/// Returns the kernel's error. A missing file is no error, but its directory must exist.
#[cfg(target_os = "openbsd")]
pub fn unveil_only(files: &[&std::ffi::CStr]) -> io::Result<()> {
    for file in files {
        // SAFETY: both strings end with a zero byte and are only read.
        if unsafe { libc::unveil(file.as_ptr(), c"r".as_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: two null pointers disable further calls of unveil(2).
    if unsafe { libc::unveil(std::ptr::null(), std::ptr::null()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Limits each descriptor to its use and enters FreeBSD's capability mode, irrevocably: the process can reach
/// no file, no address and no other process.
///
/// # Errors
/// Returns the kernel's error; a kernel without Capsicum (ENOSYS) is no error.
pub fn confine(descriptors: &[(BorrowedFd<'_>, Use)]) -> io::Result<()> {
    #[cfg(target_os = "freebsd")]
    {
        use std::os::fd::AsRawFd;
        for (fd, purpose) in descriptors {
            let more = match purpose {
                Use::Stream => 0,
                Use::Socket => libc::CAP_GETSOCKOPT | libc::CAP_GETSOCKNAME | libc::CAP_SHUTDOWN,
            };
            // SAFETY: all-zero is a valid cap_rights_t.
            let mut rights: libc::cap_rights_t = unsafe { std::mem::zeroed() };
            let common = libc::CAP_READ | libc::CAP_WRITE;
            // SAFETY: version 0 of the structure, rights of index 0 and of index 1, and the 0 that ends them.
            unsafe {
                libc::__cap_rights_init(0, &raw mut rights, common | more, libc::CAP_EVENT, 0_u64);
            }
            // SAFETY: the descriptor is borrowed, and the rights were initialised just now.
            let outcome = unsafe { libc::cap_rights_limit(fd.as_raw_fd(), &raw const rights) };
            ignore_enosys(outcome)?;
        }
        // SAFETY: cap_enter(2) takes no arguments.
        ignore_enosys(unsafe { libc::cap_enter() })?;
    }
    #[cfg(not(target_os = "freebsd"))]
    let _ = descriptors;
    Ok(())
}

/// Ignores ENOSYS, from a kernel without Capsicum, where the other restrictions must suffice.
#[cfg(target_os = "freebsd")]
fn ignore_enosys(outcome: libc::c_int) -> io::Result<()> {
    match io::Error::last_os_error() {
        error if outcome == -1 && error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}
