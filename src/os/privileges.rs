//! Drops the privileges of a child process before it reads a byte from the network.
//!
//! The order matters: the jail and the groups need root, so they come first; the user ID changes last and
//! permanently (real, effective and saved), which clears the permitted, effective and ambient capabilities.

use std::{io, path::Path};

use nix::{
    errno::Errno,
    sys::resource::{Resource, setrlimit},
    unistd::{Gid, Uid, User, chdir, chroot, getegid, geteuid, getgid, getuid, setgroups},
};

/// Users for unprivileged children, in order of preference: ours if the packager created it, else `nobody`.
const USERS: [&str; 3] = ["_pptpctl", "pptpctl", "nobody"];

/// User and group ID if none of `USERS` exists.
const NOBODY: u32 = 65_534;

/// The part of the file system that the child keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files<'a> {
    /// Everything that the unprivileged user may read: the resolver needs `/etc`. On OpenBSD only the files
    /// that it needs there.
    Keep,
    /// Nothing: the root becomes a directory that is created at this path and removed at once.
    Nothing(&'a Path),
}

/// Drops root permanently, then verifies it.
///
/// # Errors
/// Returns the error of the step that failed. The caller must exit, because it may still be root. Not being
/// root is no error: everything that can be dropped without root is dropped.
pub fn drop_all(files: Files<'_>) -> io::Result<()> {
    let root = geteuid().is_root();
    let (uid, gid) = if root { unprivileged_user() } else { (getuid(), getgid()) };
    if root {
        if let Files::Nothing(path) = files {
            enter_empty_jail(path)?;
        }
        setgroups(&[gid]).map_err(|errno| unmapped(errno.into(), uid))?;
        empty_bounding_set();
        set_ids(uid, gid).map_err(|error| unmapped(error, uid))?;
    }
    set_limit(Resource::RLIMIT_CORE, 0)?;
    // Not for a resolver, whose NSS modules may need these; the engine opens nothing any more.
    if files != Files::Keep {
        set_limit(Resource::RLIMIT_FSIZE, 0)?;
        set_limit(Resource::RLIMIT_NPROC, 0)?;
    }
    platform_lock()?;
    if root && (getuid().is_root() || geteuid().is_root() || getegid().as_raw() == 0) {
        return Err(io::Error::other("still root after giving up root"));
    }
    if root && nix::unistd::setuid(Uid::from_raw(0)) != Err(Errno::EPERM) {
        return Err(io::Error::other("root could be had back"));
    }
    // Last, because setuid(2) as above breaks this promise and gets the process killed.
    initial_pledge(files)
}

/// Names the cause of EINVAL: a user namespace without this user, as `unshare --map-root-user` makes one.
fn unmapped(error: io::Error, uid: Uid) -> io::Error {
    if error.raw_os_error() != Some(Errno::EINVAL as i32) {
        return error;
    }
    io::Error::other(format!(
        "this user namespace has no user and group {uid} to become: map a range of users, as rootless containers do \
         with /etc/subuid and /etc/subgid"
    ))
}

/// Restricts a child that has yet to receive its descriptors and password (OpenBSD).
fn initial_pledge(files: Files<'_>) -> io::Result<()> {
    #[cfg(target_os = "openbsd")]
    {
        use super::bsd::sandbox::{pledge, unveil_only};
        match files {
            // getaddrinfo(3) reads these two files, which "dns" permits. Without "rpath" the only others are
            // those that the kernel always permits the C library (zone files, /dev/null); unveil(2) hides
            // them.
            Files::Keep => {
                unveil_only(&[c"/etc/resolv.conf", c"/etc/hosts"])?;
                pledge(c"stdio dns")?;
            }
            // No unveil(2): the root directory has been removed, there is no directory descriptor to leave it
            // by ("recvfd" accepts none), and nothing can be opened without "rpath". The engine must connect
            // ("inet"); the drop-in may reconnect to syslog ("unix"), which must fail, not kill it.
            Files::Nothing(_) => pledge(c"stdio recvfd inet unix")?,
        }
    }
    #[cfg(not(target_os = "openbsd"))]
    let _ = files;
    Ok(())
}

/// Why there is no filter of system calls.
#[cfg(all(target_os = "linux", not(target_pointer_width = "64")))]
const NO_FILTER: &str = "there is none for 32-bit processors";

/// Restricts a process of `pptp` that has all its descriptors to a list of system calls (Linux). Returns why there is no
/// filter, if a system that should have one lacks it.
///
/// # Errors
/// Returns the kernel's error. The caller must exit.
pub fn confine_drop_in() -> io::Result<Option<String>> {
    #[cfg(target_os = "linux")]
    reach_nothing()?;
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    return super::filter::restrict_to_drop_in_calls();
    #[cfg(all(target_os = "linux", not(target_pointer_width = "64")))]
    return Ok(Some(NO_FILTER.to_owned()));
    #[cfg(not(target_os = "linux"))]
    Ok(None)
}

/// Takes the file system, connections by TCP, and signals to other processes away from a process that needs none of them,
/// if the kernel has Landlock. On processors with a filter of system calls that refuses all of this, too.
#[cfg(target_os = "linux")]
fn reach_nothing() -> io::Result<()> {
    use super::landlock::{Scope, restrict};
    restrict(&[], Scope::All { abstract_sockets: false }).map(drop)
}

