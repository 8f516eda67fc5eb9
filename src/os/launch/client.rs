//! The supervisor's half: starts the launcher, asks it for programs, for their status, and to send them signals.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ExitStatus},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    Allowed, Start, Streams,
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

/// Starts a launcher for this process, which starts all programs through it from now on. `title` is its name in ps(1).
///
/// # Errors
/// Returns the kernel's error, or an error if this process has a launcher already.
pub fn launch_by(title: &str, allowed: &Allowed) -> io::Result<()> {
    let launcher = Launcher::start(title, allowed)?;
    LAUNCHER.set(launcher).map_err(|_| io::Error::other("there is a launcher already"))
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
    fn start(title: &str, allowed: &Allowed) -> io::Result<Self> {
        let (child, channel) = child::start(&child::own_program()?, title, |command| {
            process::kill_with_parent(command);
            // Ctrl-C at the terminal of `up --foreground` must reach only the supervisor.
            command.arg(ROLE).process_group(0);
        })?;
        let launcher = Self { channel, state: Mutex::new((child, false)), home: Namespace::current() };
        request::send(&launcher.channel, allowed, &[])?;
        match launcher.answer()? {
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
        match self.ask(&request, &descriptors)? {
            Reply::Started(pid) => Ok(Launched { launcher: self, pid, ended: None }),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<Reply> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn answer(&self) -> io::Result<Reply> {
        if !wait::readable(self.channel.as_fd(), Instant::now() + LIMIT)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match request::receive(&self.channel)?.ok_or_else(ended)?.0 {
            Reply::Failed(errno) => Err(io::Error::from_raw_os_error(errno)),
            Reply::Refused(why) => Err(io::Error::other(why)),
            reply => Ok(reply),
        }
    }
}

impl Launched {
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            match self.launcher.ask(&Request::Status(self.pid), &[])? {
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
        match self.launcher.ask(&request, &[])? {
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
