//! One supervisor per profile: a flock(2) on a file in the control directory.
//!
//! The lock belongs to the open file, so it passes to the daemon at the fork and ends with its last process,
//! however that ends. The file is removed by whoever holds the lock; whoever opens it checks that the path
//! still leads to the file that was locked.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

use crate::os::{crash, jail, paths};

/// Opening and removing may cross each other, and `recover` holds each free lock for a moment; what lasts longer
/// than this is something else.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often a lock that nobody has signed is looked at again.
const LOOK: Duration = Duration::from_millis(5);

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
        let patience = Instant::now() + PATIENCE;
        loop {
            crash::point(format_args!("make the control directory"));
            make_control_dir().map_err(failed)?;
            crash::point(format_args!("open the lock"));
            let file = match open(&path) {
                Ok(file) => file,
                // The last one out has just removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < patience => {
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => match pid_in(&path) {
                    // Whoever has just taken it, or only looks whether it is stale, has not signed (yet).
                    0 if Instant::now() < patience => {
                        std::thread::sleep(LOOK);
                        continue;
                    }
                    pid => return Err(LockError::Held(pid)),
                },
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
            if is_still_at(&file, &path) {
                return Ok(Self { file, path });
            }
            if Instant::now() >= patience {
                return Err(failed(io::Error::other("it keeps changing under us")));
            }
        }
    }

    /// Writes the pid of this process into it, for [`LockError::Held`].
    ///
    /// # Errors
    /// The file system's.
    pub fn sign(&mut self) -> Result<(), LockError> {
        crash::point(format_args!("sign the lock"));
        let signed = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| writeln!(self.file, "{}", std::process::id()));
        signed.map_err(|error| LockError::Io { path: self.path.clone(), error })
    }

    /// Removes the file, and the control directory when nothing else is in it, then lets go.
    pub fn release(self) {
        crash::point(format_args!("remove the lock"));
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "lock file stays");
        }
        crash::point(format_args!("remove the control directory"));
        // Another profile's files keep it, and that is as it should be.
        let _not_empty = remove_empty_dir();
    }
}

/// Removes the control directory if nothing is in it: whoever made it has died before it made its lock, or after it
/// removed it. An engine that was killed at the wrong moment does not keep it.
pub fn remove_empty_dir() -> Option<PathBuf> {
    let dir = paths::control_dir();
    jail::sweep(&dir);
    fs::remove_dir(&dir).is_ok().then_some(dir)
}

/// Whether a supervisor holds the lock of this profile. Leaves nothing behind. Whoever looks shares the lock with others
/// who look: one must not take the other for a supervisor.
#[must_use]
pub fn is_held(name: &str) -> bool {
    let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(paths::lock_file(name))
    else {
        return false;
    };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

/// The process that has signed the lock of this profile; 0 if none that lives has.
#[must_use]
pub fn signer(name: &str) -> u32 {
    pid_in(&paths::lock_file(name))
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
        // Whatever the umask of whoever runs us: `list` and `status` of other users look for sockets in it.
        Ok(()) => fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?,
        other => return other,
    }
    let found = fs::symlink_metadata(&dir)?;
    let ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(io::Error::other("the control directory is not ours alone to write")) }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

/// Who has signed; 0 if nobody has, or a dead one: whoever holds it now has not yet.
fn pid_in(path: &Path) -> u32 {
    let signed = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let lives = |pid: &u32| {
        let pid = i32::try_from(*pid).ok().filter(|pid| *pid > 0);
        pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
    };
    signed.filter(lives).unwrap_or(0)
}
