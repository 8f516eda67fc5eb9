//! Signals as readable descriptors, so that the one loop that waits sees them like everything else.

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

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT, SIGHUP: take it down politely and end.
    End,
    /// SIGUSR1: write the statistics to the log.
    Statistics,
}

/// The signals of this process, from now until it ends.
#[derive(Debug)]
pub struct Signals {
    end: UnixStream,
    statistics: UnixStream,
}

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    /// The kernel's, for the pipes or the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { end: stream(&[SIGTERM, SIGINT, SIGHUP])?, statistics: stream(&[SIGUSR1])? })
    }

    /// Starts to listen, but leaves SIGHUP alone: it ends the process as if nobody listened.
    ///
    /// # Errors
    /// The kernel's, for the pipes or the handlers.
    pub fn listen_but_for_hangup() -> io::Result<Self> {
        Ok(Self { end: stream(&[SIGTERM, SIGINT])?, statistics: stream(&[SIGUSR1])? })
    }

    /// None ever come: a test must not take the tests' own signals away.
    ///
    /// # Errors
    /// The kernel's, for the pipes.
    #[cfg(test)]
    pub fn none() -> io::Result<Self> {
        Ok(Self { end: stream(&[])?, statistics: stream(&[])? })
    }

    /// The descriptors to wait on.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.end.as_fd(), self.statistics.as_fd()]
    }

    /// The descriptor of [`Request::End`] alone.
    #[must_use]
    pub fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// The next request that came, if one did. Several of a kind that came together count once.
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
