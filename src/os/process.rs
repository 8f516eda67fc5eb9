//! A handle for a process, so that a later one with the same PID is not mistaken for it: a descriptor that is
//! readable once the process has ended, pidfd_open(2) on Linux and kqueue(2) elsewhere.
//!
//! Elsewhere signals go to the PID; the caller must then know by other means that the process still exists.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "no crate of ours has words for pidfd_open(2), nor for what is done between fork and exec"
    )
)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Child,
    time::Instant,
};

use nix::sys::signal::Signal;

use super::wait;

/// A process that existed when it was opened. Its descriptor is readable once the process has ended.
#[derive(Debug)]
pub struct Process {
    end: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    pid: nix::unistd::Pid,
}

impl Process {
    /// Opens a child that has not been waited for yet.
    ///
    /// # Errors
    /// As [`Process::open`].
    pub fn of(child: &Child) -> io::Result<Self> {
        Self::open(i32::try_from(child.id()).map_err(io::Error::other)?)
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// Returns ESRCH if the process is gone, EPERM if it may not be signalled.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Lets the process run if a signal has stopped it; otherwise this has no effect.
    ///
    /// # Errors
    /// Returns ESRCH if the process is gone, EPERM if it may not be signalled.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// Returns ESRCH if the process is gone, EPERM if it may not be signalled.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Waits for the process to end; returns `false` if `deadline` comes first.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        wait::readable(self.as_fd(), deadline)
    }
}

#[cfg(target_os = "linux")]
impl Process {
    /// Opens the process with this PID.
    ///
    /// # Errors
    /// Returns ESRCH if there is none; ENOSYS before Linux 5.3.
    pub fn open(pid: i32) -> io::Result<Self> {
        use std::os::fd::FromRawFd;
        // SAFETY: pidfd_open takes two numbers and accesses no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        #[cfg_attr(
            target_pointer_width = "32",
            expect(clippy::useless_conversion, reason = "a long has 32 bits there")
        )]
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just created this close-on-exec descriptor, and nothing else owns it.
        Ok(Self { end: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: a descriptor that we own, a number, no siginfo, no flags.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.end.as_raw_fd(),
                signal as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(not(target_os = "linux"))]
impl Process {
    /// Opens the process with this PID.
    ///
    /// # Errors
    /// Returns ESRCH if there is none, EPERM if it may not be signalled.
    pub fn open(pid: i32) -> io::Result<Self> {
        use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
        let ident = usize::try_from(pid).map_err(io::Error::other)?;
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, None)?;
        let queue = Kqueue::new()?;
        let flags = EvFlags::EV_ADD;
        let end = KEvent::new(ident, EventFilter::EVFILT_PROC, flags, FilterFlag::NOTE_EXIT, 0, 0);
        match queue.kevent(&[end], &mut [], None) {
            // It has ended and has not been waited for. A pipe that nothing can write to is readable.
            Err(nix::errno::Errno::ESRCH) => return Ok(Self { end: io::pipe()?.0.into(), pid }),
            watched => watched?,
        };
        let end: OwnedFd = queue.into();
        // A kqueue is not inherited by fork(2), but stays open across exec(2).
        nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        Ok(Self { end, pid })
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(nix::sys::signal::kill(self.pid, signal)?)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

/// Returns whether a signal or a debugger has stopped a process; `None` where /proc does not tell.
#[must_use]
pub fn is_stopped(pid: u32) -> Option<bool> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().filter(|_| cfg!(target_os = "linux"))?;
    // The name before the state may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.starts_with(['T', 't']))
}

/// Returns whether there is a process with this PID, possibly a zombie.
#[must_use]
pub fn exists(pid: impl TryInto<i32>) -> bool {
    use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
    pid.try_into().is_ok_and(|pid: i32| pid > 0 && kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

/// Returns whether a process has been killed, or is exiting, and still holds its files: the kernel closes them some time
/// after kill(2), on a busy machine a while. Linux only: elsewhere `false`.
#[must_use]
pub fn is_ending(pid: u32) -> bool {
    // proc(5): state is the first field behind the name, flags the seventh.
    const EXITING: u32 = 0x4;
    const SIGKILL: u64 = 1 << 8;
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = read("status");
    let is_killed = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & SIGKILL != 0)
    };
    // Read second: a signal that is no longer pending has set the flag by now.
    let stat = read("stat");
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags: u32 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    is_killed("ShdPnd:") || is_killed("SigPnd:") || flags & EXITING != 0 || matches!(state, "Z" | "X")
}

/// Makes the kernel kill the program that `command` starts when the calling thread ends for any reason. The
/// program's own children are not affected. Linux only: elsewhere the program continues.
pub fn kill_with_parent(command: &mut std::process::Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;

        use nix::{
            errno::Errno,
            sys::{prctl::set_pdeathsig, signal::Signal},
            unistd::{Pid, getppid},
        };
        let us = nix::unistd::getpid();
        let in_child = move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // If the parent has already ended, no signal will come. (0 is a parent in another PID namespace.)
            let parent = getppid();
            if parent == us || parent == Pid::from_raw(0) { Ok(()) } else { Err(Errno::ESRCH.into()) }
        };
        // SAFETY: between fork and exec the closure makes two system calls and accesses only its own stack:
        // it neither allocates nor takes a lock, and its error is a number.
        unsafe { command.pre_exec(in_child) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Sets the name of this process in ps(1) and for killall(1), at most 15 bytes, where supported.
pub fn set_name(name: &std::ffi::CStr) {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_name(name) {
        tracing::debug!(%error, "no name");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn killed_process_is_ending_until_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_ending(child.id()));
        let held = Process::of(&child).unwrap();
        held.kill().unwrap();
        assert!(is_ending(child.id()));
        assert!(held.wait_until(Instant::now() + std::time::Duration::from_secs(10)).unwrap());
        assert!(is_ending(child.id()));
        child.wait().unwrap();
        assert!(!is_ending(child.id()));
    }

    #[test]
    fn terminate_fails_after_the_process_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let held = Process::of(&child).unwrap();
        assert!(!held.wait_until(Instant::now()).unwrap());
        held.terminate().unwrap();
        assert!(held.wait_until(Instant::now() + std::time::Duration::from_secs(60)).unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(held.terminate().is_err());
        assert!(Process::open(-1).is_err());
    }
}
