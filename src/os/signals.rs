//! Signals as readable descriptors, so that the event loop polls them like its sockets.

#![expect(unsafe_code, reason = "sigaction(2) is unsafe, as a handler may do anything")]

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    low_level::pipe,
};

/// Restores the default action of signals that the parent process ignored, and unblocks all of them: without
/// SIGCHLD no child can be waited for, and SIGTERM would not end a supervisor. SIGHUP, SIGINT and those of the
/// terminal stay ignored (nohup(1), background jobs of a shell); SIGPIPE is set by Rust's runtime. SIGXFSZ does
/// nothing: a write beyond the limit of file sizes (`ulimit -f`) fails with EFBIG instead of killing a supervisor, which
/// would leave its changes. It has a handler for that and is not ignored, as programs that it starts would inherit it.
pub fn reset_inherited() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    let nothing = SigAction::new(SigHandler::Handler(do_nothing), SaFlags::SA_RESTART, SigSet::empty());
    for signal in Signal::iterator() {
        if matches!(
            signal,
            Signal::SIGKILL
                | Signal::SIGSTOP
                | Signal::SIGHUP
                | Signal::SIGINT
                | Signal::SIGQUIT
                | Signal::SIGTSTP
                | Signal::SIGTTIN
                | Signal::SIGTTOU
                | Signal::SIGPIPE
        ) {
            continue;
        }
        let action = if signal == Signal::SIGXFSZ { &nothing } else { &default };
        // SAFETY: the handler does nothing, and the former action was in force before.
        let restored = unsafe {
            sigaction(signal, action).and_then(|former| match former.handler() {
                SigHandler::SigIgn | SigHandler::SigDfl => Ok(()),
                // Installed by Rust's runtime.
                _ => sigaction(signal, &former).map(drop),
            })
        };
        if let Err(error) = restored {
            tracing::debug!(%error, %signal, "keeps its inherited action");
        }
    }
    if let Err(error) = SigSet::empty().thread_set_mask() {
        tracing::debug!(%error, "signals stay blocked");
    }
}

/// Restores the default action of signals that end a process, of which this one no longer reads the descriptors.
pub(super) fn end_by_default(signals: &[libc::c_int]) {
    for signal in signals {
        // SAFETY: signal(2) with SIG_DFL installs no code.
        unsafe { libc::signal(*signal, libc::SIG_DFL) };
    }
}

extern "C" fn do_nothing(_: libc::c_int) {}

/// The action that a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT, SIGHUP: shut down gracefully and exit.
    End,
    /// SIGUSR1: write the statistics to the log.
    Statistics,
}

/// Signal handlers of this process, installed until it exits.
#[derive(Debug)]
pub struct Signals {
    end: UnixStream,
    statistics: UnixStream,
}

impl Signals {
    /// Installs handlers for SIGTERM, SIGINT, SIGHUP and SIGUSR1.
    ///
    /// # Errors
    /// Returns the kernel's error if a handler cannot be installed.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { end: stream(&[SIGTERM, SIGINT, SIGHUP])?, statistics: stream(&[SIGUSR1])? })
    }

    /// Installs the same handlers except for SIGHUP, which keeps its disposition.
    ///
    /// # Errors
    /// Returns the kernel's error if a handler cannot be installed.
    pub fn listen_except_sighup() -> io::Result<Self> {
        Ok(Self { end: stream(&[SIGTERM, SIGINT])?, statistics: stream(&[SIGUSR1])? })
    }

    /// Installs no handlers: a test must not intercept the test runner's signals.
    ///
    /// # Errors
    /// Returns the kernel's error if socketpair(2) fails.
    #[cfg(test)]
    pub fn none() -> io::Result<Self> {
        Ok(Self { end: stream(&[])?, statistics: stream(&[])? })
    }

    /// Returns the descriptors to poll.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.end.as_fd(), self.statistics.as_fd()]
    }

    /// Returns the descriptor of [`Request::End`].
    #[must_use]
    pub fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Returns the next pending request, if any. Several pending signals of one kind count once.
    pub fn take(&mut self) -> Option<Request> {
        if drain(&mut self.end) {
            return Some(Request::End);
        }
        drain(&mut self.statistics).then_some(Request::Statistics)
    }
}

fn stream(signals: &[i32]) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for signal in signals {
        pipe::register(*signal, theirs.try_clone()?)?;
    }
    Ok(ours)
}

fn drain(stream: &mut UnixStream) -> bool {
    let mut some = false;
    let mut bytes = [0; 16];
    while matches!(stream.read(&mut bytes), Ok(count) if count > 0) {
        some = true;
    }
    some
}
