//! Runs an external program for a step: nft(8), pfctl(8), resolvectl(1), hooks.
//!
//! The program gets an argument vector (never a shell), a clean environment, none of our descriptors, and a
//! separate process group, so that its children can be ended with it. Its run time and output are limited.
//! The caller blocks until the program has ended or timed out. This module interprets no output.

use std::{
    fmt,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        stat::{Mode, umask},
    },
    unistd::Pid,
};

use crate::{
    net::wait::{self, Interest},
    os::{
        crash, descriptors,
        process::{self, ExitWatch},
    },
    platform::PROGRAM_PATH,
};

/// Default time limit of a program.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The most bytes of each output that are kept; the rest is read and discarded.
pub const MAX_OUTPUT: usize = 256 * 1024;

/// How long a program may take to exit after SIGTERM, and again after SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// Poll interval for the exit of a process where it can't be waited for with a descriptor (before Linux 5.3).
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The most lines of a program's error output that an error message includes.
const MAX_ERROR_LINES: usize = 8;

/// A program to run, with its arguments and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// An absolute path; a bare name is a program that was not found on this host.
    pub path: PathBuf,
    /// The arguments after the program's name.
    pub args: Vec<String>,
    /// Bytes for its standard input; `None` is /dev/null.
    pub input: Option<Vec<u8>>,
    /// Environment variables, in addition to `PATH` and `LANG=C`.
    pub environment: Vec<(String, String)>,
    /// Time limit; then the process group gets SIGTERM, and SIGKILL if it does not exit.
    pub limit: Duration,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// At most [`MAX_OUTPUT`] bytes; control characters other than tab and newline are replaced.
    pub stdout: String,
    /// As `stdout`.
    pub stderr: String,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program is not on this host.
    #[error("{program}: no such program in {PROGRAM_PATH}; install it")]
    Missing {
        /// Its name.
        program: String,
    },
    /// The process could not be started or waited for.
    #[error("{program}: {error}")]
    Spawn {
        /// Its name.
        program: String,
        /// The error of the system call.
        error: io::Error,
    },
    /// It exceeded its time limit and was ended.
    #[error("{program}: not done after {limit:?}, so it was ended{}", after(words))]
    Late {
        /// Its name.
        program: String,
        /// The time limit.
        limit: Duration,
        /// The first lines of its error output.
        words: String,
    },
    /// It exited with an error.
    #[error("{program}: {}{}", status(*code), after(words))]
    Failed {
        /// Its name.
        program: String,
        /// The exit status; `None` if a signal ended it.
        code: Option<i32>,
        /// The first lines of its error output.
        words: String,
    },
}

impl Program {
    /// Finds a program by name in [`PROGRAM_PATH`], with the default limit and no input. One that is missing keeps
    /// its bare name, and running it returns [`ProgramError::Missing`].
    #[must_use]
    pub fn find(name: &str, args: &[&str]) -> Self {
        Self::at(in_path(PROGRAM_PATH, name).unwrap_or_else(|| name.into()), args)
    }

    /// Returns a program by its path.
    #[must_use]
    pub fn at(path: PathBuf, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { path, args, input: None, environment: Vec::new(), limit: LIMIT }
    }

    /// Sets the bytes for its standard input.
    #[must_use]
    pub fn with_input(self, input: impl Into<Vec<u8>>) -> Self {
        Self { input: Some(input.into()), ..self }
    }

    /// Returns whether the program exists on this host.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.path.is_absolute() && is_executable(&self.path)
    }

    /// Returns the last component of its path.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Runs the program on this host and waits for it to end. An exit status other than 0 is not an error
    /// here; [`Output::or_failed`] makes it one.
    ///
    /// # Errors
    /// Returns [`ProgramError::Missing`], [`ProgramError::Spawn`] or [`ProgramError::Late`].
    pub fn run(&self) -> Result<Output, ProgramError> {
        if !self.path.is_absolute() {
            return Err(ProgramError::Missing { program: self.name() });
        }
        crash::point(format_args!("run {self}"));
        let mut run = Run::start(self).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ProgramError::Missing { program: self.path.display().to_string() },
            _ => ProgramError::Spawn { program: self.name(), error },
        })?;
        let deadline = Instant::now() + self.limit;
        let watched = run.watch(deadline);
        let code = match watched {
            Ok(Some(status)) => status.code(),
            outcome => {
                run.end();
                return Err(match outcome {
                    Err(error) => ProgramError::Spawn { program: self.name(), error },
                    Ok(_) => ProgramError::Late {
                        program: self.name(),
                        limit: self.limit,
                        words: first_lines(&text(&run.stderr.kept)),
                    },
                });
            }
        };
        Ok(Output { code, stdout: text(&run.stdout.kept), stderr: text(&run.stderr.kept) })
    }
}

impl fmt::Display for Program {
    /// Formats for users and logs; the result is not quoted for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

impl Output {
    /// Returns whether the exit status is 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        matches!(self.code, Some(0))
    }

    /// Returns the output of a program that must succeed.
    ///
    /// # Errors
    /// Returns [`ProgramError::Failed`] with its error output if it did not.
    pub fn or_failed(self, program: &Program) -> Result<Self, ProgramError> {
        if self.success() {
            return Ok(self);
        }
        // Some programs write errors to standard output.
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        Err(ProgramError::Failed { program: program.name(), code: self.code, words: first_lines(said) })
    }
}

/// A running program.
struct Run {
    child: Child,
    exit: Option<ExitWatch>,
    stdin: Option<ChildStdin>,
    input: Vec<u8>,
    stdout: OutputPipe<ChildStdout>,
    stderr: OutputPipe<ChildStderr>,
}

