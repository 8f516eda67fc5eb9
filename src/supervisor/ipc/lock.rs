//! One supervisor per profile: a flock(2) on a file in the control directory.
//!
//! The lock belongs to the open file, so the daemon inherits it at the fork, and it is released when its last
//! process ends, for whatever reason. Only the holder of the lock removes the file. After locking, a process
//! checks that the path still refers to the file that it locked.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    os::{
        crash, jail,
        launch::files::{self, Opening},
        private_dir, process,
    },
    platform,
};

/// How long to retry: opening and removing the file may race, and `recover` briefly holds each free lock.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long to wait for a holder that has been killed.
const KILLED_TIMEOUT: Duration = Duration::from_secs(5);

/// Poll interval for a held lock that is not signed.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A held lock of one profile.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why a lock could not be acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A supervisor with this pid runs.
    #[error("held by process {0}")]
    Held(u32),
    /// The directory or the file cannot be used.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

impl LockError {
    /// Returns it as an error of the same kind.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Held(_) => io::ErrorKind::Other,
            Self::Io { error, .. } => error.kind(),
        };
        io::Error::new(kind, self.to_string())
    }
}

impl Lock {
    /// Acquires the lock of this profile, creating the control directory if needed.
    ///
    /// # Errors
    /// Returns [`LockError::Held`] with the pid of the supervisor, or the file system's error.
    pub fn acquire(name: &str) -> Result<Self, LockError> {
        let path = platform::lock_file(name);
        let failed = |error| LockError::Io { path: path.clone(), error };
        let deadline = Instant::now() + ACQUIRE_TIMEOUT;
        let killed_deadline = Instant::now() + KILLED_TIMEOUT;
        loop {
            crash::point(format_args!("make the control directory"));
            make_control_dir().map_err(failed)?;
            crash::point(format_args!("open the lock"));
            let file = match open(&path) {
                Ok(file) => file,
                // The previous holder has just removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < deadline => {
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => match live_pid_in(&path) {
                    // The holder has just acquired it, or only tests whether it is stale, and has not signed
                    // (yet).
                    0 if Instant::now() < deadline => {
                        std::thread::sleep(POLL_INTERVAL);
                        continue;
                    }
                    // Killed a moment ago: the kernel is about to release the lock.
                    pid if process::is_ending(pid) && Instant::now() < killed_deadline => {
                        std::thread::sleep(POLL_INTERVAL);
                        continue;
                    }
                    pid => return Err(LockError::Held(pid)),
                },
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
            if is_file_at(&file, &path) {
                return Ok(Self { file, path });
            }
            if Instant::now() >= deadline {
                return Err(failed(io::Error::other("another process keeps replacing the file")));
            }
        }
    }

    /// Writes the pid of this process into the file, for [`LockError::Held`].
    ///
    /// # Errors
    /// Returns the file system's error if that fails.
    pub fn sign(&mut self) -> Result<(), LockError> {
        crash::point(format_args!("sign the lock"));
        let signed = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| writeln!(self.file, "{}", std::process::id()));
        signed.map_err(|error| LockError::Io { path: self.path.clone(), error })
    }

    /// Returns whether the path still refers to the locked file.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        is_file_at(&self.file, &self.path)
    }

    /// Creates, locks and signs the file again if another program has removed it. Returns `false` if another process
    /// holds the new file. Does not wait.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn restore(&mut self) -> io::Result<bool> {
        if self.is_in_place() {
            return Ok(true);
        }
        make_control_dir()?;
        let file = open(&self.path)?;
        match file.try_lock() {
            Ok(()) if is_file_at(&file, &self.path) => {}
            Ok(()) | Err(fs::TryLockError::WouldBlock) => return Ok(false),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // The former file has no name any more; its lock goes with it.
        self.file = file;
        self.sign().map_err(LockError::into_io)?;
        Ok(true)
    }

    /// Removes the file if it is still the locked one, and the control directory if nothing else is in it, then
    /// releases the lock.
    pub fn release(self) {
        crash::point(format_args!("remove the lock"));
        // Another program may have removed the file, and another supervisor may have created its own.
        if !self.is_in_place() {
            return;
        }
        if let Err(error) = files::remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "lock file stays");
        }
        crash::point(format_args!("remove the control directory"));
        // Another profile's files keep the directory, as intended.
        let _not_empty = remove_empty_dir();
    }
}

/// Removes the control directory if it is empty, and returns its path then. It stays behind if a process was
/// killed before it created its lock or after it removed it. Directories of killed engines are swept first.
pub fn remove_empty_dir() -> Option<PathBuf> {
    let dir = platform::control_dir();
    jail::sweep(&dir);
    files::remove_directory(&dir).is_ok().then_some(dir)
}

/// Returns whether a supervisor holds the lock of this profile. Leaves nothing behind. Takes a shared lock,
/// so that two callers at once do not take each other for a supervisor.
#[must_use]
pub fn is_held(name: &str) -> bool {
    let Ok(file) =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(platform::lock_file(name))
    else {
        return false;
    };
    let deadline = Instant::now() + KILLED_TIMEOUT;
    loop {
        if !matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)) {
            return false;
        }
        // As in `Lock::acquire`.
        if !process::is_ending(signer_pid(name)) || Instant::now() >= deadline {
            return true;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns whether this user may not test the lock of this profile.
#[must_use]
pub fn is_private(name: &str) -> bool {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(platform::lock_file(name));
    opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Returns the pid that signed the lock of this profile; 0 if there is none or its process has exited.
#[must_use]
pub fn signer_pid(name: &str) -> u32 {
    live_pid_in(&platform::lock_file(name))
}

/// Returns the profiles that have a lock file, held or not, sorted.
#[must_use]
pub fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(platform::control_dir()) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().into_string().ok()?.strip_suffix(".lock").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn make_control_dir() -> io::Result<()> {
    let dir = platform::control_dir();
    // `list` and `status` of other users check for sockets in it.
    match files::make_directory(&dir, 0o755) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    private_dir::check(&dir, &fs::symlink_metadata(&dir)?, 0o755)
}

fn open(path: &Path) -> io::Result<File> {
    files::open(path, Opening::Lock)
}

fn is_file_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

/// Returns the pid in a lock file; 0 if there is none, or its process is gone: the holder has not signed
/// then.
fn live_pid_in(path: &Path) -> u32 {
    let signed = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    signed.filter(|pid| process::exists(*pid)).unwrap_or(0)
}
