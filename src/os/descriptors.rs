//! Descriptors that this process did not open itself: a shell or a service manager may leave some behind, and a
//! tunnel that lives for days must neither keep them open nor pass them on.
#![expect(unsafe_code, reason = "a descriptor that nobody here owns is only a number")]

use std::{
    fs::File,
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    path::Path,
};

/// The descriptors from 3 on that were open when this process began.
#[derive(Clone, Debug)]
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

    /// What can be read from this one, for itself: the descriptor stays open.
    ///
    /// # Errors
    /// `NotFound` for one that was not open at the start, or not for reading: the number may by now be that of a file of
    /// ours. Otherwise the kernel's.
    pub fn reader(&self, fd: RawFd) -> io::Result<File> {
        // The standard three are always there: the runtime opens /dev/null in their place.
        let came_along = (0..=2).contains(&fd) || self.0.contains(&fd);
        // SAFETY: F_GETFL reads the flags of whatever the number stands for and changes nothing.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        if !came_along || flags == -1 || flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(io::ErrorKind::NotFound.into());
        }
        // SAFETY: it makes another number for the same open file, and leaves this one as it is.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
        if copy == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the number is new, and nobody else has heard of it.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(copy) }))
    }

    /// Closes them: nobody needs them any more. Once, in the process that goes on to work for long.
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
