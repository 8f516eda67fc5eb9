//! Password files, and what a password may be. `supervisor` reads the other sources.
//!
//! The bytes are read into a buffer that is wiped after use, and no error contains them.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::Uid};
use zeroize::Zeroizing;

use super::PasswordSource;
use crate::secret::Secret;

/// The longest password, in bytes: PAP allows 255 (RFC 1334 §2.2.1), MS-CHAPv2 256 Unicode characters.
pub const MAX_LENGTH: usize = 1024;

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
    /// The text is UTF-16, as some editors of Windows write it.
    #[error("the password from {0} is UTF-16 text: save it as UTF-8")]
    Utf16(String),
    /// The password contains a NUL character.
    #[error("the password from {0} contains a NUL character")]
    Nul(String),
}

/// Returns a shell command that creates the file, and its missing directory, private to the owner.
fn creation_command(path: &Path, directory: Option<&Path>) -> String {
    let directory = directory.map_or_else(String::new, |one| format!("mkdir -p {}; ", one.display()));
    format!("(umask 077; {directory}cat > {})", path.display())
}

impl PasswordSource {
    /// Checks a password file as [`from_file`] does. Commands, descriptors and credentials are not checked,
    /// because they are available only when a tunnel comes up.
    ///
    /// # Errors
    /// Returns the same errors as `from_file`.
    pub fn probe(&self) -> Result<(), SecretError> {
        match self {
            Self::File(path) => from_file(path, true).map(drop),
            Self::Command(_) | Self::Fd(_) | Self::Credential(_) | Self::Inline(_) | Self::Ask { .. } => {
                Ok(())
            }
        }
    }

    /// Returns whether `up` asks the user at the terminal.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        matches!(self, Self::Ask { .. })
    }

    /// Returns a description of the source if reading it may wait for the user or another program.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        match self {
            Self::Command(argv) => {
                argv.first().map(|program| format!("the command {}", program.to_string_lossy()))
            }
            Self::Fd(fd) => Some(format!("descriptor {fd}")),
            Self::Ask { .. } => Some("the terminal".to_owned()),
            Self::File(_) | Self::Credential(_) | Self::Inline(_) => None,
        }
    }
}

/// Reads the password from a file. `must_be_private` requires that only its owner, root or the effective
/// user, can access it; credentials are exempt, because systemd protects their directory and their access
/// lists appear as group bits.
///
/// # Errors
/// Returns an error if the file cannot be read, if other users can access it, or if the password is not one
/// non-empty line.
pub fn from_file(path: &Path, must_be_private: bool) -> Result<Secret, SecretError> {
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
    if is_utf16(&bytes) {
        return Err(SecretError::Utf16(place));
    }
    if bytes.len() <= MAX_LENGTH && bytes.contains(&b'\n') {
        return Err(SecretError::ManyLines(path.to_owned()));
    }
    checked(&bytes, &place)
}

/// Returns the password in a line, without a byte order mark before it.
///
/// # Errors
/// Returns an error if it is empty, too long, UTF-16, or contains a NUL character.
pub fn checked(bytes: &[u8], place: &str) -> Result<Secret, SecretError> {
    match bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) {
        bytes if is_utf16(bytes) => Err(SecretError::Utf16(place.to_owned())),
        [] => Err(SecretError::Empty(place.to_owned())),
        bytes if bytes.len() > MAX_LENGTH => Err(SecretError::TooLong(place.to_owned())),
        bytes if bytes.contains(&0) => Err(SecretError::Nul(place.to_owned())),
        bytes => Ok(Secret::new(bytes.to_vec())),
    }
}

/// Returns whether the bytes begin with a byte order mark of UTF-16.
fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
}
