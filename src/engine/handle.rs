//! The supervisor's half: starts a child of this same program, hands it descriptors, reads what it says.
//!
//! A child is either the engine of one tunnel or a resolver of one name. Both get an empty environment, the
//! channel as standard input, a pipe for what they have to say in the log, and nothing else.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    message::{FromEngine, ToEngine},
    resolver::Answer,
    spec::Spec,
};
use crate::{
    net::{channel::Channel, wait},
    secret::Secret,
};

/// The hidden subcommand under which this program is the engine.
pub const ENGINE: &str = "__engine";

/// The hidden subcommand under which this program is the resolver.
pub const RESOLVER: &str = "__resolve";

/// How long a child that was killed may take to be gone.
const REAP_WAIT: Duration = Duration::from_secs(2);

/// A child process, as its parent holds it. Dropping it kills it.
#[derive(Debug)]
pub struct ChildHandle {
    child: Child,
    channel: Channel,
    stderr: Option<ChildStderr>,
}

/// The engine of one tunnel.
#[derive(Debug)]
pub struct Engine(ChildHandle);

/// The resolver of one name.
#[derive(Debug)]
pub struct Resolver {
    helper: ChildHandle,
    name: String,
}

/// What came from an engine.
#[derive(Debug)]
pub enum EngineOutput {
    /// A message that kept the rules.
    Message(FromEngine),
    /// Nothing more for now.
    Nothing,
    /// The channel has ended, or a message broke a rule; why.
    Ended(String),
}

impl ChildHandle {
    fn start(role: &str, name: &str, loglevel: u8) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        let mut child = Command::new(own_program()?)
            .arg0(format!("pptpctl: {} {name}", role.trim_start_matches('_')))
            .args([OsStr::new(role), OsStr::new(&loglevel.to_string())])
            .env_clear()
            .current_dir("/")
            // Ctrl-C at the terminal of `up --foreground` is for the supervisor, which then ends us politely.
            .process_group(0)
            .stdin(Stdio::from(theirs.into_fd()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take();
        if let Some(pipe) = &stderr {
            wait::never_block(pipe.as_fd())?;
        }
        Ok(Self { child, channel: ours, stderr })
    }

    /// The child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What to wait on: the channel, and the pipe of the log while it is open.
    #[must_use]
    pub fn fds(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.channel.as_fd(), self.stderr.as_ref().map(AsFd::as_fd))
    }

    /// Reads what the child has to say in the log, without blocking, and hands it on.
    pub fn read_log(&mut self, mut each: impl FnMut(&[u8])) {
        let Some(pipe) = &mut self.stderr else { return };
        let mut bytes = [0; 4096];
        // Bounded, so that a child that talks without end does not keep us from everything else.
        for _ in 0..16 {
            match pipe.read(&mut bytes) {
                Ok(0) => {
                    self.stderr = None;
                    return;
                }
                Ok(size) => each(bytes.get(..size).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Ends it without asking, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Err(error) = self.child.kill() {
            tracing::debug!(%error, "kill");
        }
        let give_up = Instant::now() + REAP_WAIT;
        // SIGKILL takes effect as soon as the child leaves the kernel; a child that hangs there is init's.
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < give_up {
            std::thread::yield_now();
        }
    }

    /// How it ended, once its channel has: it is ending, so this does not take long.
    pub fn end(&mut self) -> String {
        match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => {
                self.kill();
                self.child
                    .try_wait()
                    .ok()
                    .flatten()
                    .map_or_else(|| "gone".to_owned(), |status| status.to_string())
            }
        }
    }
}

impl Drop for ChildHandle {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Engine {
    /// Starts the engine and hands it everything. Nothing has been sent to the server when this returns.
    ///
    /// # Errors
    /// When the process cannot be made or does not take what it is given.
    pub fn start(
        spec: Spec,
        password: &Secret,
        tcp: BorrowedFd<'_>,
        gre: BorrowedFd<'_>,
        tun: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let helper = ChildHandle::start(ENGINE, &spec.name, spec.loglevel)?;
        let start = serde_json::to_vec(&ToEngine::Start(Box::new(spec)))?;
        helper.channel.send(&start, &[tcp, gre, tun])?;
        // One byte in front, because an empty message would look like the end.
        let mut bare = zeroize::Zeroizing::new(vec![b'p']);
        bare.extend_from_slice(password.expose());
        helper.channel.send(&bare, &[])?;
        Ok(Self(helper))
    }

    /// The process.
    pub fn helper(&mut self) -> &mut ChildHandle {
        &mut self.0
    }

    /// The process, to wait on.
    #[must_use]
    pub fn process(&self) -> &ChildHandle {
        &self.0
    }

    /// Says something to the engine, without waiting for it: one that is stuck must not hold its supervisor up.
    /// Gives whether it was taken. That the engine is gone already is noticed elsewhere.
    pub fn say(&self, message: &ToEngine) -> bool {
        let said =
            serde_json::to_vec(message).map_err(io::Error::other).and_then(|m| self.0.channel.offer(&m));
        if let Err(error) = &said {
            tracing::debug!(%error, "engine not told");
        }
        said.is_ok()
    }

    /// The next message, without blocking.
    pub fn hear(&self) -> EngineOutput {
        match self.0.channel.receive(false) {
            Ok(Some(message)) if !message.descriptors.is_empty() => {
                EngineOutput::Ended("the engine broke a rule: descriptors".to_owned())
            }
            Ok(Some(message)) => match FromEngine::parse(&message.bytes) {
                Ok(message) => EngineOutput::Message(message),
                Err(rule) => EngineOutput::Ended(format!("the engine broke a rule: {rule}")),
            },
            Ok(None) => EngineOutput::Ended("the engine ended without a word".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => EngineOutput::Nothing,
            Err(error) => EngineOutput::Ended(format!("the engine's channel: {error}")),
        }
    }
}

impl Resolver {
    /// Starts to look `name` up.
    ///
    /// # Errors
    /// When the process cannot be made.
    pub fn start(name: &str, loglevel: u8) -> io::Result<Self> {
        let helper = ChildHandle::start(RESOLVER, name, loglevel)?;
        helper.channel.send(name.as_bytes(), &[])?;
        Ok(Self { helper, name: name.to_owned() })
    }

    /// The name that is looked up.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process.
    pub fn helper(&mut self) -> &mut ChildHandle {
        &mut self.helper
    }

    /// The process, to wait on.
    #[must_use]
    pub fn process(&self) -> &ChildHandle {
        &self.helper
    }

    /// The answer; due when the channel is readable. The error is a sentence.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        match self.helper.channel.receive(false) {
            Ok(Some(message)) => Some(Answer::parse(&message.bytes)),
            Ok(None) => Some(Answer::Failed("the resolver ended without a word".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Answer::Failed(format!("the resolver's channel: {error}"))),
        }
    }
}

/// The program that runs, even if a newer one has taken its place on disk meanwhile: both halves must agree.
fn own_program() -> io::Result<std::path::PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
