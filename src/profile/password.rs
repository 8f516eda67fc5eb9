//! Reads a password when it is needed: from a file, a command, a descriptor, or a systemd credential.
//!
//! The bytes are read into a buffer that is wiped after use; they are never printed, logged or stored, and no
//! error contains them. A command is run by its argument vector, never through a shell, with the terminal as
//! its stdin and stderr so that it can ask for a PIN.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{Uid, read},
};
use zeroize::Zeroizing;

use super::PasswordSource;
use crate::secret::Secret;

/// The longest password, in bytes: PAP allows 255 (RFC 1334 §2.2.1), MS-CHAPv2 256 Unicode characters.
pub const MAX_LENGTH: usize = 1024;

/// The most output of a command before it is killed, in bytes; only the first line is used.
const MAX_OUTPUT: usize = 64 * 1024;

/// The resources of the process that reads a password.
pub struct SecretAccess<'a> {
    /// Opens an inherited file descriptor, given its number.
    pub open_fd: &'a dyn Fn(i32) -> io::Result<File>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The time limit of a command or descriptor; the user may have to type a PIN.
    pub limit: Duration,
}

/// Why there is no password. `Display` is the message for the user; it never contains the password.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file, descriptor or credential could not be opened or read.
    #[error("cannot read the password from {place}: {error}")]
    Read {
        /// Description of the source.
        place: String,
        /// The kernel's error.
        error: io::Error,
    },
    /// The file does not exist.
    #[error("there is no password file {}: write one with {}", path.display(), creation_command(path, directory.as_deref()))]
    Missing {
        /// The file.
        path: PathBuf,
        /// Its directory, if that is missing too.
        directory: Option<PathBuf>,
    },
    /// The descriptor was not inherited from the parent process.
    #[error(
        "descriptor {0} is not open for reading, so no password comes from it: it is opened like this: pptpctl up NAME {0}<FILE"
    )]
    NotOpen(i32),
    /// The path is a directory, a device or a FIFO.
    #[error("the password file {} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// Other users can access the file.
    #[error("the password file {} can be read or changed by others (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs neither to root nor to the effective user.
    #[error("the password file {} belongs to user {owner}, neither to root nor to you", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The user ID of its owner.
        owner: u32,
    },
    /// Longer than [`MAX_LENGTH`].
    #[error("the password from {0} is longer than {MAX_LENGTH} bytes")]
    TooLong(String),
    /// The first line is empty.
    #[error("the password from {0} is empty")]
    Empty(String),
    /// The file has more than one line, so the password is ambiguous.
    #[error("the password file {} has more than one line", .0.display())]
    ManyLines(PathBuf),
    /// The password contains a NUL character.
    #[error("the password from {0} contains a NUL character")]
    Nul(String),
    /// The program could not be started.
    #[error("cannot run the password command {program}: {error}")]
    Spawn {
        /// The first word of the command.
        program: String,
        /// The kernel's error.
        error: io::Error,
    },
    /// The program failed.
    #[error("the password command {program} failed: {status}")]
    Failed {
        /// The first word of the command.
        program: String,
        /// Its exit status or signal.
        status: ExitStatus,
    },
    /// The password did not arrive in time.
    #[error("no password from {place} within {} s", limit.as_secs())]
    TimedOut {
        /// Description of the source.
        place: String,
        /// The time limit.
        limit: Duration,
    },
    /// The command wrote more than 64 KiB.
    #[error("{0} writes without end")]
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

/// Returns a shell command that creates the file, and its missing directory, private to the owner.
fn creation_command(path: &Path, directory: Option<&Path>) -> String {
    let directory = directory.map_or_else(String::new, |one| format!("mkdir -p {}; ", one.display()));
    format!("(umask 077; {directory}cat > {})", path.display())
}

impl SecretAccess<'static> {
    /// Returns the resources of this process: `/dev/fd/N` for descriptors (set another `open_fd` on systems
    /// where that has only 0 to 2), `$CREDENTIALS_DIRECTORY`, and a limit of two minutes.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            open_fd: &open_fd,
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            limit: Duration::from_secs(120),
        }
    }
}

