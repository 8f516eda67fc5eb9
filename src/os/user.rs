//! Runs a program with the rights of another user, in a session without our terminal.
#![expect(unsafe_code, reason = "what is done between fork and exec, and TIOCSCTTY")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::Path,
    process::Command,
};

use nix::{
    errno::Errno,
    unistd::{Gid, Uid},
};

/// The signals of a terminal, which a caller may have had ignored (nohup(1), background jobs).
const SIGNALS: [libc::c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// The rights of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// User ID; not root's.
    pub uid: Uid,
    /// Group ID.
    pub gid: Gid,
    /// All groups, with `gid`.
    pub groups: Vec<Gid>,
}

/// Makes `command` run with these rights and no others, in a session of its own, with no descriptor of ours from 3 on, in
/// `directory` or else in the root directory. If `has_terminal`, its standard input becomes the session's terminal;
/// otherwise the session has none. On Linux the kernel kills the program when the calling thread ends.
///
/// # Errors
/// Returns an error if `directory` contains NUL or the rights are root's.
pub fn confine(
    command: &mut Command,
    rights: Rights,
    directory: &Path,
    has_terminal: bool,
) -> io::Result<()> {
    if rights.uid.is_root() {
        return Err(io::Error::other("these are the rights of root"));
    }
    super::descriptors::set_close_on_exec();
    // Elsewhere /dev/fd may list the first three only.
    let last = if cfg!(target_os = "linux") { 2 } else { last_descriptor() };
    let directory = CString::new(directory.as_os_str().as_bytes())?;
    let prepare = move || {
        for signal in SIGNALS {
            // SAFETY: signal(2) with SIG_DFL installs no code.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        for fd in 3..=last {
            // SAFETY: F_SETFD changes a flag of the descriptor; a closed number gives EBADF.
            let _closed = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        nix::unistd::setsid()?;
        if has_terminal {
            take_terminal(0)?;
        }
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        drop_to(&rights)?;
        if nix::unistd::chdir(directory.as_c_str()).is_err() {
            nix::unistd::chdir(c"/")?;
        }
        // After the change of user, which clears it.
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls and reads memory that was allocated before: it neither
    // allocates nor takes a lock, and its errors are numbers.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

/// Returns the largest number that a descriptor of this process can have, at most a million.
fn last_descriptor() -> libc::c_int {
    use nix::unistd::{SysconfVar, sysconf};
    #[cfg_attr(
        target_pointer_width = "32",
        expect(clippy::useless_conversion, reason = "a long has 32 bits there")
    )]
    let count = sysconf(SysconfVar::OPEN_MAX).ok().flatten().and_then(|count| i32::try_from(count).ok());
    count.unwrap_or(i32::MAX).min(1_000_000)
}

fn drop_to(rights: &Rights) -> io::Result<()> {
    nix::unistd::setgroups(&rights.groups)?;
    super::privileges::set_ids(rights.uid, rights.gid)?;
    if nix::unistd::setuid(Uid::from_raw(0)) != Err(Errno::EPERM) {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}

/// Makes the terminal with this descriptor the one of the calling process's session.
fn take_terminal(fd: libc::c_int) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    let request = libc::TIOCSCTTY;
    #[cfg(not(target_os = "linux"))]
    let request = libc::c_ulong::from(libc::TIOCSCTTY);
    // SAFETY: TIOCSCTTY takes a number and accesses no memory of ours.
    if unsafe { libc::ioctl(fd, request, 0) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the size of a terminal's window.
///
/// # Errors
/// Returns ENOTTY if it is none.
pub fn window_size(terminal: BorrowedFd<'_>) -> io::Result<libc::winsize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one `struct winsize`, which `size` is.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(size) }
}

/// Sets the size of a terminal's window. Its programs get SIGWINCH if that is another size.
///
/// # Errors
/// Returns ENOTTY if it is none.
pub fn set_window_size(terminal: BorrowedFd<'_>, size: &libc::winsize) -> io::Result<()> {
    // SAFETY: the kernel reads one `struct winsize`, which `size` is.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