/// An output pipe of a program, and the bytes read from it.
struct OutputPipe<T> {
    pipe: Option<T>,
    kept: Vec<u8>,
}

impl Run {
    fn start(program: &Program) -> io::Result<Self> {
        descriptors::set_close_on_exec();
        // The supervisor's umask is private; a program may write world-readable files (resolv.conf(5)).
        let ours = umask(Mode::from_bits_truncate(0o022));
        let input = program.input.clone().unwrap_or_default();
        let mut command = Command::new(&program.path);
        // An orphaned program could load a rules file after `recover` has removed the table.
        process::kill_with_parent(&mut command);
        let child = command
            .args(&program.args)
            .env_clear()
            .env("PATH", PROGRAM_PATH)
            .env("LANG", "C")
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            // Ctrl-C at the terminal of `up --foreground` must reach only the supervisor, which ends the
            // group.
            .process_group(0)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        umask(ours);
        let mut child = child?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exit =
            ExitWatch::of(child.id()).inspect_err(|error| tracing::debug!(%error, "looked for instead")).ok();
        let mut run = Self {
            child,
            exit,
            stdin,
            input,
            stdout: OutputPipe { pipe: stdout, kept: Vec::new() },
            stderr: OutputPipe { pipe: stderr, kept: Vec::new() },
        };
        if let Err(error) = run.never_block() {
            run.end();
            return Err(error);
        }
        Ok(run)
    }

    fn never_block(&self) -> io::Result<()> {
        let pipes = [
            self.stdin.as_ref().map(AsFd::as_fd),
            self.stdout.pipe.as_ref().map(AsFd::as_fd),
            self.stderr.pipe.as_ref().map(AsFd::as_fd),
        ];
        pipes.into_iter().flatten().try_for_each(wait::set_nonblocking)
    }

    /// Waits for the program to end, until the deadline.
    fn watch(&mut self, deadline: Instant) -> io::Result<Option<std::process::ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                // Read its last output from the pipes. Processes that it left running may hold them open; do
                // not wait for those.
                self.transfer();
                return Ok(Some(status));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            let wake = if self.exit.is_some() { deadline } else { deadline.min(now + POLL_INTERVAL) };
            let readable = |fd| (fd, Interest::Readable);
            wait::until(
                [
                    self.exit.as_ref().map(AsFd::as_fd).map(readable),
                    self.stdout.pipe.as_ref().map(AsFd::as_fd).map(readable),
                    self.stderr.pipe.as_ref().map(AsFd::as_fd).map(readable),
                    self.stdin.as_ref().map(|pipe| (pipe.as_fd(), Interest::Writable)),
                ],
                Some(wake),
            )?;
            self.transfer();
        }
    }

    /// Writes and reads the pipes as far as possible without blocking.
    fn transfer(&mut self) {
        if let Some(pipe) = &mut self.stdin {
            match pipe.write(&self.input) {
                Ok(size) => {
                    self.input.drain(..size);
                    if self.input.is_empty() {
                        self.stdin = None;
                    }
                }
                Err(error) if is_later(&error) => {}
                // It has closed its standard input.
                Err(_) => self.stdin = None,
            }
        }
        self.stdout.read_available();
        self.stderr.read_available();
    }

    /// Ends the program and its process group, and waits until it is gone.
    fn end(&mut self) {
        let group = i32::try_from(self.child.id()).ok().map(Pid::from_raw);
        // Do not reap the process in between: as long as it is a zombie its pid is not reused.
        let asked = group.map(|group| killpg(group, Signal::SIGTERM));
        self.wait_without_reaping(Instant::now() + GRACE);
        let killed = group.map(|group| killpg(group, Signal::SIGKILL));
        let gone = self.watch(Instant::now() + GRACE);
        tracing::debug!(pid = self.child.id(), ?asked, ?killed, ?gone, "ended");
    }

    /// Waits for the program to end, until the deadline, without reaping it.
    fn wait_without_reaping(&mut self, deadline: Instant) {
        while Instant::now() < deadline {
            let readable = |fd| (fd, Interest::Readable);
            let ready = wait::until(
                [
                    self.exit.as_ref().map(AsFd::as_fd).map(readable),
                    self.stdout.pipe.as_ref().map(AsFd::as_fd).map(readable),
                    self.stderr.pipe.as_ref().map(AsFd::as_fd).map(readable),
                ],
                Some(deadline),
            );
            self.transfer();
            if !matches!(ready, Ok([false, ..])) {
                return;
            }
        }
    }
}

impl<T: Read> OutputPipe<T> {
    fn read_available(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = [0; 8192];
        // Bounded, so that a program with endless output does not outlive its limit.
        for _ in 0..64 {
            match pipe.read(&mut bytes) {
                Ok(0) => {
                    self.pipe = None;
                    return;
                }
                Ok(size) => {
                    let room = MAX_OUTPUT.saturating_sub(self.kept.len());
                    self.kept.extend(bytes.get(..size.min(room)).unwrap_or_default());
                }
                Err(error) if is_later(&error) => return,
                Err(_) => {
                    self.pipe = None;
                    return;
                }
            }
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn in_path(path: &str, name: &str) -> Option<PathBuf> {
    path.split(':').map(|dir| Path::new(dir).join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Makes the output of a program safe for a log and a terminal.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let fit =
        |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(fit).collect()
}

fn first_lines(text: &str) -> String {
    text.trim().lines().take(MAX_ERROR_LINES).collect::<Vec<_>>().join("\n")
}

fn after(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

fn status(code: Option<i32>) -> String {
    code.map_or_else(|| "ended by a signal".to_owned(), |code| format!("failed (exit status {code})"))
}

#[cfg(test)]
mod tests;
