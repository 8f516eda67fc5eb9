//! The files of a running supervisor in the control directory, put back when another program has removed them.
//!
//! Commands find a supervisor by them. The lock comes first: `up` and `recover` of this profile take it before
//! they touch the socket, and a supervisor that does not get it leaves both alone.

use std::io;

use super::{Control, Readers, bind};
use crate::supervisor::ipc::files::inode;

impl Control {
    /// Returns whether lock and sockets are where commands look for them.
    #[must_use]
    pub fn has_files(&self) -> bool {
        let Some(lock) = &self.lock else { return true };
        lock.is_in_place() && self.has_socket() && self.readers.as_ref().is_none_or(Readers::has_file)
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
        self.readers.as_mut().map_or(Ok(()), Readers::restore_file)?;
        Ok(true)
    }
}
