//! Signals as readable descriptors, so that the one loop that waits sees them like everything else.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    low_level::{self, pipe},
};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT, SIGHUP: take it down politely and end.
    End,
    /// SIGUSR1: write the statistics to the log.
    Statistics,
}

/// The signals of this process, from now on: what comes while nobody looks waits here. Once this is dropped they are lost,
/// until someone listens again.
#[derive(Debug)]
pub struct Signals {
    end: Listener,
    statistics: Listener,
}

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    /// The kernel's, for the pipes or the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { end: Listener::of(&[SIGTERM, SIGINT, SIGHUP])?, statistics: Listener::of(&[SIGUSR1])? })
    }

    /// Starts to listen, but leaves SIGHUP alone: it ends the process as if nobody listened.
    ///
    /// # Errors
    /// The kernel's, for the pipes or the handlers.
    pub fn listen_but_for_hangup() -> io::Result<Self> {
        Ok(Self { end: Listener::of(&[SIGTERM, SIGINT])?, statistics: Listener::of(&[SIGUSR1])? })
    }

    /// None ever come: a test must not take the tests' own signals away.
    ///
    /// # Errors
    /// The kernel's, for the pipes.
    #[cfg(test)]
    pub fn none() -> io::Result<Self> {
        Ok(Self { end: Listener::of(&[])?, statistics: Listener::of(&[])? })
    }

    /// The descriptors to wait on.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.end.came.as_fd(), self.statistics.came.as_fd()]
    }

    /// The descriptor of [`Request::End`] alone.
    #[must_use]
    pub fn end(&self) -> BorrowedFd<'_> {
        self.end.came.as_fd()
    }

    /// The next request that came, if one did. Several of a kind that came together count once.
    pub fn take(&mut self) -> Option<Request> {
        if drain(&mut self.end.came) {
            return Some(Request::End);
        }
        drain(&mut self.statistics.came).then_some(Request::Statistics)
    }
}

/// A byte for each signal of some kinds.
#[derive(Debug)]
struct Listener {
    came: UnixStream,
    registered: Vec<SigId>,
}

impl Listener {
    fn of(signals: &[i32]) -> io::Result<Self> {
        let (came, theirs) = UnixStream::pair()?;
        came.set_nonblocking(true)?;
        let mut listener = Self { came, registered: Vec::new() };
        for signal in signals {
            listener.registered.push(pipe::register(*signal, theirs.try_clone()?)?);
        }
        Ok(listener)
    }
}

impl Drop for Listener {
    /// After a fork both processes write into the same pair: the one that has no use for it must not go on with that.
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

fn drain(stream: &mut UnixStream) -> bool {
    let mut some = false;
    let mut bytes = [0; 16];
    while matches!(stream.read(&mut bytes), Ok(count) if count > 0) {
        some = true;
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::consts::SIGWINCH;

    #[test]
    fn what_comes_while_nobody_looks_waits_for_those_who_listen_and_no_one_else() {
        let [mut kept, dropped] = [(); 2].map(|()| Listener::of(&[SIGWINCH]).unwrap());
        let mut heir = dropped.came.try_clone().unwrap();
        drop(dropped);
        low_level::raise(SIGWINCH).unwrap();
        assert!(drain(&mut kept.came));
        assert!(!drain(&mut heir), "it is still told");
        assert!(!drain(&mut kept.came), "told twice");
    }
}
