//! Network namespaces by the names that ip-netns(8) gives them (Linux).
//!
//! Owns entering and leaving a namespace, for the calling thread only. A netlink socket or tun device opened
//! inside stays in that namespace and can be used from outside.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

use super::namespace::Namespace;
use crate::platform::NETNS_DIR;

/// A named namespace, which exists at least as long as this value.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
    namespace: Namespace,
}

impl Netns {
    /// Opens the namespace.
    ///
    /// # Errors
    /// Returns ENOENT if no namespace has this name, EPERM if the calling thread may not enter it, EINVAL if
    /// it is not a network namespace.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = File::open(Self::path(name))?;
        let namespace = inside(&file, Namespace::current)?;
        Ok(Self { name: name.to_owned(), file, namespace })
    }

    /// Returns the path for a namespace name.
    #[must_use]
    pub fn path(name: &str) -> PathBuf {
        Path::new(NETNS_DIR).join(name)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the identity, which a later namespace of the same name does not share.
    #[must_use]
    pub const fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// Calls a function inside the namespace, then returns to the previous one.
    ///
    /// # Errors
    /// Returns EPERM if the calling thread may not enter it, EINVAL if it is not a network namespace.
    pub fn inside<T>(&self, action: impl FnOnce() -> T) -> io::Result<T> {
        inside(&self.file, action)
    }
}

/// Returns whether a file (a name, or a thread's `ns/net`) refers to this namespace; `true` if only the inode
/// number can be compared.
#[must_use]
pub fn is(path: &Path, namespace: Namespace) -> bool {
    // The inode number rules out most files without entering a namespace.
    let has_number = std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == namespace.inode);
    has_number
        && File::open(path)
            .and_then(|file| inside(&file, Namespace::current))
            .map_or(true, |found| found.same_as(namespace))
}

/// Calls a function inside a namespace, as [`Netns::inside`].
pub(super) fn inside<T>(namespace: &File, action: impl FnOnce() -> T) -> io::Result<T> {
    let home = ReturnGuard(File::open("/proc/thread-self/ns/net")?);
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let outcome = action();
    drop(home);
    Ok(outcome)
}

/// The namespace to return to on drop.
struct ReturnGuard(File);

impl Drop for ReturnGuard {
    fn drop(&mut self) {
        // A supervisor left in the wrong namespace would undo changes that are not its own.
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            std::process::abort();
        }
    }
}
