//! Notification of changes to files: inotify(7) on Linux, unsupported elsewhere.
//!
//! Both the directory and the file are watched: most programs replace a file instead of writing to it, and in
//! a container the file may be a separate mount. There is no polling.

use std::{ffi::OsString, io, os::fd::BorrowedFd, path::PathBuf};

/// A watch on a set of files.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<PathBuf>,
    #[cfg(target_os = "linux")]
    inotify: nix::sys::inotify::Inotify,
}

/// The events of the files that are watched for.
#[derive(Clone, Copy, Debug)]
enum Events {
    Changes,
    Removal,
}

impl FileWatch {
    /// Watches these files, which need not exist; their directories must.
    ///
    /// # Errors
    /// Returns the kernel's error if a watch fails; [`io::ErrorKind::Unsupported`] without inotify.
    pub fn new(files: Vec<PathBuf>) -> io::Result<Self> {
        Self::watch(files, Events::Changes)
    }

    /// Watches these files for removal and renaming, and their directories for renaming: what happens to other files of
    /// the directories wakes nobody. Those that do not exist are not watched.
    ///
    /// # Errors
    /// As [`FileWatch::new`].
    pub fn of_removal(files: Vec<PathBuf>) -> io::Result<Self> {
        Self::watch(files, Events::Removal)
    }

    #[cfg(target_os = "linux")]
    fn watch(files: Vec<PathBuf>, events: Events) -> io::Result<Self> {
        use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
        let written = AddWatchFlags::IN_CLOSE_WRITE;
        let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_MOVE_SELF;
        let moved = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        let (of_directory, of_file) = match events {
            Events::Changes => (written | gone | AddWatchFlags::IN_MOVED_TO, written),
            // The number of names is an attribute; a file that is open is deleted only when it is closed. Of a directory the
            // attributes of its files are reported too.
            Events::Removal => (moved, moved | AddWatchFlags::IN_ATTRIB),
        };
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        for file in &files {
            inotify.add_watch(file.parent().unwrap_or_else(|| std::path::Path::new("/")), of_directory)?;
            match inotify.add_watch(file, of_file) {
                Err(nix::errno::Errno::ENOENT) => {}
                outcome => drop(outcome?),
            }
        }
        Ok(Self { files, inotify })
    }

    #[cfg(not(target_os = "linux"))]
    fn watch(files: Vec<PathBuf>, _events: Events) -> io::Result<Self> {
        drop(files);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the watched files.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns a descriptor that is readable after an event in one of the directories.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        #[cfg(target_os = "linux")]
        {
            Some(std::os::fd::AsFd::as_fd(&self.inotify))
        }
        #[cfg(not(target_os = "linux"))]
        {
            None
        }
    }

    /// Reads the queued events without blocking; returns whether one may concern a watched file.
    pub fn take(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            let mut ours = false;
            // Bounded; the descriptor stays readable while events are left.
            for _ in 0..16 {
                let Ok(events) = self.inotify.read_events() else { break };
                // An event without a name is from a watched file itself or reports a queue overflow.
                ours |= events.iter().any(|event| event.name.as_ref().is_none_or(|name| self.is_ours(name)));
            }
            ours
        }
        #[cfg(not(target_os = "linux"))]
        {
            false
        }
    }

    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing is heard there"))]
    fn is_ours(&self, name: &OsString) -> bool {
        self.files.iter().any(|file| file.file_name() == Some(name))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, path::Path, process::Command};

    use super::*;

    /// Writes in a child process: another test's child could inherit a descriptor of this process, and
    /// IN_CLOSE_WRITE comes only when the last copy is closed.
    fn write(path: &Path, text: &str) -> bool {
        let words = ["-c", "printf %s \"$1\" >\"$2\"", "sh", text];
        Command::new("sh").args(words).arg(path).status().is_ok_and(|status| status.success())
    }

    #[test]
    fn reports_write_replace_and_remove_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        assert!(write(&file, "a"));
        let watch = FileWatch::new(vec![file.clone()]).unwrap();
        assert!(!watch.take());
        assert!(write(&dir.path().join("other"), "b"));
        assert!(!watch.take());
        assert!(write(&file, "c"));
        assert!(watch.take() && !watch.take());
        fs::rename(dir.path().join("other"), &file).unwrap();
        assert!(watch.take());
        // The replacement has no watch; the directory's reports this.
        assert!(write(&file, "d"));
        assert!(watch.take());
        fs::remove_file(&file).unwrap();
        assert!(watch.take() && !watch.take());
    }

    #[test]
    fn reports_removal_of_open_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("control");
        fs::create_dir(&inner).unwrap();
        let paths = ["vpn.sock", "vpn.lock", "vpn.status"].map(|name| inner.join(name));
        let _socket = std::os::unix::net::UnixListener::bind(&paths[0]).unwrap();
        let _lock = fs::File::create(&paths[1]).unwrap();
        let watch = || FileWatch::of_removal(paths.to_vec()).unwrap();
        let others = watch();
        for name in ["other.sock", "other.lock"] {
            assert!(write(&inner.join(name), "1"));
            fs::set_permissions(inner.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o666))
                .unwrap();
            fs::remove_file(inner.join(name)).unwrap();
        }
        let woken = crate::os::wait::readable(others.fd().unwrap(), std::time::Instant::now()).unwrap();
        assert!(!woken, "files of another tunnel");
        for path in &paths[..2] {
            let removed = watch();
            fs::remove_file(path).unwrap();
            assert!(removed.take(), "{}", path.display());
        }
        let renamed = watch();
        fs::rename(&inner, dir.path().join("elsewhere")).unwrap();
        assert!(renamed.take());
    }
}
