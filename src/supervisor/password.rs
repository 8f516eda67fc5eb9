//! Reads a password when it is needed: from a file, a command, a descriptor, a systemd credential, or the terminal.
//!
//! The bytes are read into a buffer that is wiped after use; they are never printed, logged or stored, and no
//! error contains them. A command is run by its argument vector, never through a shell, with the terminal as
//! its stdin and stderr so that it can ask for a PIN. It is found in a fixed PATH and, for root, only root may be able to
//! change it. With `password.run-as = "invoker"` it has the rights of the user behind the call, and another terminal.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use crate::{
    apply,
    net::sanitize,
    os::{
        program::{End, Finished, Limits, Run},
        prompt::{self, Answer},
        terminal::{self, Relay},
        user, wait,
    },
    platform::PROGRAM_PATH,
    profile::{
        PasswordSource, Profile, RunAs,
        password::{self, SecretError},
    },
    secret::Secret,
    supervisor::invoker::{self, Invoker, InvokerError},
};

/// The most output of a command before it is killed, in bytes; only the first line is used.
const MAX_OUTPUT: usize = 64 * 1024;

/// The resources of the process that reads a password.
pub struct SecretAccess<'a> {
    /// Opens an inherited file descriptor, given its number.
    pub open_fd: &'a dyn Fn(i32) -> io::Result<File>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The user that a command runs as.
    pub run_as: RunAs,
    /// What the user is asked at the terminal.
    pub prompt: String,
    /// The time limit of a command, a descriptor or the user, who may have to type a PIN.
    pub limit: Duration,
}

/// Why there is no password. `Display` is the message for the user; it never contains the password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The source could not be read, or what it contains is no password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The descriptor was not inherited from the parent process.
    #[error(
        "descriptor {0} is not open for reading, so the password cannot be read from it: run pptpctl up NAME {0}<FILE"
    )]
    NotOpen(i32),
    /// The program could not be started.
    #[error("cannot run the password command {program}: {error}")]
    Spawn {
        /// The first word of the command.
        program: String,
        /// The kernel's error.
        error: io::Error,
    },
    /// `password.run-as = "invoker"`, and the invoker is not known.
    #[error("the password command {program} is not run (password.run-as = \"invoker\"): {error}")]
    NoInvoker {
        /// The first word of the command.
        program: String,
        /// Why not.
        error: InvokerError,
    },
    /// Other users could have root run what they like.
    #[error("the password command {program} is not run: {why}")]
    NotTrusted {
        /// The first word of the command.
        program: String,
        /// What others can change.
        why: String,
    },
    /// The program failed.
    #[error("the password command {program} failed: {status}{words}")]
    Failed {
        /// The first word of the command.
        program: String,
        /// Its exit status or signal.
        status: ExitStatus,
        /// Its error output, if it was not shown.
        words: String,
    },
    /// There is no terminal to ask at.
    #[error(
        "{}, and there is no terminal to ask at: run `pptpctl up` in the foreground of one (with ssh, `ssh -t`), or set \
         password.file, password.command, password.fd or password.credential in the profile",
        if *is_explicit { "the password is asked for (password.ask = true)" } else { "the profile names no source of its password" }
    )]
    NoTerminal {
        /// Whether the profile has `password.ask = true`.
        is_explicit: bool,
    },
    /// The user ended the input.
    #[error("no password was typed")]
    NotTyped,
    /// The password did not arrive in time.
    #[error("no password from {place} within {} s", limit.as_secs())]
    TimedOut {
        /// Description of the source.
        place: String,
        /// The time limit.
        limit: Duration,
    },
    /// The source has more than 64 KiB.
    #[error("{0} writes more than 64 KiB")]
    TooMuch(String),
    /// The process was not started by systemd with `LoadCredential=`.
    #[error(
        "credential {0}: $CREDENTIALS_DIRECTORY is not set; it comes from LoadCredential= in a systemd unit"
    )]
    NoCredentials(String),
    /// The profile has no command.
    #[error("the password command is empty")]
    NoCommand,
}

