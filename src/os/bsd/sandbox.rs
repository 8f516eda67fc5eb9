//! What a process gives up beyond its user: pledge(2) and unveil(2) on OpenBSD, Capsicum on FreeBSD. NetBSD has neither;
//! there the empty root directory and the user id are all.
//!
//! The supervisor, and the keeper of the drop-in, promise nothing. No promise of OpenBSD's kernel (`kern_pledge.c`) covers
//! what they are for: "wroute" allows addresses and the MTU (SIOCAIFADDR, SIOCDIFADDR, SIOCSIFMTU), but a socket of the
//! family AF_ROUTE can't be opened under any promise, an interface can't be brought up or down (SIOCSIFFLAGS) or placed in
//! a domain (SIOCSIFRDOMAIN), and no sysctl(2) can be set. Who tries is killed, with half of the changes to the host made
//! and nobody there to undo them. A veil would cover them alone: the programs that they run (route(8), pfctl(8), hooks)
//! start without one, and a file that was forgotten is found missing when something has to be undone. So they read
//! nothing from the network instead.
#![cfg_attr(not(target_os = "netbsd"), expect(unsafe_code, reason = "no crate of ours has these calls"))]

use std::{io, os::fd::BorrowedFd};

/// What a descriptor is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Reading, writing, waiting.
    Stream,
    /// The same for a socket whose peer is set, and its errors and addresses.
    Socket,
}

/// Promises (OpenBSD) that only these are needed from now on; a process that breaks its word is killed.
///
/// # Errors
/// The kernel's.
pub fn promise(promises: &std::ffi::CStr) -> io::Result<()> {
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

/// Hides the file system but for these files, which stay readable (unveil(2)). There is no way back once a promise has
/// been made.
///
/// # Errors
/// The kernel's; a file that is not there is no error, its directory has to be.
#[cfg(target_os = "openbsd")]
pub fn show_only(files: &[&std::ffi::CStr]) -> io::Result<()> {
    for file in files {
        // SAFETY: both strings end with a zero byte and are only read.
        if unsafe { libc::unveil(file.as_ptr(), c"r".as_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: two null pointers say that nothing more will be shown.
    if unsafe { libc::unveil(std::ptr::null(), std::ptr::null()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Leaves each descriptor no more than its use, and the process nothing that needs a name (FreeBSD's capability
/// mode): no file, no address, no other process. There is no way back.
///
/// # Errors
/// The kernel's; one without Capsicum (ENOSYS) is no error.
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
            // SAFETY: a descriptor that is borrowed, and rights that were made just now.
            let outcome = unsafe { libc::cap_rights_limit(fd.as_raw_fd(), &raw const rights) };
            unless_missing(outcome)?;
        }
        // SAFETY: it takes nothing.
        unless_missing(unsafe { libc::cap_enter() })?;
    }
    #[cfg(not(target_os = "freebsd"))]
    let _ = descriptors;
    Ok(())
}

/// A kernel without Capsicum says ENOSYS: what was given up otherwise has to do.
#[cfg(target_os = "freebsd")]
fn unless_missing(outcome: libc::c_int) -> io::Result<()> {
    match io::Error::last_os_error() {
        error if outcome == -1 && error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}
