//! One supervisor per profile: a flock(2) on a file in the control directory.
//!
//! The lock belongs to the open file, so it passes to the daemon at the fork and ends with its last process,
//! however that ends. The file is removed by whoever holds the lock; whoever opens it checks that the path
//! still leads to the file that was locked.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
};

use crate::os::paths;

/// Opening and removing may cross each other; more than a few times means that something else is wrong.
const TRIES: usize = 16;

/// The lock of one profile, held.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why it could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A supervisor lives.
    #[error("held by process {0}")]
    Held(u32),
    /// The directory or the file cannot be used.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Lock {
    /// Takes the lock of this profile, making the control directory if need be.
    ///
    /// # Errors
    /// [`LockError::Held`] with the pid of the supervisor, or what the file system says.
    pub fn acquire(name: &str) -> Result<Self, LockError> {
        let path = paths::lock_file(name);
        let failed = |error| LockError::Io { path: path.clone(), error };
        for _ in 0..TRIES {
            make_control_dir().map_err(failed)?;
            let file = match open(&path) {
                Ok(file) => file,
                // The last one out has just removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Err(LockError::Held(pid_in(file))),
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
            if is_still_at(&file, &path) {
                return Ok(Self { file, path });
            }
        }
        Err(failed(io::Error::other("it keeps changing under us")))
    }

    /// Writes the pid of this process into it, for [`LockError::Held`].
    ///
    /// # Errors
    /// The file system's.
    pub fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// Removes the file, and the control directory when nothing else is in it, then lets go.
    pub fn release(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "lock file stays");
        }
        // Another profile's files keep it, and that is as it should be.
        let _not_empty = fs::remove_dir(paths::control_dir());
    }
}

/// Whether a supervisor holds the lock of this profile. Leaves nothing behind.
#[must_use]
pub fn is_held(name: &str) -> bool {
    let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(paths::lock_file(name))
    else {
        return false;
    };
    matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
}

/// The profiles that have a lock file, live or not.
#[must_use]
pub fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(paths::control_dir()) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().into_string().ok()?.strip_suffix(".lock").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn make_control_dir() -> io::Result<()> {
    let dir = paths::control_dir();
    match fs::DirBuilder::new().mode(0o755).create(&dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let found = fs::symlink_metadata(&dir)?;
    let ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(io::Error::other("the control directory is not ours alone to write")) }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn is_still_at(file: &File, path: &PathBuf) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

fn pid_in(file: File) -> u32 {
    let mut text = String::new();
    let _unreadable = file.take(32).read_to_string(&mut text);
    text.trim().parse().unwrap_or(0)
}
