//! Descriptors that this process inherited: a shell or a service manager may leave some open, and a tunnel
//! that runs for days must neither keep them open nor pass them on.
#![expect(unsafe_code, reason = "a descriptor that nobody here owns is only a number")]

use std::{
    fs::File,
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// The descriptors from 3 on that were open when this process started.
#[derive(Clone, Debug)]
pub struct Inherited(Vec<RawFd>);

impl Inherited {
    /// Lists the open descriptors. Call this before the process opens anything itself.
    #[must_use]
    pub fn at_start() -> Self {
        let mut found = list_descriptors();
        // The list includes the descriptor of the directory itself, which is closed by now.
        found.retain(|fd| *fd > 2 && is_open(*fd));
        Self(found)
    }

    /// Returns a duplicate of `fd` for reading; `fd` itself stays open.
    ///
    /// # Errors
    /// Returns `NotFound` if `fd` was not open at the start, because the number may by now be that of a file
    /// of ours, or if it is not open for reading; otherwise the kernel's error.
    pub fn reader(&self, fd: RawFd) -> io::Result<File> {
        // The standard three are always open: the runtime opens /dev/null in place of missing ones.
        let came_along = (0..=2).contains(&fd) || self.0.contains(&fd);
        // SAFETY: F_GETFL reads the flags of the open file and changes nothing; a closed number gives EBADF.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        if !came_along || flags == -1 || flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(io::ErrorKind::NotFound.into());
        }
        // SAFETY: F_DUPFD_CLOEXEC creates a second descriptor of the same open file and leaves `fd` as it is.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
        if copy == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nothing else owns it.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(copy) }))
    }

    /// Closes the descriptors. Call this once, in the process that keeps running.
    pub fn close(self) {
        for fd in self.0 {
            // SAFETY: the descriptor was open before this process opened anything, so nothing here owns it; a
            // stale number gives EBADF.
            let _stale = unsafe { libc::close(fd) };
        }
    }
}

/// Sets close-on-exec on every descriptor of this process from 3 on. Otherwise a descriptor that a library
/// opened without it would stay open in a program that a hook leaves running.
pub fn set_close_on_exec() {
    for fd in list_descriptors().into_iter().filter(|fd| *fd > 2) {
        // SAFETY: F_SETFD changes a flag of the descriptor; a stale number gives EBADF.
        let _stale = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

fn list_descriptors() -> Vec<RawFd> {
    let dir = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag of the descriptor and changes nothing; a closed number gives EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}
