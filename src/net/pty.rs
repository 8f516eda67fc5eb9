//! A pseudo-terminal whose other end a PPP daemon takes.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    pty::openpty,
    sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr},
    unistd::ttyname,
};

/// Both ends.
#[derive(Debug)]
pub struct Pty {
    /// Ours, closed on exec.
    pub master: OwnedFd,
    /// The daemon's, closed on exec until [`keep_on_exec`].
    pub slave: OwnedFd,
    /// The daemon's end by name.
    pub name: PathBuf,
}

impl Pty {
    /// Opens one that changes and echoes nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        let pair = openpty(None, None)?;
        for fd in [&pair.master, &pair.slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let mut settings = tcgetattr(&pair.slave)?;
        cfmakeraw(&mut settings);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &settings)?;
        let name = ttyname(&pair.slave)?;
        Ok(Self { master: pair.master, slave: pair.slave, name })
    }
}

/// Leaves a descriptor open in the program that takes this one's place: while one is, the other end does not hang
/// up.
///
/// # Errors
/// The kernel's.
pub fn keep_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_as_they_are_and_the_end_is_told() {
        let pty = Pty::open().unwrap();
        let all: Vec<u8> = (0..=255).collect();
        for (from, to) in [(&pty.master, &pty.slave), (&pty.slave, &pty.master)] {
            nix::unistd::write(from, &all).unwrap();
            let mut got = Vec::new();
            while got.len() < all.len() {
                let mut piece = [0; 300];
                let size = nix::unistd::read(to, &mut piece).unwrap();
                got.extend_from_slice(&piece[..size]);
            }
            assert_eq!(got, all);
        }
        drop(pty.slave);
        assert_eq!(nix::unistd::read(&pty.master, &mut [0; 1]), Err(nix::errno::Errno::EIO));
    }
}
