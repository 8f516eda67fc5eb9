//! Starts programs: directly, or through a launcher if this process has one.
//!
//! A process that restricts itself passes its restrictions on to every program that it starts. A supervisor therefore
//! starts a launcher first ([`client`], Linux): this program, executed again with all of root's rights. It starts what the
//! supervisor asks for, returns the exit status, and passes signals on ([`server`]); it also opens files by name
//! ([`files`]). It reads nothing else, does only what is in the list that it got at first ([`allowed`]), and is killed when
//! the supervisor exits.

#[cfg(target_os = "linux")]
mod allowed;
#[cfg(target_os = "linux")]
mod client;
mod file_request;
pub mod files;
#[cfg(target_os = "linux")]
mod request;
#[cfg(target_os = "linux")]
mod server;

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        stat::{Mode, umask},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::{
    child::{self, Awaited},
    descriptors, process, wait,
};
#[cfg(target_os = "linux")]
pub use {
    allowed::{Allowed, AllowedProgram, Arguments, Files, LinkedFile, Word},
    client::{end, launch_by, renew},
    server::{ROLE, main},
};

/// Returns a descriptor that is readable once the launcher of this process has ended: never, as it has none.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub const fn end() -> Option<std::os::fd::BorrowedFd<'static>> {
    None
}

/// Does nothing: there is no launcher.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub const fn renew() -> io::Result<()> {
    Ok(())
}

/// Returns whether the launcher of this process has ended.
#[must_use]
pub fn has_ended() -> bool {
    end().is_some_and(|end| wait::readable(end, std::time::Instant::now()).unwrap_or(true))
}

/// The file of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramFile {
    /// This program.
    Own,
    /// The program with this absolute path.
    At(PathBuf),
}

/// A program to start, in the root directory and with exactly this environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Its file.
    pub program: ProgramFile,
    /// Its name in ps(1), if that is not the name of the file.
    pub title: Option<String>,
    /// The arguments after its name.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Its umask, if that is not this process's.
    pub umask: Option<libc::mode_t>,
    /// Whether it gets a process group of its own.
    pub separate_group: bool,
    /// Whether the kernel kills it when this process ends, where it can (Linux).
    pub ends_with_parent: bool,
}

/// Standard input, output and error of a program; `None` is /dev/null.
pub type Streams = [Option<OwnedFd>; 3];

/// A program that was started.
#[derive(Debug)]
pub struct Spawned(Kind);

#[derive(Debug)]
enum Kind {
    /// A child of this process.
    Own(Child),
    /// A child of the launcher.
    #[cfg(target_os = "linux")]
    Launched(client::Launched),
}

impl Start {
    /// Starts the program, through the launcher if there is one.
    ///
    /// # Errors
    /// Returns the kernel's error, or why the launcher did not start it.
    pub fn spawn(&self, streams: Streams) -> io::Result<Spawned> {
        #[cfg(target_os = "linux")]
        if let Some(launcher) = client::current() {
            return launcher.run(self, streams).map(|child| Spawned(Kind::Launched(child)));
        }
        self.spawn_here(streams).map(Spawned::from)
    }

    fn spawn_here(&self, streams: Streams) -> io::Result<Child> {
        let program = match &self.program {
            ProgramFile::Own => child::own_program()?,
            ProgramFile::At(path) => path.clone(),
        };
        descriptors::set_close_on_exec();
        let mut command = Command::new(&program);
        if let Some(title) = &self.title {
            command.arg0(child::title(&program, title));
        }
        let [stdin, stdout, stderr] = streams.map(|stream| stream.map_or_else(Stdio::null, Stdio::from));
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        if self.separate_group {
            command.process_group(0);
        }
        if self.ends_with_parent {
            process::kill_with_parent(&mut command);
        }
        let former = self.umask.map(|mask| umask(Mode::from_bits_truncate(mask)));
        let started = command.spawn();
        if let Some(former) = former {
            umask(former);
        }
        started
    }
}

impl From<Child> for Spawned {
    fn from(child: Child) -> Self {
        Self(Kind::Own(child))
    }
}

impl Spawned {
    /// Sends SIGTERM to the program, which must not have been waited for.
    ///
    /// # Errors
    /// Returns the kernel's error, or why the launcher did not do it.
    pub fn terminate(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Own(child) => Ok(kill(pid_of(child)?, Signal::SIGTERM)?),
            #[cfg(target_os = "linux")]
            Kind::Launched(child) => child.signal(Signal::SIGTERM, false),
        }
    }

    /// Sends a signal to the process group of the program, which must have one of its own and must not have been waited
    /// for.
    ///
    /// # Errors
    /// Returns the kernel's error, or why the launcher did not do it.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        match &self.0 {
            Kind::Own(child) => Ok(killpg(pid_of(child)?, signal)?),
            #[cfg(target_os = "linux")]
            Kind::Launched(child) => child.signal(signal, true),
        }
    }
}

impl Awaited for Spawned {
    fn id(&self) -> u32 {
        match &self.0 {
            Kind::Own(child) => child.id(),
            #[cfg(target_os = "linux")]
            Kind::Launched(child) => child.pid(),
        }
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.0 {
            Kind::Own(child) => child.try_wait(),
            #[cfg(target_os = "linux")]
            Kind::Launched(child) => child.try_wait(),
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Own(child) => child.kill(),
            #[cfg(target_os = "linux")]
            Kind::Launched(child) => child.signal(Signal::SIGKILL, false),
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
}
