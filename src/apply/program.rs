//! Runs an external program for a step: nft(8), pfctl(8), resolvectl(1), hooks.
//!
//! The program gets an argument vector (never a shell), a clean environment, none of our descriptors, and a
//! separate process group, so that its children can be ended with it. Its run time and output are limited.
//! The caller blocks until the program has ended or timed out. This module interprets no output.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    os::{
        crash,
        launch::{ProgramFile, Start},
        program::{End, Limits, Run},
    },
    platform::PROGRAM_PATH,
};

/// Default time limit of a program.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The most bytes of each output that are kept; the rest is read and discarded.
pub const MAX_OUTPUT: usize = 256 * 1024;

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
    #[error("{program}: no such program in {}; install it", PROGRAM_PATH.replace(':', ", "))]
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

/// Returns the path of a program as execvp(3) finds it in [`PROGRAM_PATH`]; a path with a slash is its own. `None` if there
/// is none.
#[must_use]
pub fn located(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 || program.has_root() || program.starts_with(".") {
        return Some(program.to_owned());
    }
    in_path(PROGRAM_PATH, program.to_str()?)
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

    /// Checks that a program of this name is installed.
    ///
    /// # Errors
    /// Returns [`ProgramError::Missing`].
    pub fn need(name: &str) -> Result<(), ProgramError> {
        let program = Self::find(name, &[]);
        if program.is_there() { Ok(()) } else { Err(ProgramError::Missing { program: program.name() }) }
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
        let finished = self.start().and_then(Run::finish).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ProgramError::Missing { program: self.path.display().to_string() },
            _ => ProgramError::Spawn { program: self.name(), error },
        })?;
        let (stdout, stderr) = (text(&finished.stdout), text(&finished.stderr));
        match finished.end {
            End::Exited(status) => Ok(Output { code: status.code(), stdout, stderr }),
            End::OutOfTime | End::TooMuchOutput => Err(ProgramError::Late {
                program: self.name(),
                limit: self.limit,
                words: first_lines(&stderr),
            }),
        }
    }

    fn start(&self) -> io::Result<Run> {
        let environment =
            [("PATH", PROGRAM_PATH), ("LANG", "C")].map(|(name, value)| (name.into(), value.into()));
        let start = Start {
            program: ProgramFile::At(self.path.clone()),
            title: None,
            arguments: self.args.clone(),
            environment: environment.into_iter().chain(self.environment.iter().cloned()).collect(),
            // The supervisor's umask is private; a program may write world-readable files (resolv.conf(5)).
            umask: Some(0o022),
            // Ctrl-C at the terminal of `up --foreground` must reach only the supervisor, which ends the group.
            separate_group: true,
            // An orphaned program could load a rules file after `recover` has removed the table.
            ends_with_parent: true,
        };
        let limits =
            Limits { time: self.limit, output: MAX_OUTPUT, output_is_secret: false, separate_group: true };
        Run::start(&start, self.input.clone().unwrap_or_default(), limits)
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
