//! The files of a running supervisor in the control directory, put back when another program has removed them.
//!
//! Commands find a supervisor by them. The lock comes first: `up` and `recover` of this profile take it before
//! they touch the socket, and a supervisor that does not get it leaves both alone.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use super::{Control, bind};

impl Control {
    /// Returns whether lock and socket are where commands look for them.
    #[must_use]
    pub fn has_files(&self) -> bool {
        let Some(lock) = &self.lock else { return true };
        lock.is_in_place() && self.has_socket()
    }

    pub(super) fn has_socket(&self) -> bool {
        self.inode.is_some() && inode(&self.path) == self.inode
    }

    /// Creates the files that are missing. Clients that are connected stay. Returns `false`, and changes nothing,
    /// while another process holds the profile's lock: `up` and `recover` do so briefly.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn restore_files(&mut self) -> io::Result<bool> {
        let Some(lock) = &mut self.lock else { return Ok(true) };
        if !lock.restore()? {
            return Ok(false);
        }
        if !self.has_socket() {
            self.listener = bind(&self.path)?;
            self.inode = inode(&self.path);
        }
        Ok(true)
    }
}

/// Returns what identifies the file at a path, without following a symbolic link.
pub(super) fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|data| (data.dev(), data.ino()))
}
