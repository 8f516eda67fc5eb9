//! Getting at a password when it is needed: from a file, a command, a descriptor, a systemd credential.
//!
//! The bytes go straight into a buffer that is wiped; nothing here prints, logs or stores them, and no error
//! names them. A command is run by its argument vector, never through a shell, with the terminal as its
//! stdin and stderr so that it can ask for a PIN.

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

/// The longest password, in bytes: PAP could carry 255 (RFC 1334 §2.2.1), MS-CHAPv2 256 Unicode characters.
pub const MAX_LENGTH: usize = 1024;

/// The most that a command may write before it is stopped, in bytes; only the first line is used.
const MAX_OUTPUT: usize = 64 * 1024;

/// What the process that asks for a password brings along.
pub struct SecretAccess<'a> {
    /// Opens an inherited file descriptor by its number.
    pub open_fd: &'a dyn Fn(i32) -> io::Result<File>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// How long a command or a descriptor may take; someone may have to type a PIN.
    pub limit: Duration,
}

/// Why there is no password. `Display` is the sentence for the person; it never holds the password.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file, descriptor or credential could not be opened or read.
    #[error("cannot read the password from {place}: {error}")]
    Read {
        /// Where it should have come from.
        place: String,
        /// What the system said.
        error: io::Error,
    },
    /// There is no such file.
    #[error("there is no password file {}: write one with {}", path.display(), how_to_write(path, directory.as_deref()))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The directory that it should be in, if that is missing too.
        directory: Option<PathBuf>,
    },
    /// Whoever started us did not pass this descriptor on.
    #[error(
        "descriptor {0} is not open for reading, so no password comes from it: it is opened like this: pptpctl up NAME {0}<FILE"
    )]
    NotOpen(i32),
    /// A directory, a device, a pipe.
    #[error("the password file {} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// Others have rights on the file.
    #[error("the password file {} can be read or changed by others (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to neither root nor the person who runs us.
    #[error("the password file {} belongs to user {owner}, neither to root nor to you", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Longer than [`MAX_LENGTH`].
    #[error("the password from {0} is longer than {MAX_LENGTH} bytes")]
    TooLong(String),
    /// Nothing before the first newline.
    #[error("the password from {0} is empty")]
    Empty(String),
    /// A file with more than one line: which one is meant?
    #[error("the password file {} has more than one line", .0.display())]
    ManyLines(PathBuf),
    /// A NUL or other character that no password has.
    #[error("the password from {0} contains a NUL character")]
    Nul(String),
    /// The program could not be started.
    #[error("cannot run the password command {program}: {error}")]
    Spawn {
        /// The first word of the command.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// The program failed.
    #[error("the password command {program} failed: {status}")]
    Failed {
        /// The first word of the command.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Nothing came in time.
    #[error("no password from {place} within {} s", limit.as_secs())]
    TimedOut {
        /// Where it should have come from.
        place: String,
        /// The limit.
        limit: Duration,
    },
    /// More than 64 KiB came out of the command.
    #[error("{0} writes without end")]
    TooMuch(String),
    /// Not started by systemd with `LoadCredential=`.
    #[error(
        "credential {0}: $CREDENTIALS_DIRECTORY is not set; it comes from LoadCredential= in a systemd unit"
    )]
    NoCredentials(String),
    /// The profile has no command.
    #[error("the password command is empty")]
    NoCommand,
}

/// For a shell; what the directory lacks it makes as private as the file.
fn how_to_write(path: &Path, directory: Option<&Path>) -> String {
    let directory = directory.map_or_else(String::new, |one| format!("mkdir -p {}; ", one.display()));
    format!("(umask 077; {directory}cat > {})", path.display())
}

impl SecretAccess<'static> {
    /// What this process has: `/dev/fd/N` for descriptors (on systems where that shows only 0 to 2, bring an
    /// `open_fd` of your own), the environment's credentials, two minutes.
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
    /// Fetches the password. Blocks for as long as a command runs, at most `access.limit`.
    ///
    /// # Errors
    /// Anything that keeps it from being one non-empty line from a place that only the right people can touch.
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
                        Heard::Something => {}
                        Heard::Nothing if Instant::now() < deadline => {}
                        Heard::Nothing => return Err(SecretError::TimedOut { place, limit: access.limit }),
                        Heard::End => break,
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

    /// What [`PasswordSource::load`] would say of a password file now, without asking anyone for anything: commands,
    /// descriptors and credentials are there only when a tunnel comes up, and pass.
    ///
    /// # Errors
    /// As for `load`.
    pub fn probe(&self) -> Result<(), SecretError> {
        match self {
            Self::File(path) => from_file(path, true).map(drop),
            Self::Command(_) | Self::Fd(_) | Self::Credential(_) | Self::Inline(_) => Ok(()),
        }
    }

    /// Where a password comes from that someone may have to be waited for: a person, or another program.
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

