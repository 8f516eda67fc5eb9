//! A pseudo-terminal (pty) whose slave side becomes the terminal of a PPP daemon.

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

/// Both sides of a pty.
#[derive(Debug)]
pub struct Pty {
    /// This program's side; close-on-exec.
    pub master: OwnedFd,
    /// The daemon's side; close-on-exec until [`keep_on_exec`].
    pub slave: OwnedFd,
    /// Path of the daemon's side.
    pub name: PathBuf,
}

impl Pty {
    /// Opens a pty in raw mode: no echo, no conversion.
    ///
    /// # Errors
    /// Returns the kernel's error if no pty can be opened.
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

/// Clears close-on-exec, so that the executed program inherits the descriptor. The master gets no hang-up
/// while a descriptor of the slave is open.
///
/// # Errors
/// Returns the kernel's error if fcntl(2) fails.
pub fn keep_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_unchanged_and_closing_gives_eio() {
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
