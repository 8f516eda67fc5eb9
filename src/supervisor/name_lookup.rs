//! A lookup of one name from its start to its verdict: by the loop of a tunnel without blocking, or all at once.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use super::name_verdict;
use crate::{
    engine::{handle::ChildHandle, resolver::Answer},
    failure::{Failure, FailureKind, Phase},
    net::connected,
    os::wait,
};

/// Time limit of the process that queries the nameservers; it waits 2 s for their answers.
const CHECK_LIMIT: Duration = Duration::from_secs(4);

/// An event of a lookup.
pub enum LookupEvent {
    /// The resolver process may not read these files.
    Unreadable(Vec<String>),
    /// The result; the lookup has ended.
    Done(Result<Vec<Ipv4Addr>, Failure>),
}

/// A lookup under way. Dropping it ends its process.
pub struct Lookup {
    name: String,
    child: ChildHandle,
    /// The C library's reason for the failure, while the process checks the name.
    checked: Option<String>,
    due: Instant,
    limit: Duration,
    /// Whether a failure is to be explained, which takes up to [`CHECK_LIMIT`] more.
    explains: bool,
    unreadable: Vec<String>,
}

impl Lookup {
    /// Starts to look a name up.
    ///
    /// # Errors
    /// Returns why no process can be started.
    pub fn start(name: &str, limit: Duration, explains: bool) -> Result<Self, Failure> {
        let child = ChildHandle::resolve(name, 1).map_err(|error| {
            Failure::new(Phase::Resolve, FailureKind::Internal, format!("resolver: {error}"))
        })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            checked: None,
            due: Instant::now() + limit,
            limit,
            // pledge(2) allows the process to query DNS through libc only.
            explains: explains && !cfg!(target_os = "openbsd"),
            unreadable: Vec::new(),
        })
    }

    /// Returns the name that is looked up.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the process, for polling.
    #[must_use]
    pub fn process(&self) -> &ChildHandle {
        &self.child
    }

    /// Returns the process.
    pub fn helper(&mut self) -> &mut ChildHandle {
        &mut self.child
    }

    /// Returns when [`Lookup::expire`] is due, and why.
    #[must_use]
    pub fn next_timeout(&self) -> (Instant, &'static str) {
        (self.due, "time limit of the lookup")
    }

    /// Returns the next event without blocking; due when the channel of the process is readable.
    pub fn read(&mut self) -> Option<LookupEvent> {
        let Some(words) = &self.checked else {
            return match self.child.answer()? {
                Err(words) => Some(LookupEvent::Done(Err(self.of_process(&words)))),
                Ok(Answer::Unreadable(files)) => {
                    self.unreadable.clone_from(&files);
                    Some(LookupEvent::Unreadable(files))
                }
                Ok(Answer::Found(addresses)) => Some(LookupEvent::Done(Ok(addresses))),
                Ok(Answer::Failed(words)) => self.fail(words),
            };
        };
        let failure = match self.child.report()? {
            Ok(report) => name_verdict::explain(&self.name, words, &report, &self.unreadable, interface_of),
            Err(error) => {
                tracing::debug!("nameservers: {error}");
                self.unexplained(words)
            }
        };
        Some(LookupEvent::Done(Err(failure)))
    }

    /// Returns the next event if the time limit has passed.
    pub fn expire(&mut self, now: Instant) -> Option<LookupEvent> {
        if now < self.due {
            return None;
        }
        match &self.checked {
            None => self.fail(format!("no answer from the resolver within {} s", self.limit.as_secs_f32())),
            Some(words) => Some(LookupEvent::Done(Err(self.unexplained(words)))),
        }
    }

    /// Handles a failure: queries the nameservers, and returns the failure if that is not possible.
    fn fail(&mut self, words: String) -> Option<LookupEvent> {
        if self.explains {
            match ChildHandle::check_name(&self.name) {
                Ok(check) => {
                    (self.child, self.checked) = (check, Some(words));
                    self.due = Instant::now() + CHECK_LIMIT;
                    return None;
                }
                Err(error) => tracing::debug!("nameservers: {error}"),
            }
        }
        Some(LookupEvent::Done(Err(self.unexplained(&words))))
    }

    fn unexplained(&self, words: &str) -> Failure {
        Failure::new(Phase::Resolve, FailureKind::NameNotResolved, format!("{}: {words}", self.name))
    }

    /// Returns the failure of the process itself, which says nothing about the name.
    fn of_process(&self, words: &str) -> Failure {
        Failure::new(Phase::Resolve, FailureKind::Internal, format!("{}: {words}", self.name))
    }

    fn channel(&self) -> BorrowedFd<'_> {
        self.process().fds().0
    }
}

/// Looks a name up, with a verdict if that fails. Blocks for up to `limit` and [`CHECK_LIMIT`].
///
/// # Errors
/// Returns why the name has no usable address.
pub fn look_up(name: &str, limit: Duration) -> Result<Vec<Ipv4Addr>, Failure> {
    let mut lookup = Lookup::start(name, limit, true)?;
    loop {
        let (due, _) = lookup.next_timeout();
        let ready = wait::readable(lookup.channel(), due).map_err(|error| {
            Failure::new(Phase::Resolve, FailureKind::Internal, format!("resolver: {error}"))
        })?;
        // The time limit also ends a process that sends other messages without end.
        let events = [ready.then(|| lookup.read()).flatten(), lookup.expire(Instant::now())];
        for event in events.into_iter().flatten() {
            if let LookupEvent::Done(result) = event {
                return result;
            }
        }
    }
}

/// Returns the interface that has this address.
fn interface_of(address: IpAddr) -> Option<String> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    let found = all.find(|one| one.address.as_ref().and_then(connected::address) == Some(address));
    found.map(|interface| interface.interface_name)
}
