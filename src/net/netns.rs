//! Another network namespace of this host, by the name that ip-netns(8) gave it (Linux).
//!
//! Owns going there and coming back: what is opened there stays there, so a netlink socket or a tun device of that
//! namespace can be used from anywhere afterwards. Only the calling thread goes.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

/// Where ip-netns(8) keeps the names.
const NAMES: &str = "/run/netns";

/// A named namespace, kept alive while this is.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
    inode: u64,
}

impl Netns {
    /// Takes hold of it.
    ///
    /// # Errors
    /// ENOENT when there is none of this name.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = File::open(Self::path(name))?;
        let inode = file.metadata()?.ino();
        Ok(Self { name: name.to_owned(), file, inode })
    }

    /// Where a namespace of this name would be.
    #[must_use]
    pub fn path(name: &str) -> PathBuf {
        Path::new(NAMES).join(name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number for it: a later namespace of the same name has another.
    #[must_use]
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// Does something there, and comes back.
    ///
    /// # Errors
    /// When the calling thread may not go (EPERM), or the name is no network namespace (EINVAL).
    pub fn inside<T>(&self, deed: impl FnOnce() -> T) -> io::Result<T> {
        let home = Home(File::open("/proc/thread-self/ns/net")?);
        setns(&self.file, CloneFlags::CLONE_NEWNET)?;
        let outcome = deed();
        drop(home);
        Ok(outcome)
    }
}

/// The namespace to come back to.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        // A supervisor that went on in the wrong namespace would undo things that are not its own.
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            std::process::abort();
        }
    }
}
