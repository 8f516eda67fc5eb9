//! The supervisor's half: starts the launcher, asks it for programs, for their status, to send them signals, and for files.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ExitStatus},
    sync::{Mutex, OnceLock, TryLockError},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    Allowed, Start, Streams,
    file_request::FileRequest,
    request::{self, Reply, Request},
    server::ROLE,
};
use crate::os::{channel::Channel, child, namespace::Namespace, process, wait};

/// How long the launcher may take for an answer: it has started a program or failed to by then.
const LIMIT: Duration = Duration::from_secs(20);

/// The launcher of this process.
static LAUNCHER: OnceLock<Launcher> = OnceLock::new();

/// A connection to a launcher.
#[derive(Debug)]
pub(super) struct Launcher {
    channel: Channel,
    /// The launcher's process, and whether the channel is out of step: an answer did not come in time.
    state: Mutex<(Child, bool)>,
    /// The network namespace of the launcher.
    home: Namespace,
}

/// A program that the launcher started.
#[derive(Debug)]
pub(super) struct Launched {
    launcher: &'static Launcher,
    pid: u32,
    ended: Option<ExitStatus>,
}

/// Starts a launcher for this process, which starts all programs through it from now on. `title` is its name in ps(1);
/// from `origin` the launcher makes its list again ([`renew`]).
///
/// # Errors
/// Returns the kernel's error, or an error if this process has a launcher already.
pub fn launch_by(title: &str, allowed: &Allowed, origin: &str) -> io::Result<()> {
    let launcher = Launcher::start(title, allowed, origin)?;
    LAUNCHER.set(launcher).map_err(|_| io::Error::other("there is a launcher already"))
}

/// Has the launcher, if there is one, take up what its origin permits now. What it permitted before stays.
///
/// # Errors
/// Returns why it did not.
pub fn renew() -> io::Result<()> {
    match current().map(|launcher| launcher.ask(&Request::Renew, &[])).transpose()? {
        None | Some((Reply::Done, _)) => Ok(()),
        Some((other, _)) => Err(unexpected(&other)),
    }
}

/// Returns a descriptor that is readable once the launcher of this process has ended, if there is one.
#[must_use]
pub fn end() -> Option<BorrowedFd<'static>> {
    current().map(|launcher| launcher.channel.as_fd())
}

pub(super) fn current() -> Option<&'static Launcher> {
    LAUNCHER.get()
}

impl Launcher {
    fn start(title: &str, allowed: &Allowed, origin: &str) -> io::Result<Self> {
        let (child, channel) = child::start(&child::own_program()?, title, |command| {
            process::kill_with_parent(command);
            // Ctrl-C at the terminal of `up --foreground` must reach only the supervisor.
            command.arg(ROLE).process_group(0);
        })?;
        let launcher = Self { channel, state: Mutex::new((child, false)), home: Namespace::current() };
        request::send(&launcher.channel, &(allowed, origin), &[])?;
        match launcher.answer()?.0 {
            Reply::Done => Ok(launcher),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a program in the calling thread's network namespace.
    pub(super) fn run(&'static self, start: &Start, streams: Streams) -> io::Result<Launched> {
        let set = streams.each_ref().map(Option::is_some);
        let namespace = if Namespace::current().same_as(self.home) {
            None
        } else {
            Some(OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net")?))
        };
        let descriptors: Vec<_> = streams.iter().flatten().chain(&namespace).map(AsFd::as_fd).collect();
        let request = Request::Start { start: start.clone(), streams: set, namespace: namespace.is_some() };
        match self.ask(&request, &descriptors)?.0 {
            Reply::Started(pid) => Ok(Launched { launcher: self, pid, ended: None }),
            other => Err(unexpected(&other)),
        }
    }

    /// Has an operation on a file performed.
    pub(super) fn file(&self, request: &FileRequest) -> io::Result<Option<OwnedFd>> {
        match self.ask(&Request::File(request.clone()), &[])? {
            (Reply::Done, descriptors) => Ok(descriptors.into_iter().next()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            // A supervisor has one thread: a request is under way, and what happens in it is being logged.
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
        };
        if state.1 {
            return Err(io::Error::other(
                "the launcher, which starts programs, was ended: it did not answer",
            ));
        }
        let answer = request::send(&self.channel, request, descriptors)
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ended(),
                _ => error,
            })
            .and_then(|()| self.answer());
        if matches!(&answer, Err(error) if error.kind() == io::ErrorKind::TimedOut) {
            state.1 = true;
            child::reap(&mut state.0);
        }
        answer
    }

    fn answer(&self) -> io::Result<(Reply, Vec<OwnedFd>)> {
        if !wait::readable(self.channel.as_fd(), Instant::now() + LIMIT)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match request::receive(&self.channel)?.ok_or_else(ended)? {
            (Reply::Failed(errno), _) => Err(io::Error::from_raw_os_error(errno)),
            (Reply::Refused(why), _) => Err(io::Error::other(why)),
            answer => Ok(answer),
        }
    }
}

impl Launched {
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            match self.launcher.ask(&Request::Status(self.pid), &[])?.0 {
                Reply::Runs => {}
                Reply::Ended(status) => self.ended = Some(ExitStatus::from_raw(status)),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(self.ended)
    }

    pub(super) fn signal(&self, signal: Signal, group: bool) -> io::Result<()> {
        if self.ended.is_some() {
            return Err(nix::errno::Errno::ESRCH.into());
        }
        let request = Request::Signal { pid: self.pid, signal: signal as i32, group };
        match self.launcher.ask(&request, &[])?.0 {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the launcher, which starts programs, has ended")
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("the launcher has answered {reply:?}"))
}