impl SecretAccess<'static> {
    /// Returns the resources of this process: `/dev/fd/N` for descriptors (set another `open_fd` on systems
    /// where that has only 0 to 2), `$CREDENTIALS_DIRECTORY`, and a limit of two minutes.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            open_fd: &open_fd,
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            run_as: RunAs::Root,
            prompt: "Password: ".to_owned(),
            limit: Duration::from_secs(120),
        }
    }

    /// Returns the resources of this process for the password of a profile.
    #[must_use]
    pub fn of_profile(profile: &Profile) -> Self {
        let servers =
            profile.servers.first().map_or_else(String::new, |server| format!(" at {}", server.host));
        let domain = profile.domain.as_ref().map_or_else(String::new, |domain| format!("{domain}\\"));
        let prompt = format!("{}: password of {domain}{}{servers}: ", profile.name, profile.user);
        Self { run_as: profile.password_run_as, prompt, ..Self::of_this_process() }
    }
}

/// Returns whether the user can be asked: this process is in the foreground of a terminal.
#[must_use]
pub fn can_ask() -> bool {
    terminal::of_the_user().is_some()
}

/// Asks for a secret at the terminal, without echo. An empty answer is no password: `None`.
///
/// # Errors
/// Returns an error if there is no terminal, the input ends, or what is typed cannot be a password.
pub fn ask(prompt: &str, limit: Duration) -> Result<Option<Secret>, PasswordError> {
    let place = || "the terminal".to_owned();
    let failed = |error| SecretError::Read { place: place(), error };
    match prompt::secret(prompt, Instant::now() + limit).map_err(failed)? {
        Answer::Line(line) if line.is_empty() => Ok(None),
        Answer::Line(line) => Ok(Some(password::checked(&line, &place())?)),
        Answer::EndOfInput => Err(PasswordError::NotTyped),
        Answer::OutOfTime => Err(PasswordError::TimedOut { place: place(), limit }),
        Answer::NoTerminal => Err(PasswordError::NoTerminal { is_explicit: true }),
    }
}

/// Reads the password. Blocks while a command runs, at most `access.limit`.
///
/// # Errors
/// Returns an error if the source cannot be read in time, if other users can access it, or if the password is
/// not one non-empty line.
pub fn load(source: &PasswordSource, access: &SecretAccess<'_>) -> Result<Secret, PasswordError> {
    match source {
        PasswordSource::File(path) => Ok(password::from_file(path, true)?),
        PasswordSource::Command(argv) => from_command(argv, access),
        PasswordSource::Fd(fd) => from_descriptor(*fd, access),
        PasswordSource::Credential(name) => {
            let directory =
                access.credentials.as_ref().ok_or_else(|| PasswordError::NoCredentials(name.clone()))?;
            Ok(password::from_file(&directory.join(name), false)?)
        }
        PasswordSource::Inline(secret) => Ok(secret.clone()),
        PasswordSource::Ask { is_explicit } => match ask(&access.prompt, access.limit) {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(PasswordError::NotTyped),
            Err(PasswordError::NoTerminal { .. }) => {
                Err(PasswordError::NoTerminal { is_explicit: *is_explicit })
            }
            Err(error) => Err(error),
        },
    }
}

