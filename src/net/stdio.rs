//! The three descriptors that every process is born with: non-blocking for a while, or let go.

use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Standard input, non-blocking until this is dropped. The flag belongs to the open file, which others may
/// share, so it is put back.
#[derive(Debug)]
pub struct Input {
    fd: OwnedFd,
    before: OFlag,
}

impl Input {
    /// Takes it.
    ///
    /// # Errors
    /// EBADF when there is none.
    pub fn take() -> io::Result<Self> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        let before = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(before | OFlag::O_NONBLOCK))?;
        Ok(Self { fd, before })
    }

    /// Whether it is a terminal, which is a pty's.
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

/// Standard output becomes /dev/null, so that nobody waits for its end.
///
/// # Errors
/// The kernel's.
pub fn let_go_of_output() -> io::Result<()> {
    nix::unistd::dup2_stdout(OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(())
}

/// Standard error becomes /dev/null.
///
/// # Errors
/// The kernel's.
pub fn let_go_of_errors() -> io::Result<()> {
    nix::unistd::dup2_stderr(OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(())
}
