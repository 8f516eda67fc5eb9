//! Descriptors that this process did not open itself: a shell or a service manager may leave some behind, and a
//! tunnel that lives for days must neither keep them open nor pass them on.
#![expect(unsafe_code, reason = "a descriptor that nobody here owns is only a number")]

use std::{os::fd::RawFd, path::Path};

/// The descriptors from 3 on that were open when this process began.
#[derive(Debug)]
pub struct Inherited(Vec<RawFd>);

impl Inherited {
    /// Looks. To be called first of all, before anything of ours is open.
    #[must_use]
    pub fn at_start() -> Self {
        let dir = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
        let mut found = numbers_in(Path::new(dir));
        // The directory itself was open while it was read, and is not any more.
        found.retain(|fd| *fd > 2 && is_open(*fd));
        Self(found)
    }

    /// Closes them: nobody needs them any more.
    pub fn close(self) {
        for fd in self.0 {
            // SAFETY: the number was open before this process opened anything, so no owner in here has it; a
            // stale number merely gives EBADF.
            let _stale = unsafe { libc::close(fd) };
        }
    }
}

/// Marks every descriptor of this process from 3 on so that a program which is executed does not get it. What a
/// library opened without that mark would otherwise outlive us in a program that someone's hook leaves running.
pub fn keep_from_children() {
    let dir = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    for fd in numbers_in(Path::new(dir)).into_iter().filter(|fd| *fd > 2) {
        // SAFETY: F_SETFD changes a flag of whatever the number stands for; a stale number gives EBADF.
        let _stale = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

fn numbers_in(dir: &Path) -> Vec<RawFd> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag of whatever the number stands for and changes nothing.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}
