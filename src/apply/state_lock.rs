//! A lock on the state directory: two tunnels that share a host route must not undo it at the same time.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{ApplyError, Cause};
use crate::os::{
    crash,
    launch::files::{self, Opening},
    private_dir, wait,
};

/// The longest wait for the lock: its holder may run programs, each with a limit, but it may also be stopped.
const LIMIT: Duration = Duration::from_secs(60);

/// First and longest interval at which a held lock is tried again; each is twice the one before. Hundreds of tunnels may
/// wait for it; those that have waited for long must not have much less of a chance than the new ones.
const INTERVALS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(20)];

/// The lock, while it lives.
#[derive(Debug)]
pub(super) struct StateLock {
    state: PathBuf,
    held: Option<Flock<File>>,
}

impl StateLock {
    pub(super) fn take(state: &Path) -> Result<Self, ApplyError> {
        let mut lock = Self { state: state.to_owned(), held: None };
        lock.hold()?;
        Ok(lock)
    }

    /// Runs `work` with the lock released: a hook may take long, and may run this program for another tunnel.
    ///
    /// # Errors
    /// Returns the error if the lock can't be taken again, along with the result of `work`.
    pub(super) fn while_released<T>(&mut self, work: impl FnOnce() -> T) -> (T, Result<(), ApplyError>) {
        self.held = None;
        let done = work();
        (done, self.hold())
    }

    fn hold(&mut self) -> Result<(), ApplyError> {
        let failed = |error| ApplyError::ledger(&self.state, Cause::File { path: self.state.clone(), error });
        if !self.state.is_dir() {
            crash::point(format_args!("make the state directory"));
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.state);
        // Another program has removed it: the launcher creates it again.
        made.or_else(|_| files::make_directory(&self.state, 0o700)).map_err(failed)?;
        // Lock the directory itself: a lock file would be one more file to leave behind.
        let directory = files::open(&self.state, Opening::Read).map_err(failed)?;
        // A user who can write a ledger can make root undo steps that were never performed, or run a hook.
        let found = directory.metadata().map_err(failed)?;
        private_dir::check(&self.state, &found, 0o700).map_err(failed)?;
        self.held = Some(lock_within(directory, LIMIT).map_err(failed)?);
        Ok(())
    }
}

fn lock_within(mut directory: File, limit: Duration) -> io::Result<Flock<File>> {
    let deadline = Instant::now() + limit;
    let [mut interval, longest] = INTERVALS;
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(held),
            Err((same, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => directory = same,
            Err((_, Errno::EWOULDBLOCK)) => {
                let words =
                    format!("another pptpctl has held its lock for {} s (is one stopped?)", limit.as_secs());
                return Err(io::Error::other(words));
            }
            Err((_, errno)) => return Err(errno.into()),
        }
        wait::any(&[], Some(Instant::now() + interval))?;
        interval = longest.min(interval * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_that_is_never_released_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::open(dir.path()).unwrap();
        let held = lock_within(open(), LIMIT).unwrap();
        let refused = lock_within(open(), Duration::from_millis(20)).unwrap_err();
        assert!(refused.to_string().contains("is one stopped?"), "{refused}");
        drop(held);
        lock_within(open(), LIMIT).unwrap();
    }
}
