//! The client's namespaces (Linux).
//!
//! Nothing in them has a name on the host. The calling thread leaves the host's network and mount namespaces.
//! The server is the first process of a pid namespace, so the kernel kills all other processes in it
//! (including a tunnel's supervisor) when the server exits.

use std::io;

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Directories of the host that must not be touched; an empty file system is mounted over each.
const PRIVATE: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// Moves the calling thread, and processes that it starts later, into new namespaces.
///
/// # Errors
/// Returns the kernel's error and the operation; `EPERM` where a container or policy forbids it.
pub fn enter() -> Result<(), (&'static str, io::Error)> {
    let wrong = |what| move |errno: nix::errno::Errno| (what, io::Error::from(errno));
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    unshare(flags).map_err(wrong("make namespaces"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(wrong("make mounts private"))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for place in PRIVATE {
        mount(Some("tmpfs"), place, Some("tmpfs"), safe, Some("mode=0755,size=16m"))
            .map_err(wrong("mount an empty file system"))?;
    }
    Ok(())
}