fn open_fd(fd: i32) -> io::Result<File> {
    if fd == 0 {
        return Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    File::open(format!("/dev/fd/{fd}"))
}

/// Returns the program of a password command, if it is there and may be run as this user.
///
/// # Errors
/// Returns why `up` cannot run it.
pub fn program_of(argv: &[OsString], run_as: RunAs) -> Result<PathBuf, PasswordError> {
    prepared(argv, run_as).map(|(path, _)| path)
}

/// Returns the program, and the user who runs it if that is not this one.
fn prepared(argv: &[OsString], run_as: RunAs) -> Result<(PathBuf, Option<Invoker>), PasswordError> {
    let program = argv.first().ok_or(PasswordError::NoCommand)?;
    let named = || program.to_string_lossy().into_owned();
    let found = apply::program::located(Path::new(program));
    let Some(path) = found.filter(|path| !matches!(path.try_exists(), Ok(false))) else {
        let error = nix::errno::Errno::ENOENT.into();
        return Err(PasswordError::Spawn { program: named(), error });
    };
    match run_as {
        RunAs::Root => {
            // Root would do what the program says, whoever called `up`.
            if nix::unistd::geteuid().is_root() {
                apply::may_run(&path).map_err(|why| PasswordError::NotTrusted { program: named(), why })?;
            }
            Ok((path, None))
        }
        RunAs::Invoker => match invoker::find() {
            Ok(invoker) => Ok((path, Some(invoker))),
            Err(error) => Err(PasswordError::NoInvoker { program: named(), error }),
        },
    }
}

fn from_command(argv: &[OsString], access: &SecretAccess<'_>) -> Result<Secret, PasswordError> {
    let (path, invoker) = prepared(argv, access.run_as)?;
    let (program, arguments) = argv.split_first().ok_or(PasswordError::NoCommand)?;
    let program = program.to_string_lossy().into_owned();
    let place = format!("the password command {program}");
    let finished = match invoker {
        None => run_as_root(&path, arguments, access.limit, &program),
        Some(invoker) => run_as_invoker(&path, arguments, access.limit, &program, &invoker),
    }?;
    match finished.end {
        End::Exited(status) if status.success() => first_line(&finished.stdout, &place),
        End::Exited(status) => {
            let words = shown(&finished.stderr);
            Err(PasswordError::Failed { program, status, words })
        }
        End::OutOfTime => Err(PasswordError::TimedOut { place, limit: access.limit }),
        End::TooMuchOutput => Err(PasswordError::TooMuch(place)),
    }
}

fn run_as_root(
    path: &Path,
    arguments: &[OsString],
    limit: Duration,
    program: &str,
) -> Result<Finished, PasswordError> {
    let mut command = Command::new(path);
    command.args(arguments).stdout(Stdio::piped()).env("PATH", PROGRAM_PATH);
    let limits = Limits { time: limit, output: MAX_OUTPUT, output_is_secret: true, separate_group: false };
    let run = Run::command(&mut command, limits)
        .map_err(|error| PasswordError::Spawn { program: program.to_owned(), error })?;
    finish(run, program)
}

/// Runs the program as the user behind this call. It has a terminal if this process is in the foreground of one: a pty,
/// which is relayed meanwhile and hung up afterwards.
fn run_as_invoker(
    path: &Path,
    arguments: &[OsString],
    limit: Duration,
    program: &str,
    invoker: &Invoker,
) -> Result<Finished, PasswordError> {
    let not_started = |error| PasswordError::Spawn { program: program.to_owned(), error };
    let relay = match terminal::of_the_user() {
        Some(tty) => Some(Relay::start(tty, invoker.rights.uid).map_err(not_started)?),
        None => None,
    };
    let start = || {
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .envs(invoker.environment(relay.as_ref().map(|relay| relay.name.as_path())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(relay) = &relay {
            command.stdin(relay.slave.try_clone()?).stderr(relay.slave.try_clone()?);
        }
        user::confine(&mut command, invoker.rights.clone(), &invoker.home, relay.is_some())?;
        let limits = Limits { time: limit, output: MAX_OUTPUT, output_is_secret: true, separate_group: true };
        Run::command(&mut command, limits)
    };
    let finished = start().map_err(not_started).and_then(|run| finish(run, program));
    if let Some(relay) = relay {
        relay.end();
    }
    finished
}

fn finish(run: Run, program: &str) -> Result<Finished, PasswordError> {
    let place = format!("the password command {program}");
    Ok(run.finish().map_err(|error| SecretError::Read { place, error })?)
}

/// Returns the last line of an error output, for the end of a message.
fn shown(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(String::new, |line| format!(": {}", sanitize::plain(line)))
}

/// Reads the first line. Reads once even after the deadline, because the process may have been stopped, or
/// the host suspended, since the password was typed.
fn from_descriptor(fd: i32, access: &SecretAccess<'_>) -> Result<Secret, PasswordError> {
    let place = format!("descriptor {fd}");
    let failed = |error| SecretError::Read { place: place.clone(), error };
    let mut file = (access.open_fd)(fd).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PasswordError::NotOpen(fd),
        _ => failed(error).into(),
    })?;
    let deadline = Instant::now() + access.limit;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT));
    while !bytes.contains(&b'\n') {
        if !wait::readable(file.as_fd(), deadline).map_err(failed)? {
            return Err(PasswordError::TimedOut { place, limit: access.limit });
        }
        let mut chunk = Zeroizing::new([0; 1024]);
        match file.read(chunk.as_mut_slice()) {
            Ok(0) => break,
            Ok(size) if bytes.len() + size > MAX_OUTPUT => return Err(PasswordError::TooMuch(place)),
            Ok(size) => bytes.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(failed(error).into()),
        }
    }
    first_line(&bytes, &place)
}

fn first_line(bytes: &[u8], place: &str) -> Result<Secret, PasswordError> {
    let mut line = bytes;
    if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        line = bytes.get(..end).unwrap_or_default();
        line = line.strip_suffix(b"\r").unwrap_or(line);
    }
    Ok(password::checked(line, place)?)
}
