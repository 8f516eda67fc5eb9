//! Running someone else's program for a step: nft(8), pfctl(8), resolvectl(1), hooks.
//!
//! An argument vector, never a shell; a clean environment; no descriptor of ours; a process group of its own, so
//! that what it starts can be ended with it; a limit on its time and on what it may say. Whoever calls blocks until
//! the program has ended or its time is up. Does not know what any program means.

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
        process::{self, Exit},
    },
};

/// Where programs are looked for: never in the `$PATH` of whoever called us.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";

/// How long a program may take, unless its caller says otherwise.
pub const LIMIT: Duration = Duration::from_secs(20);

/// So much of each output is kept, in bytes; the rest is read and thrown away.
pub const MAX_OUTPUT: usize = 256 * 1024;

/// How long a program may take to end after SIGTERM, and then to be gone after SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// Without a way to wait for the end of a process (before Linux 5.3) it is looked for so often.
const LOOK: Duration = Duration::from_millis(20);

/// How many lines of a program's complaint go into an error.
const WORDS: usize = 8;

/// One run of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// An absolute path; a bare name is a program that is not on this host.
    pub path: PathBuf,
    /// What follows the program's name.
    pub args: Vec<String>,
    /// What it reads from its standard input; `None` is /dev/null.
    pub input: Option<Vec<u8>>,
    /// Beside `PATH` and `LANG=C`.
    pub environment: Vec<(String, String)>,
    /// After this long it is ended: SIGTERM, then SIGKILL, to its whole process group.
    pub limit: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// At most [`MAX_OUTPUT`]; control characters but tab and newline are replaced.
    pub stdout: String,
    /// The same.
    pub stderr: String,
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program is not on this host.
    #[error("{program}: no such program in {PATH}; install it")]
    Missing {
        /// Its name.
        program: String,
    },
    /// The process could not be made.
    #[error("{program}: {error}")]
    Spawn {
        /// Its name.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// It took too long and was ended.
    #[error("{program}: not done after {limit:?}, so it was ended{}", after(words))]
    Late {
        /// Its name.
        program: String,
        /// How long it had.
        limit: Duration,
        /// The first lines of its complaint.
        words: String,
    },
    /// It says that it failed.
    #[error("{program}: {}{}", status(*code), after(words))]
    Failed {
        /// Its name.
        program: String,
        /// The exit status; `None` when a signal ended it.
        code: Option<i32>,
        /// The first lines of its complaint.
        words: String,
    },
}

impl Program {
    /// A program by its name, looked for in [`PATH`], with the usual limit and nothing to read. One that is not
    /// there keeps its bare name: running it says so.
    #[must_use]
    pub fn find(name: &str, args: &[&str]) -> Self {
        Self::at(in_path(PATH, name).unwrap_or_else(|| name.into()), args)
    }

    /// A program by its path.
    #[must_use]
    pub fn at(path: PathBuf, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { path, args, input: None, environment: Vec::new(), limit: LIMIT }
    }

    /// With this on its standard input.
    #[must_use]
    pub fn with_input(self, input: impl Into<Vec<u8>>) -> Self {
        Self { input: Some(input.into()), ..self }
    }

    /// Whether it was found on this host.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.path.is_absolute() && is_executable(&self.path)
    }

    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Runs it on this host and waits for its end. An exit status other than 0 is not an error here;
    /// [`Output::or_failed`] makes it one.
    ///
    /// # Errors
    /// [`ProgramError::Missing`], [`ProgramError::Spawn`], [`ProgramError::Late`].
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
    /// For people and logs; not to be given to a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

impl Output {
    /// Whether it ended with 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        matches!(self.code, Some(0))
    }

    /// The output of a program that must succeed.
    ///
    /// # Errors
    /// [`ProgramError::Failed`], with what it complained about.
    pub fn or_failed(self, program: &Program) -> Result<Self, ProgramError> {
        if self.success() {
            return Ok(self);
        }
        // Some programs complain on their standard output.
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        Err(ProgramError::Failed { program: program.name(), code: self.code, words: first_lines(said) })
    }
}

