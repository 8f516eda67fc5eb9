//! A handle for a process, so that a later one with the same PID is not mistaken for it (pidfd_open(2)).
//!
//! Where the platform has no such handle, only the PID is stored; the caller must then know by other means
//! that the process still exists.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "no crate of ours has words for pidfd_open(2), nor for what is done between fork and exec"
    )
)]

use std::{io, time::Instant};

/// A process that existed when it was opened.
#[derive(Debug)]
pub struct Process(
    #[cfg(target_os = "linux")] std::os::fd::OwnedFd,
    #[cfg(not(target_os = "linux"))] nix::unistd::Pid,
);

#[cfg(target_os = "linux")]
impl Process {
    /// Opens the process with this PID.
    ///
    /// # Errors
    /// Returns ESRCH if there is none; ENOSYS before Linux 5.3.
    pub fn open(pid: i32) -> io::Result<Self> {
        use std::os::fd::{FromRawFd, OwnedFd};
        // SAFETY: pidfd_open takes two numbers and accesses no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just created this close-on-exec descriptor, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// Returns ESRCH if the process is gone, EPERM if it may not be signalled.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// Returns ESRCH if the process is gone, EPERM if it may not be signalled.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Returns a descriptor that is readable once the process has ended, where the platform has one.
    #[must_use]
    pub fn end_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        Some(std::os::fd::AsFd::as_fd(&self.0))
    }

    /// Waits for the process to end; returns `false` if `deadline` comes first.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&self.0), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn signal(&self, number: i32) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: a descriptor that we own, a number, no siginfo, no flags.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                number,
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
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, None)?;
        Ok(Self(pid))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// Returns ESRCH if the process is gone, EPERM if it may not be signalled.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGTERM)?)
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// Returns ESRCH if the process is gone, EPERM if it may not be signalled.
    pub fn kill(&self) -> io::Result<()> {
        Ok(nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL)?)
    }

    /// Returns a descriptor that is readable once the process has ended, where the platform has one.
    #[must_use]
    pub fn end_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }

    /// Waits for the process to end; returns `false` if `deadline` comes first.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        /// Polling interval, because there is no descriptor to wait on.
        const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);
        loop {
            if nix::sys::signal::kill(self.0, None) == Err(nix::errno::Errno::ESRCH) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// A descriptor that becomes readable when a child process ends: pidfd_open(2) on Linux, kqueue(2) elsewhere.
#[derive(Debug)]
pub struct ExitWatch(std::os::fd::OwnedFd);

impl ExitWatch {
    /// Watches a child that has not been waited for yet.
    ///
    /// # Errors
    /// Returns ENOSYS before Linux 5.3; elsewhere also ESRCH, if the child has ended already.
    pub fn of(pid: u32) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            Ok(Self(Process::open(i32::try_from(pid).map_err(io::Error::other)?)?.0))
        }
        #[cfg(not(target_os = "linux"))]
        {
            use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
            let queue = Kqueue::new()?;
            let ident = usize::try_from(pid).map_err(io::Error::other)?;
            let flags = EvFlags::EV_ADD;
            let end = KEvent::new(ident, EventFilter::EVFILT_PROC, flags, FilterFlag::NOTE_EXIT, 0, 0);
            queue.kevent(&[end], &mut [], None)?;
            let fd: std::os::fd::OwnedFd = queue.into();
            // A kqueue is not inherited by fork(2), but stays open across exec(2).
            nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
            Ok(Self(fd))
        }
    }
}

impl std::os::fd::AsFd for ExitWatch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
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
    fn terminate_fails_after_the_process_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let held = Process::open(i32::try_from(child.id()).unwrap()).unwrap();
        held.terminate().unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(held.terminate().is_err());
        assert!(Process::open(-1).is_err());
    }
}
