//! Notices changes of the files that name this host's resolvers: a route of the tunnel may cover a new one.

use std::{
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{apply, os::filewatch::FileWatch};

/// Interval at which the files are compared without notifications, at a wake-up for something else.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a file by which a change is seen: device, inode, size, and time of the last change.
type State = Option<(u64, u64, u64, i64)>;

/// The watched files.
#[derive(Debug)]
pub(super) struct ResolverFiles {
    files: Vec<PathBuf>,
    /// `None` on a system without inotify(7), or if it failed.
    watch: Option<FileWatch>,
    seen: Vec<State>,
    checked: Instant,
}

impl ResolverFiles {
    pub fn watch(now: Instant) -> Self {
        let files = apply::resolver_sources();
        let watch = FileWatch::new(files.clone())
            .inspect_err(|error| tracing::debug!(%error, "resolv.conf is compared once a minute"))
            .ok();
        let seen = files.iter().map(state).collect();
        Self { files, watch, seen, checked: now }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().and_then(FileWatch::fd)
    }

    /// Returns whether one of the files has changed. `ready` is whether the descriptor is readable.
    pub fn changed(&mut self, ready: bool, now: Instant) -> bool {
        let changed = match &self.watch {
            Some(watch) => ready && watch.take(),
            None if now < self.checked + CHECK_INTERVAL => false,
            None => {
                self.checked = now;
                self.files.iter().map(state).ne(self.seen.iter().copied())
            }
        };
        if changed {
            // A symbolic link may lead elsewhere now.
            *self = Self::watch(now);
        }
        changed
    }
}

fn state(file: &PathBuf) -> State {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_is_seen_without_notifications_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
        let now = Instant::now();
        let seen = vec![state(&file)];
        let mut files = ResolverFiles { files: vec![file.clone()], watch: None, seen, checked: now };
        std::fs::write(&file, "nameserver 192.0.2.100\n").unwrap();
        assert!(!files.changed(false, now + Duration::from_secs(59)), "no wake-up of its own");
        assert!(files.changed(false, now + CHECK_INTERVAL));
    }
}