impl PasswordSource {
    /// Reads the password. Blocks while a command runs, at most `access.limit`.
    ///
    /// # Errors
    /// Returns an error if the source cannot be read in time, if other users can access it, or if the
    /// password is not one non-empty line.
    pub fn load(&self, access: &SecretAccess<'_>) -> Result<Secret, SecretError> {
        match self {
            Self::File(path) => from_file(path, true),
            Self::Command(argv) => {
                let (program, arguments) = argv.split_first().ok_or(SecretError::NoCommand)?;
                let mut command = Command::new(program);
                command.args(arguments);
                from_command(command, &program.to_string_lossy(), access.limit)
            }
            Self::Fd(fd) => {
                let place = format!("descriptor {fd}");
                let file = (access.open_fd)(*fd).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => SecretError::NotOpen(*fd),
                    _ => SecretError::Read { place: place.clone(), error },
                })?;
                let mut line = Line::new();
                let deadline = Instant::now() + access.limit;
                while !line.is_whole {
                    match line.wait(file.as_fd(), &place, deadline)? {
                        ReadOutcome::Data => {}
                        ReadOutcome::Idle if Instant::now() < deadline => {}
                        ReadOutcome::Idle => {
                            return Err(SecretError::TimedOut { place, limit: access.limit });
                        }
                        ReadOutcome::End => break,
                    }
                }
                line.finish(&place)
            }
            Self::Credential(name) => {
                let directory =
                    access.credentials.as_ref().ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                from_file(&directory.join(name), false)
            }
            Self::Inline(secret) => Ok(secret.clone()),
        }
    }

    /// Checks a password file as [`PasswordSource::load`] does. Commands, descriptors and credentials are not
    /// checked, because they are available only when a tunnel comes up.
    ///
    /// # Errors
    /// Returns the same errors as `load`.
    pub fn probe(&self) -> Result<(), SecretError> {
        match self {
            Self::File(path) => from_file(path, true).map(drop),
            Self::Command(_) | Self::Fd(_) | Self::Credential(_) | Self::Inline(_) => Ok(()),
        }
    }

    /// Returns a description of the source if reading it may wait for the user or another program.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        match self {
            Self::Command(argv) => {
                argv.first().map(|program| format!("the command {}", program.to_string_lossy()))
            }
            Self::Fd(fd) => Some(format!("descriptor {fd}")),
            Self::File(_) | Self::Credential(_) | Self::Inline(_) => None,
        }
    }
}

fn open_fd(fd: i32) -> io::Result<File> {
    if fd == 0 {
        return Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    File::open(format!("/dev/fd/{fd}"))
}

/// Reads the password from a file. `guarded` requires that only its owner, root or the effective user, can
/// access it; credentials are exempt, because systemd protects their directory and their access lists appear
/// as group bits.
fn from_file(path: &Path, must_be_private: bool) -> Result<Secret, SecretError> {
    let place = path.display().to_string();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound if must_be_private => SecretError::Missing {
            path: path.to_owned(),
            directory: path.parent().filter(|directory| !directory.exists()).map(Path::to_owned),
        },
        _ => SecretError::Read { place: place.clone(), error },
    };
    // O_NONBLOCK: opening a FIFO must not block. All checks are made on the open file, so that it cannot be
    // replaced between check and read.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretError::NotRegular(path.to_owned()));
    }
    if must_be_private {
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Exposed { path: path.to_owned(), mode });
        }
        if metadata.uid() != 0 && metadata.uid() != Uid::effective().as_raw() {
            return Err(SecretError::ForeignOwner { path: path.to_owned(), owner: metadata.uid() });
        }
    }
    // The password, CR LF, and one more byte to detect that it is too long. The buffer never grows.
    let max_length = MAX_LENGTH + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(max_length));
    let limit = u64::try_from(max_length).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.len() <= MAX_LENGTH && bytes.contains(&b'\n') {
        return Err(SecretError::ManyLines(path.to_owned()));
    }
    checked(&bytes, &place)
}

