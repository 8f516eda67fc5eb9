//! Hearing that someone has written a file: inotify(7) on Linux, nothing elsewhere.
//!
//! The directory is watched, because most programs replace a file instead of writing it, and the file itself,
//! because a container's may be a mount of its own. Nothing wakes us between two changes.

use std::{ffi::OsString, io, os::fd::BorrowedFd, path::PathBuf};

/// A watch on some files.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<PathBuf>,
    #[cfg(target_os = "linux")]
    inotify: nix::sys::inotify::Inotify,
}

impl FileWatch {
    /// Watches these files, which need not exist.
    ///
    /// # Errors
    /// When the kernel gives no watch; [`io::ErrorKind::Unsupported`] where there is none.
    pub fn new(files: Vec<PathBuf>) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let written = AddWatchFlags::IN_CLOSE_WRITE;
            for file in &files {
                let directory = file.parent().unwrap_or_else(|| std::path::Path::new("/"));
                inotify
                    .add_watch(directory, written | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE)?;
                if file.exists() {
                    inotify.add_watch(file, written)?;
                }
            }
            Ok(Self { files, inotify })
        }
        #[cfg(not(target_os = "linux"))]
        {
            drop(files);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// The files that are watched.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Readable when something has happened in one of the directories.
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

    /// Takes what has happened, without waiting: whether it was one of the files.
    pub fn take(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            let mut ours = false;
            // Bounded; what is left makes the descriptor readable again.
            for _ in 0..16 {
                let Ok(events) = self.inotify.read_events() else { break };
                // An event without a name is of a file that is watched itself, or of a queue that overflowed.
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

    /// By a process of its own, closed when this returns: a file that is open for writing here is passed on to what other
    /// tests start just then, and that it was written is told when the last of them has closed it.
    fn write(path: &Path, text: &str) -> bool {
        let words = ["-c", "printf %s \"$1\" >\"$2\"", "sh", text];
        Command::new("sh").args(words).arg(path).status().is_ok_and(|status| status.success())
    }

    #[test]
    fn written_replaced_removed_and_nothing_else() {
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
        // The new one, which was never watched itself.
        assert!(write(&file, "d"));
        assert!(watch.take());
        fs::remove_file(&file).unwrap();
        assert!(watch.take() && !watch.take());
    }
}