/// A program that runs.
struct Run {
    child: Child,
    exit: Option<Exit>,
    stdin: Option<ChildStdin>,
    input: Vec<u8>,
    stdout: Heard<ChildStdout>,
    stderr: Heard<ChildStderr>,
}

/// One output of a program, and what was heard on it.
struct Heard<T> {
    pipe: Option<T>,
    kept: Vec<u8>,
}

impl Run {
    fn start(program: &Program) -> io::Result<Self> {
        descriptors::keep_from_children();
        // Our own files are private; what a program writes may be for everyone, as a resolv.conf(5) is.
        let ours = umask(Mode::from_bits_truncate(0o022));
        let input = program.input.clone().unwrap_or_default();
        let mut command = Command::new(&program.path);
        // A rules file that is loaded after `recover` has taken the table away would stay.
        process::end_with_us(&mut command);
        let child = command
            .args(&program.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C")
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            // Ctrl-C at the terminal of `up --foreground` is for the supervisor; and what it starts ends with it.
            .process_group(0)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        umask(ours);
        let mut child = child?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exit =
            Exit::of(child.id()).inspect_err(|error| tracing::debug!(%error, "looked for instead")).ok();
        let mut run = Self {
            child,
            exit,
            stdin,
            input,
            stdout: Heard { pipe: stdout, kept: Vec::new() },
            stderr: Heard { pipe: stderr, kept: Vec::new() },
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
        pipes.into_iter().flatten().try_for_each(wait::never_block)
    }

    /// Until it has ended, or the deadline.
    fn watch(&mut self, deadline: Instant) -> io::Result<Option<std::process::ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                // What it said last is in the pipes. What it left running may hold them open: not waited for.
                self.talk();
                return Ok(Some(status));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            let wake = if self.exit.is_some() { deadline } else { deadline.min(now + LOOK) };
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
            self.talk();
        }
    }

    /// Whatever can be said and heard without waiting.
    fn talk(&mut self) {
        if let Some(pipe) = &mut self.stdin {
            match pipe.write(&self.input) {
                Ok(size) => {
                    self.input.drain(..size);
                    if self.input.is_empty() {
                        self.stdin = None;
                    }
                }
                Err(error) if is_later(&error) => {}
                // It does not care for the rest.
                Err(_) => self.stdin = None,
            }
        }
        self.stdout.hear();
        self.stderr.hear();
    }

    /// Ends it and what it started, and waits until it is gone.
    fn end(&mut self) {
        let group = i32::try_from(self.child.id()).ok().map(Pid::from_raw);
        // It is not waited for in between: as long as it is a zombie its number is nobody else's.
        let asked = group.map(|group| killpg(group, Signal::SIGTERM));
        self.linger(Instant::now() + GRACE);
        let killed = group.map(|group| killpg(group, Signal::SIGKILL));
        let gone = self.watch(Instant::now() + GRACE);
        tracing::debug!(pid = self.child.id(), ?asked, ?killed, ?gone, "ended");
    }

    /// Until it has ended, or the deadline; it is not waited for.
    fn linger(&mut self, deadline: Instant) {
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
            self.talk();
            if !matches!(ready, Ok([false, ..])) {
                return;
            }
        }
    }
}

impl<T: Read> Heard<T> {
    fn hear(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = [0; 8192];
        // Bounded, so that one that talks without end does not outlive its limit.
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

/// What a program said, fit for a log and a terminal.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let fit =
        |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(fit).collect()
}

fn first_lines(text: &str) -> String {
    text.trim().lines().take(WORDS).collect::<Vec<_>>().join("\n")
}

fn after(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

fn status(code: Option<i32>) -> String {
    code.map_or_else(|| "ended by a signal".to_owned(), |code| format!("failed (exit status {code})"))
}

#[cfg(test)]
mod tests;
