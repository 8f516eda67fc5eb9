//! Notices that another program has removed this supervisor's files from the control directory, and puts them back.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use crate::{os::filewatch::FileWatch, platform, supervisor::ipc::server::Control};

/// Interval at which the files are checked, in case the kernel does not report a removal: it has no inotify(7),
/// or the directory is hidden by a mount.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// How much earlier they are checked if this process is awake for another reason: the questions to the engine wake it more
/// often, so that it does not wake up for this.
const EARLIER: Duration = Duration::from_secs(20);

/// Time from the first removal to the check: `rm -r` removes one file after the other, and then the directory.
const SETTLE: Duration = Duration::from_millis(500);

/// Time between two attempts, doubled up to [`CHECK_INTERVAL`] while they follow each other.
const RETRY: Duration = Duration::from_secs(1);

/// The watch on the files.
#[derive(Debug)]
pub(super) struct ControlFiles {
    name: String,
    watch: Option<FileWatch>,
    next: NextCheck,
    /// The earliest time of the next attempt to put files back, and the time between that and the one after it.
    retry: (Instant, Duration),
    /// The last failure; each is logged once.
    failure: Option<String>,
}

/// When the files are checked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NextCheck {
    /// If this process is awake then for another reason.
    from: Instant,
    /// At the latest.
    due: Instant,
}

impl NextCheck {
    /// Returns the next check after one at `now` that found nothing.
    fn periodic(now: Instant) -> Self {
        Self { from: now + CHECK_INTERVAL - EARLIER, due: now + CHECK_INTERVAL }
    }

    /// Returns a check at this time.
    const fn at(due: Instant) -> Self {
        Self { from: due, due }
    }
}

impl ControlFiles {
    pub fn new(name: &str) -> Self {
        let now = Instant::now();
        let mut files = Self {
            name: name.to_owned(),
            watch: None,
            next: NextCheck::periodic(now),
            retry: (now, RETRY),
            failure: None,
        };
        files.watch();
        files
    }

    fn watch(&mut self) {
        let files = vec![
            platform::control_socket(&self.name),
            platform::status_socket(&self.name),
            platform::lock_file(&self.name),
        ];
        self.watch = FileWatch::of_removal(files)
            .inspect_err(|error| tracing::debug!(%error, "the control directory is looked at once a minute"))
            .ok();
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().and_then(FileWatch::fd)
    }

    /// Returns when [`ControlFiles::check`] is due, and why.
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.next.due, "files in the control directory"))
    }

    /// Checks the files when that is due, which is soon after their directory has `changed`; puts back those that are
    /// missing. Returns whether files were put back.
    pub fn check(&mut self, now: Instant, changed: bool, control: &mut Control) -> bool {
        if changed && self.watch.as_ref().is_some_and(FileWatch::take) {
            self.next = NextCheck::at(self.next.due.min(self.retry.0.max(now + SETTLE)));
        }
        if now < self.next.from {
            return false;
        }
        self.next = NextCheck::periodic(now);
        if control.has_files() {
            return false;
        }
        let (earliest, pause) = self.retry;
        let pause = if now > earliest + CHECK_INTERVAL { RETRY } else { pause };
        self.retry = (now + pause, (pause * 2).min(CHECK_INTERVAL));
        let restored = control.restore_files();
        let dir = platform::control_dir();
        let failure = match restored {
            Ok(true) => None,
            Ok(false) => Some("another process holds the lock".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match &failure {
            None => {
                tracing::warn!(
                    "another program had removed this tunnel's files in {}: put back",
                    dir.display()
                );
                // The directory may be a new one.
                self.watch();
            }
            Some(why) => {
                self.next = NextCheck::at(now + pause);
                if self.failure != failure {
                    tracing::warn!(
                        "this tunnel's files in {} are gone and can't be put back: {why}",
                        dir.display()
                    );
                }
            }
        }
        self.failure = failure;
        self.failure.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::run::engine_watch::WHILE_UP;

    /// The questions to the engine wake the supervisor often enough.
    #[test]
    fn periodic_check_wakes_nobody_while_the_tunnel_is_up() {
        let start = Instant::now();
        let (mut next, mut checks) = (NextCheck::periodic(start), 0);
        for question in 1..=80 {
            let now = start + WHILE_UP * question;
            assert!(now <= next.due, "a wake-up for the check alone");
            if now >= next.from {
                next = NextCheck::periodic(now);
                checks += 1;
            }
        }
        assert_eq!(checks, 80, "each time, in an hour");
    }

    #[test]
    fn removal_is_checked_at_its_own_time() {
        let at = Instant::now();
        assert_eq!((NextCheck::at(at).from, NextCheck::at(at).due), (at, at));
    }
}