fn from_command(mut command: Command, program: &str, limit: Duration) -> Result<Secret, SecretError> {
    let deadline = Instant::now() + limit;
    let spawned = command.stdin(Stdio::inherit()).stderr(Stdio::inherit()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| SecretError::Spawn { program: program.to_owned(), error })?;
    let place = format!("the password command {program}");
    let result = read_output(&mut child, &place, deadline, limit);
    if result.is_err() {
        // If the command has already been reaped, both calls have no effect.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (line, status) = result?;
    if !status.success() {
        return Err(SecretError::Failed { program: program.to_owned(), status });
    }
    line.finish(&place)
}

/// Reads the command's output until the command exits.
fn read_output(
    child: &mut Child,
    place: &str,
    deadline: Instant,
    limit: Duration,
) -> Result<(Line, ExitStatus), SecretError> {
    let failed = |error| SecretError::Read { place: place.to_owned(), error };
    let output = child.stdout.take().ok_or_else(|| failed(io::Error::other("no pipe")))?;
    let mut line = Line::new();
    let mut delay = Duration::from_millis(1);
    let mut open = true;
    loop {
        if open {
            match line.wait(output.as_fd(), place, deadline)? {
                ReadOutcome::Data => continue,
                ReadOutcome::End => open = false,
                ReadOutcome::Idle => {}
            }
        } else {
            std::thread::sleep(delay);
            delay = (delay * 2).min(POLL_INTERVAL);
        }
        // The pipe is open but silent: a background agent may hold it open forever.
        if let Some(status) = child.try_wait().map_err(failed)? {
            // Output written between the last read and the exit is still in the pipe.
            while open && line.wait(output.as_fd(), place, Instant::now())? == ReadOutcome::Data {}
            return Ok((line, status));
        }
        if Instant::now() >= deadline {
            return Err(SecretError::TimedOut { place: place.to_owned(), limit });
        }
    }
}

/// The longest interval between checks for a command's exit.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The result of one wait for output.
#[derive(PartialEq, Eq)]
enum ReadOutcome {
    Data,
    Idle,
    End,
}

/// The first line of a stream, in a buffer that never grows (growing would leave copies behind).
struct Line {
    bytes: Zeroizing<Vec<u8>>,
    is_whole: bool,
    total: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 2)), is_whole: false, total: 0 }
    }

    /// Waits for at most one tick, and not past the deadline, and reads what is available. Reads once even
    /// after the deadline, because the process may have been stopped, or the host suspended, since the
    /// password was typed.
    fn wait(
        &mut self,
        fd: BorrowedFd<'_>,
        place: &str,
        deadline: Instant,
    ) -> Result<ReadOutcome, SecretError> {
        let failed = |errno: Errno| SecretError::Read { place: place.to_owned(), error: errno.into() };
        let left = deadline.saturating_duration_since(Instant::now());
        let tick = PollTimeout::try_from(POLL_INTERVAL.min(left)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], tick) {
            Ok(0) | Err(Errno::EINTR) => return Ok(ReadOutcome::Idle),
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mut chunk = Zeroizing::new([0_u8; 1024]);
        let count = match read(fd, chunk.as_mut_slice()) {
            Ok(0) => return Ok(ReadOutcome::End),
            Ok(count) => count,
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(ReadOutcome::Idle),
            Err(errno) => return Err(failed(errno)),
        };
        self.total = self.total.saturating_add(count);
        if self.total > MAX_OUTPUT {
            return Err(SecretError::TooMuch(place.to_owned()));
        }
        for byte in chunk.iter().take(count) {
            self.is_whole |= *byte == b'\n';
            if !self.is_whole && self.bytes.len() < self.bytes.capacity() {
                self.bytes.push(*byte);
            }
        }
        Ok(ReadOutcome::Data)
    }

    fn finish(mut self, place: &str) -> Result<Secret, SecretError> {
        if self.is_whole && self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        checked(&self.bytes, place)
    }
}

fn checked(bytes: &[u8], place: &str) -> Result<Secret, SecretError> {
    match bytes {
        [] => Err(SecretError::Empty(place.to_owned())),
        bytes if bytes.len() > MAX_LENGTH => Err(SecretError::TooLong(place.to_owned())),
        bytes if bytes.contains(&0) => Err(SecretError::Nul(place.to_owned())),
        bytes => Ok(Secret::new(bytes.to_vec())),
    }
}
