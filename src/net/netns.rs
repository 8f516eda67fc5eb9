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

use crate::os::namespace::Namespace;

/// Where ip-netns(8) keeps the names.
const NAMES: &str = "/run/netns";

/// A named namespace, kept alive while this is.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
    namespace: Namespace,
}

impl Netns {
    /// Takes hold of it.
    ///
    /// # Errors
    /// ENOENT when there is none of this name; EPERM when the calling thread may not go there, EINVAL when the name is
    /// no network namespace.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = File::open(Self::path(name))?;
        let namespace = inside(&file, Namespace::here)?;
        Ok(Self { name: name.to_owned(), file, namespace })
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

    /// Which one it is: a later namespace of the same name is another.
    #[must_use]
    pub const fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// Does something there, and comes back.
    ///
    /// # Errors
    /// When the calling thread may not go (EPERM), or the name is no network namespace (EINVAL).
    pub fn inside<T>(&self, deed: impl FnOnce() -> T) -> io::Result<T> {
        inside(&self.file, deed)
    }
}

/// Whether this file, a name or a thread's `ns/net`, stands for that namespace.
#[must_use]
pub fn is(path: &Path, namespace: Namespace) -> bool {
    // Of all that there are, few have its number: the others are not worth a visit.
    let has_number = std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == namespace.inode);
    has_number
        && File::open(path)
            .and_then(|file| inside(&file, Namespace::here))
            .map_or(true, |found| found.is(namespace))
}

fn inside<T>(namespace: &File, deed: impl FnOnce() -> T) -> io::Result<T> {
    let home = Home(File::open("/proc/thread-self/ns/net")?);
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let outcome = deed();
    drop(home);
    Ok(outcome)
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