/// `guarded`: the file must be ours alone. A credential is not checked so: systemd guards its directory, and
/// shows access lists as group bits.
fn from_file(path: &Path, guarded: bool) -> Result<Secret, SecretError> {
    let place = path.display().to_string();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound if guarded => SecretError::Missing {
            path: path.to_owned(),
            directory: path.parent().filter(|directory| !directory.exists()).map(Path::to_owned),
        },
        _ => SecretError::Read { place: place.clone(), error },
    };
    // O_NONBLOCK: opening a pipe must not hang before we see that it is one. All checks are made on the open
    // file, so that nothing can be swapped in between.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(SecretError::NotRegular(path.to_owned()));
    }
    if guarded {
        let mode = facts.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Exposed { path: path.to_owned(), mode });
        }
        if facts.uid() != 0 && facts.uid() != Uid::effective().as_raw() {
            return Err(SecretError::ForeignOwner { path: path.to_owned(), owner: facts.uid() });
        }
    }
    // The password, one newline of two bytes, and one byte more to see that it is too long. The buffer never grows.
    let most = MAX_LENGTH + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
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
    let result = listen(&mut child, &place, deadline, limit);
    if result.is_err() {
        // It may have ended by itself; both calls then have nothing to do.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (line, status) = result?;
    if !status.success() {
        return Err(SecretError::Failed { program: program.to_owned(), status });
    }
    line.finish(&place)
}

/// Reads until the command has ended and its output with it.
fn listen(
    child: &mut Child,
    place: &str,
    deadline: Instant,
    limit: Duration,
) -> Result<(Line, ExitStatus), SecretError> {
    let failed = |error| SecretError::Read { place: place.to_owned(), error };
    let output = child.stdout.take().ok_or_else(|| failed(io::Error::other("no pipe")))?;
    let mut line = Line::new();
    let mut nap = Duration::from_millis(1);
    let mut open = true;
    loop {
        if open {
            match line.wait(output.as_fd(), place, deadline)? {
                Heard::Something => continue,
                Heard::End => open = false,
                Heard::Nothing => {}
            }
        } else {
            std::thread::sleep(nap);
            nap = (nap * 2).min(TICK);
        }
        // Silence with the pipe still open: an agent that was started in the background may hold it for ever.
        if let Some(status) = child.try_wait().map_err(failed)? {
            // What it said between that silence and its end is in the pipe.
            while open && line.wait(output.as_fd(), place, Instant::now())? == Heard::Something {}
            return Ok((line, status));
        }
        if Instant::now() >= deadline {
            return Err(SecretError::TimedOut { place: place.to_owned(), limit });
        }
    }
}

/// How often a silent command is looked at.
const TICK: Duration = Duration::from_millis(50);

/// What one wait brought.
#[derive(PartialEq, Eq)]
enum Heard {
    Something,
    Nothing,
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

    /// Waits for at most a tick, and not past the deadline, and takes what is there: also when it is too late to wait,
    /// for this process may have been stopped, and the machine asleep, since the password was typed.
    fn wait(&mut self, fd: BorrowedFd<'_>, place: &str, deadline: Instant) -> Result<Heard, SecretError> {
        let failed = |errno: Errno| SecretError::Read { place: place.to_owned(), error: errno.into() };
        let left = deadline.saturating_duration_since(Instant::now());
        let tick = PollTimeout::try_from(TICK.min(left)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], tick) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Heard::Nothing),
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mut chunk = Zeroizing::new([0_u8; 1024]);
        let count = match read(fd, chunk.as_mut_slice()) {
            Ok(0) => return Ok(Heard::End),
            Ok(count) => count,
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(Heard::Nothing),
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
        Ok(Heard::Something)
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
