//! How a child process gives up what it does not need, before it reads a byte from the wire.
//!
//! The order matters: the jail and the groups need root, so they come first; the user id goes last and for
//! good (real, effective and saved). Going from uid 0 to another clears every capability set.

use std::{io, path::Path};

use nix::{
    errno::Errno,
    sys::resource::{Resource, setrlimit},
    unistd::{Gid, Uid, User, chdir, chroot, getegid, geteuid, getgid, getuid, setgroups},
};

/// The user that unprivileged children become: our own if the packager made it, else `nobody`.
const USERS: [&str; 3] = ["_pptpctl", "pptpctl", "nobody"];

/// What every platform calls the last resort.
const NOBODY: u32 = 65_534;

/// How much of the file system the child keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files<'a> {
    /// All that the unprivileged user may read: the resolver needs `/etc`. On OpenBSD only what it needs there.
    Keep,
    /// Nothing: the root becomes a directory made at this path and removed again at once.
    Nothing(&'a Path),
}

/// Gives up root for good, then proves it.
///
/// # Errors
/// What the kernel refused. The caller must end: it may still be root. Not being root in the first place is
/// no error; what can be given up without root is given up.
pub fn drop_all(files: Files<'_>) -> io::Result<()> {
    let root = geteuid().is_root();
    let (uid, gid) = if root { unprivileged_user() } else { (getuid(), getgid()) };
    if root {
        if let Files::Nothing(path) = files {
            enter_empty_jail(path)?;
        }
        setgroups(&[gid])?;
        empty_bounding_set();
        set_ids(uid, gid)?;
    }
    limit(Resource::RLIMIT_CORE, 0)?;
    // A resolver may have to read what NSS wants; the engine opens nothing ever again.
    if files != Files::Keep {
        limit(Resource::RLIMIT_FSIZE, 0)?;
        limit(Resource::RLIMIT_NPROC, 0)?;
    }
    platform_lock()?;
    if root && (getuid().is_root() || geteuid().is_root() || getegid().as_raw() == 0) {
        return Err(io::Error::other("still root after giving up root"));
    }
    if root && nix::unistd::setuid(Uid::from_raw(0)) != Err(Errno::EPERM) {
        return Err(io::Error::other("root could be had back"));
    }
    // Last: whoever asks for a user id after this breaks a promise, and is killed.
    promise_at_start(files)
}

/// What a child still needs that has its descriptors and its password yet to come.
fn promise_at_start(files: Files<'_>) -> io::Result<()> {
    #[cfg(target_os = "openbsd")]
    {
        use super::bsd::sandbox::{promise, show_only};
        match files {
            // getaddrinfo(3) reads these two, and may under "dns" alone. Without "rpath" nothing else can be opened but
            // what the kernel lets the C library have at any time (zone files, /dev/null): the veil is for that.
            Files::Keep => {
                show_only(&[c"/etc/resolv.conf", c"/etc/hosts"])?;
                promise(c"stdio dns")?;
            }
            // No unveil(2): there is nothing to hide in a root directory that has been removed, no descriptor of a
            // directory to leave it by ("recvfd" takes none), and nothing can be opened without "rpath". The engine
            // connects; the drop-in may have to open its log anew, and must find none instead of being killed.
            Files::Nothing(_) => promise(c"stdio recvfd inet unix")?,
        }
    }
    #[cfg(not(target_os = "openbsd"))]
    let _ = files;
    Ok(())
}

/// How a descriptor of [`confine`] is still used.
pub use self::confinement::{Use, confine};

mod confinement {
    use std::{io, os::fd::BorrowedFd};

    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    pub use crate::os::bsd::sandbox::Use;

    /// What a descriptor is still good for.
    #[cfg(target_os = "linux")]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Use {
        /// Reading, writing, waiting.
        Stream,
        /// The same for a socket whose peer is set, and its errors and addresses.
        Socket,
    }

    /// The second half of giving up, once nothing will be connected or received any more: these descriptors are
    /// all that is left.
    ///
    /// # Errors
    /// What the kernel refused. The caller must end.
    pub fn confine(descriptors: &[(BorrowedFd<'_>, Use)]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            // What is left of each descriptor is the same for all of them, there.
            let _ = descriptors;
            #[cfg(target_pointer_width = "64")]
            crate::os::filter::only_what_the_engine_needs()?;
        }
        #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
        {
            // Without "inet": its sockets have their peers, and it needs no other and no address.
            crate::os::bsd::sandbox::promise(c"stdio")?;
            crate::os::bsd::sandbox::confine(descriptors)?;
        }
        Ok(())
    }
}

/// What root lacks here of what a tunnel needs, by the names of capabilities(7); only on Linux can root lack anything.
#[must_use]
pub fn lacking() -> Vec<&'static str> {
    #[cfg(target_os = "linux")]
    let lacking = super::capabilities::lacking();
    #[cfg(not(target_os = "linux"))]
    let lacking = Vec::new();
    lacking
}

/// Ends this process when its parent dies, as far as the platform can promise it; everywhere the end of the
/// parent's socket says the same.
pub fn die_with_parent() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        tracing::debug!(%error, "no parent-death signal");
    }
}

fn unprivileged_user() -> (Uid, Gid) {
    USERS
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .filter(|user| !user.uid.is_root())
        .map_or((Uid::from_raw(NOBODY), Gid::from_raw(NOBODY)), |user| (user.uid, user.gid))
}

/// A root directory that no longer exists: every look-up in it fails, and nothing can be made in it.
fn enter_empty_jail(path: &Path) -> io::Result<()> {
    match nix::unistd::mkdir(path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IXUSR) {
        // One who had our number was killed right here; only root makes directories where this is.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let entered = chdir(path);
    std::fs::remove_dir(path)?;
    entered?;
    chroot(".")?;
    Ok(())
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = nix::sys::resource::rlim_t::try_from(most).map_err(io::Error::other)?;
    setrlimit(resource, most, most)?;
    Ok(())
}

#[cfg(not(target_os = "netbsd"))]
fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    Ok(())
}

/// NetBSD has no setres*id; for root, setgid(2) and setuid(2) set all three.
#[cfg(target_os = "netbsd")]
fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)?;
    Ok(())
}

/// Not even a set-uid program could get a capability back; no_new_privs says the same once more.
fn empty_bounding_set() {
    #[cfg(target_os = "linux")]
    for capability in 0..64 {
        super::capabilities::drop_from_bounding_set(capability);
    }
}

/// Keeps this process's memory out of core files, for it is about to hold a password: a crash must not write that down.
/// Programs that are run from here are as they would have been, on Linux.
///
/// # Errors
/// The kernel's.
pub fn no_core() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    #[cfg(not(target_os = "linux"))]
    {
        let (_, most) = nix::sys::resource::getrlimit(Resource::RLIMIT_CORE)?;
        setrlimit(Resource::RLIMIT_CORE, 0, most)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn platform_lock() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    // Nobody who shares our uid may look into our memory, where a password has been.
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape on every platform")]
fn platform_lock() -> io::Result<()> {
    Ok(())
}