/// Refuses system calls that a process that looks up names does not need, and changes of files (Linux), as far as the kernel
/// can.
///
/// # Errors
/// Returns the kernel's error.
pub fn confine_resolver() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    super::landlock::restrict(&[], super::landlock::Scope::Changes)?;
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    super::filter::refuse_calls(super::filter::Restricted::Resolver)?;
    Ok(())
}

/// Refuses system calls that a supervisor on Linux does not need. Returns why there is no filter, if the kernel or the
/// processor has none.
///
/// # Errors
/// Returns the kernel's error.
#[cfg(target_os = "linux")]
pub fn confine_supervisor(enters_namespace: bool, kernel_path: bool) -> io::Result<Option<String>> {
    #[cfg(target_pointer_width = "64")]
    return super::filter::refuse_calls(super::filter::Restricted::Supervisor {
        enters_namespace,
        kernel_path,
    });
    #[cfg(not(target_pointer_width = "64"))]
    {
        let _ = (enters_namespace, kernel_path);
        Ok(Some(NO_FILTER.to_owned()))
    }
}

/// Restricts the process to given descriptors and uses.
pub use self::confinement::{Use, confine};

mod confinement {
    use std::{io, os::fd::BorrowedFd};

    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    pub use crate::os::bsd::sandbox::Use;

    /// The permitted use of a descriptor.
    #[cfg(target_os = "linux")]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Use {
        /// Reading, writing and polling.
        Stream,
        /// The same for a connected socket, and reading its errors and addresses.
        Socket,
    }

    /// Drops the remaining privileges once all sockets are connected and all descriptors received: the
    /// process keeps only the use of these descriptors, and on Linux these requests of ioctl(2). Returns why there is no filter of system calls, if a system that
    /// should have one lacks it.
    ///
    /// # Errors
    /// Returns the kernel's error. The caller must exit.
    pub fn confine(descriptors: &[(BorrowedFd<'_>, Use)], requests: &[u32]) -> io::Result<Option<String>> {
        #[cfg(target_os = "linux")]
        {
            // The filter permits the same calls for every descriptor.
            let _ = descriptors;
            super::reach_nothing()?;
            #[cfg(target_pointer_width = "64")]
            return crate::os::filter::restrict_to_engine_calls(requests);
            #[cfg(not(target_pointer_width = "64"))]
            {
                let _ = requests;
                Ok(Some(super::NO_FILTER.to_owned()))
            }
        }
        #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
        {
            // Of Linux's PPP driver.
            let _ = requests;
            // Without "inet": its sockets are connected, and it needs no other socket or address.
            crate::os::bsd::sandbox::pledge(c"stdio")?;
            crate::os::bsd::sandbox::confine(descriptors)?;
            Ok(None)
        }
    }
}

/// Returns the capabilities(7) that a tunnel needs and this process lacks, by name; empty except on Linux.
#[must_use]
pub fn missing_capabilities() -> Vec<&'static str> {
    #[cfg(target_os = "linux")]
    let lacking = super::capabilities::missing();
    #[cfg(not(target_os = "linux"))]
    let lacking = Vec::new();
    lacking
}

/// Makes the kernel kill this process when its parent ends, where supported (Linux). On every platform the
/// process also sees the parent's socket close.
pub fn kill_on_parent_exit() {
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

/// Enters a root directory that no longer exists: every lookup in it fails, and nothing can be created in it.
fn enter_empty_jail(path: &Path) -> io::Result<()> {
    let (above, name) = path.parent().zip(path.file_name()).ok_or(Errno::EINVAL)?;
    // Closed before the caller goes on: a descriptor of a directory would lead out of the jail.
    let parent = std::fs::File::open(above)?;
    match nix::unistd::mkdir(path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IXUSR) {
        // Left by an earlier process with our PID that was killed here; only root can create it.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // The directory is removed last, and by its parent: OpenBSD cannot look up "." in a removed directory.
    let entered = chdir(path).and_then(|()| chroot("."));
    if cfg!(target_os = "freebsd") && entered == Err(Errno::EPERM) {
        // In a jail the kernel refuses chroot(2) to a process with an open directory. FreeBSD can look up "." in a
        // removed one.
        drop(parent);
        std::fs::remove_dir(path)?;
        return Ok(chroot(".")?);
    }
    nix::unistd::unlinkat(&parent, name, nix::unistd::UnlinkatFlags::RemoveDir)?;
    Ok(entered?)
}

fn set_limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = nix::sys::resource::rlim_t::try_from(most).map_err(io::Error::other)?;
    setrlimit(resource, most, most)?;
    Ok(())
}

#[cfg(not(target_os = "netbsd"))]
pub(super) fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    Ok(())
}

/// Sets all IDs. NetBSD has no setres*id; for root, setgid(2) and setuid(2) set all three.
#[cfg(target_os = "netbsd")]
pub(super) fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)?;
    Ok(())
}

/// Empties the bounding set: not even a set-uid program regains a capability. no_new_privs ensures it again.
fn empty_bounding_set() {
    #[cfg(target_os = "linux")]
    for capability in 0..64 {
        super::capabilities::drop_from_bounding_set(capability);
    }
}

/// Disables core files of this process, because it is about to hold a password. On Linux, programs that it
/// runs are not affected.
///
/// # Errors
/// Returns the kernel's error.
pub fn disable_core_files() -> io::Result<()> {
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
    // Processes with our uid must not read our memory, which has held a password.
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape on every platform")]
fn platform_lock() -> io::Result<()> {
    Ok(())
}
