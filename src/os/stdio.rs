//! Standard input, output and error: made non-blocking temporarily, or replaced by /dev/null.

use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Standard input, non-blocking until dropped. Other processes may share the open file description, so its
/// previous flags are restored.
#[derive(Debug)]
pub struct Input {
    fd: OwnedFd,
    before: OFlag,
}

impl Input {
    /// Duplicates standard input and makes it non-blocking.
    ///
    /// # Errors
    /// Returns EBADF if standard input is closed.
    pub fn take() -> io::Result<Self> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        let before = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(before | OFlag::O_NONBLOCK))?;
        Ok(Self { fd, before })
    }

    /// Returns whether standard input is a terminal, such as a pty.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&self.fd)
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Err(error) = fcntl(&self.fd, FcntlArg::F_SETFL(self.before)) {
            tracing::debug!(%error, "standard input keeps its flags");
        }
    }
}

/// Redirects standard output and error to /dev/null, so that their readers see end of file.
///
/// # Errors
/// Returns the kernel's error if /dev/null cannot be opened.
pub fn redirect_output_to_null() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}
