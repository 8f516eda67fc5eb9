//! The supervisor's half: starts this program as a child, passes it descriptors, and reads its messages.
//!
//! A child is either the engine of one tunnel or a process that looks up or checks one name. Each gets an empty
//! environment, the channel as standard input, a pipe for log output, and nothing else.

use std::{
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use super::{
    message::{FromEngine, ToEngine},
    resolver::{Answer, name_check::Report},
    spec::Spec,
};
use crate::{
    os::{
        channel::Channel,
        child::{self, Awaited},
        launch::{ProgramFile, Spawned, Start},
        wait,
    },
    secret::Secret,
};

/// Hidden subcommand that runs the engine.
pub const ENGINE: &str = "__engine";

/// Hidden subcommand that runs the resolver.
pub const RESOLVER: &str = "__resolve";

/// Hidden subcommand that finds out why a name was not resolved.
pub const NAME_CHECK: &str = "__why";

/// A child process. Dropping the handle kills it.
#[derive(Debug)]
pub struct ChildHandle {
    child: Spawned,
    channel: Channel,
    stderr: Option<io::PipeReader>,
}

/// The engine of one tunnel.
#[derive(Debug)]
pub struct Engine(ChildHandle);

/// The result of reading from an engine.
#[derive(Debug)]
pub enum EngineOutput {
    /// A valid message.
    Message(FromEngine),
    /// No message is waiting.
    Nothing,
    /// The channel has ended, or a message broke a rule; the text says why.
    Ended(String),
}

impl ChildHandle {
    fn start(role: &str, name: &str, loglevel: u8) -> io::Result<Self> {
        let title = format!("pptpctl: {} {name}", role.trim_start_matches('_'));
        let (channel, theirs) = Channel::pair()?;
        let (stderr, log) = io::pipe()?;
        wait::set_nonblocking(stderr.as_fd())?;
        let start = Start {
            program: ProgramFile::Own,
            title: Some(title),
            arguments: vec![role.to_owned(), loglevel.to_string()],
            environment: Vec::new(),
            umask: None,
            // Ctrl-C at the terminal of `up --foreground` must reach only the supervisor, which shuts the
            // child down.
            separate_group: true,
            // It asks for that itself, after it has changed its user.
            ends_with_parent: false,
        };
        let child = start.spawn([Some(theirs.into_fd()), None, Some(log.into())])?;
        Ok(Self { child, channel, stderr: Some(stderr) })
    }

    /// Starts a lookup of `name`.
    ///
    /// # Errors
    /// Returns an error if the process cannot be started or does not accept the name.
    pub fn resolve(name: &str, loglevel: u8) -> io::Result<Self> {
        let child = Self::start(RESOLVER, name, loglevel)?;
        child.channel.send(name.as_bytes(), &[])?;
        Ok(child)
    }

    /// Starts to find out why this name was not resolved.
    ///
    /// # Errors
    /// As [`ChildHandle::resolve`].
    pub fn check_name(name: &str) -> io::Result<Self> {
        let child = Self::start(NAME_CHECK, name, 1)?;
        child.channel.send(name.as_bytes(), &[])?;
        Ok(child)
    }

    /// Returns the answer of a lookup, `None` if it has not arrived yet; due when the channel is readable. The error
    /// says how the process ended without an answer: OpenBSD's kernel kills one that breaks its promises.
    pub fn answer(&mut self) -> Option<Result<Answer, String>> {
        match self.channel.receive(false) {
            Ok(Some(message)) => Some(Ok(Answer::parse(&message.bytes))),
            Ok(None) => Some(Err(format!("the resolver process ended without an answer ({})", self.end()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(format!("the resolver's channel: {error}"))),
        }
    }

    /// Returns the report of [`ChildHandle::check_name`], `None` if it has not arrived yet; due when the channel is
    /// readable. A failure is a sentence.
    #[must_use]
    pub fn report(&self) -> Option<Result<Report, String>> {
        match self.channel.receive(false) {
            Ok(Some(message)) => Some(Report::parse(&message.bytes)),
            Ok(None) => Some(Err("the process exited without a report".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error.to_string())),
        }
    }

    /// Returns the child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the descriptors to poll: the channel, and the log pipe while it is open.
    #[must_use]
    pub fn fds(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.channel.as_fd(), self.stderr.as_ref().map(AsFd::as_fd))
    }

    /// Reads the child's log output without blocking and passes it to `each`.
    pub fn read_log(&mut self, mut each: impl FnMut(&[u8])) {
        let Some(pipe) = &mut self.stderr else { return };
        let mut bytes = [0; 4096];
        // Bounded, so that a child that logs without end cannot block the supervisor.
        for _ in 0..16 {
            match pipe.read(&mut bytes) {
                Ok(0) => {
                    self.stderr = None;
                    return;
                }
                Ok(size) => each(bytes.get(..size).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It would stay readable for ever.
                Err(_) => {
                    self.stderr = None;
                    return;
                }
            }
        }
    }

    /// Returns the exit status after the end of the channel; kills a child that has not exited.
    pub fn end(&mut self) -> String {
        child::reap(&mut self.child).map_or_else(|| "gone".to_owned(), |status| status.to_string())
    }
}

impl Drop for ChildHandle {
    fn drop(&mut self) {
        child::reap(&mut self.child);
    }
}

impl Engine {
    /// Starts the engine.
    ///
    /// # Errors
    /// Returns an error if the process cannot be started.
    pub fn start(spec: &Spec) -> io::Result<Self> {
        ChildHandle::start(ENGINE, &spec.name, spec.loglevel).map(Self)
    }

    /// Sends the socket of a capture without blocking; returns whether it was accepted. Before [`Engine::dial`], or later
    /// where an engine may still receive a descriptor then.
    pub fn capture(&self, sink: BorrowedFd<'_>, inner: bool) -> bool {
        let message = serde_json::to_vec(&ToEngine::Capture { inner }).map_err(io::Error::other);
        let sent = message.and_then(|message| self.0.channel.try_send_with(&message, &[sink]));
        if let Err(error) = &sent {
            tracing::debug!(%error, "no capture");
        }
        sent.is_ok()
    }

    /// Sends the spec, the descriptors and the password. `more` has the channel of a call whose packets the kernel moves.
    /// Does not wait for the connection.
    ///
    /// # Errors
    /// Returns an error if the process does not accept a message: EPIPE if it has exited.
    pub fn dial(
        &self,
        spec: Spec,
        password: &Secret,
        tcp: BorrowedFd<'_>,
        gre: BorrowedFd<'_>,
        tun: BorrowedFd<'_>,
        more: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let start = serde_json::to_vec(&ToEngine::Start(Box::new(spec)))?;
        let descriptors: Vec<_> = [tcp, gre, tun].into_iter().chain(more).collect();
        self.0.channel.send(&start, &descriptors)?;
        // One byte in front, because an empty message would look like the end of the channel.
        let mut bare = zeroize::Zeroizing::new(vec![b'p']);
        bare.extend_from_slice(password.expose());
        self.0.channel.send(&bare, &[])
    }

    /// Returns the process.
    pub fn helper(&mut self) -> &mut ChildHandle {
        &mut self.0
    }

    /// Returns the process, for polling.
    #[must_use]
    pub fn process(&self) -> &ChildHandle {
        &self.0
    }

    /// Sends a message without blocking, so that a stuck engine cannot stall the supervisor. Returns whether
    /// it was accepted; an engine that has exited is detected elsewhere.
    pub fn send(&self, message: &ToEngine) -> bool {
        let said =
            serde_json::to_vec(message).map_err(io::Error::other).and_then(|m| self.0.channel.try_send(&m));
        if let Err(error) = &said {
            tracing::debug!(%error, "engine not told");
        }
        said.is_ok()
    }

    /// Returns the next message without blocking.
    pub fn receive(&self) -> EngineOutput {
        match self.0.channel.receive(false) {
            Ok(Some(message)) if !message.descriptors.is_empty() => {
                EngineOutput::Ended("the engine sent an invalid message: it has descriptors".to_owned())
            }
            Ok(Some(message)) => match FromEngine::parse(&message.bytes) {
                Ok(message) => EngineOutput::Message(message),
                Err(rule) => EngineOutput::Ended(format!("the engine sent an invalid message: {rule}")),
            },
            Ok(None) => EngineOutput::Ended("the engine exited".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => EngineOutput::Nothing,
            Err(error) => EngineOutput::Ended(format!("the engine's channel: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        time::{Duration, Instant},
    };

    use super::*;

    /// As OpenBSD's kernel does it when the process breaks a promise of pledge(2).
    #[test]
    fn answer_of_a_killed_resolver_is_its_signal() {
        let (child, channel) = child::start(Path::new("/bin/sh"), "sh", |command| {
            command.args(["-c", "kill -ABRT $$"]);
        })
        .unwrap();
        let mut handle = ChildHandle { child: child.into(), channel, stderr: None };
        assert!(wait::readable(handle.fds().0, Instant::now() + Duration::from_secs(60)).unwrap());
        let words = handle.answer().unwrap().unwrap_err();
        assert!(words.contains("signal: 6 (SIGABRT)"), "{words}");
    }
}
