//! Directories and file systems that this host lacks, or that cannot be written: a failure of the host, not of this
//! program. Names the path and the next step.

use std::{fs, io, path::Path};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};

use crate::{
    failure::{Failure, FailureKind, Phase},
    os::private_dir::{self, UnsafeDirectory},
    platform::{self, Platform},
};

/// Checks that /proc is mounted, where this program needs it: to start its children, and to distinguish a
/// running supervisor from a killed one.
///
/// # Errors
/// Returns what to mount.
pub fn need_proc() -> Result<(), Failure> {
    if !cfg!(target_os = "linux") || Path::new("/proc/self/exe").exists() {
        return Ok(());
    }
    let detail = "/proc is not mounted, or hides this process";
    Err(Failure::new(Phase::Resolve, FailureKind::HostFiles, detail)
        .hint("`mount -t proc proc /proc`; in a chroot or container, its creator has to mount it"))
}

/// Returns the failure of `up` if other users can change the directory of locks or ledgers, or if the lock or the ledger
/// of this profile is on a read-only file system, or would be. Writes nothing.
#[must_use]
pub fn unusable(name: &str) -> Option<Failure> {
    let state = Path::new(Platform::host().state_dir());
    // Another user sees other owners than root does.
    let is_root = nix::unistd::geteuid().is_root();
    for (dir, mode) in [(platform::control_dir().as_path(), 0o755), (state, 0o700)] {
        let found = fs::symlink_metadata(dir).ok().filter(|_| is_root);
        if let Some(Err(error)) = found.map(|found| private_dir::check(dir, &found, mode)) {
            return failure(Phase::Resolve, dir, &error);
        }
    }
    let ledger = state.join(format!("{name}.ledger"));
    let found = [platform::lock_file(name), ledger].into_iter().find(|path| is_on_read_only(path))?;
    failure(Phase::Resolve, &found, &Errno::EROFS.into())
}

/// Returns whether the directory of this file, or the nearest one above it that exists, cannot be written because its
/// file system is read-only.
fn is_on_read_only(path: &Path) -> bool {
    let dir = path.ancestors().skip(1).find(|dir| dir.exists());
    dir.is_some_and(|dir| access(dir, AccessFlags::W_OK) == Err(Errno::EROFS))
}

/// Returns the failure to use this file in the control directory or the state directory; `None` if the error is not
/// about the host's file system.
#[must_use]
pub fn failure(phase: Phase, path: &Path, error: &io::Error) -> Option<Failure> {
    if let Some(found) = UnsafeDirectory::in_error(error) {
        let failure = Failure::new(phase, FailureKind::UnsafeFiles, found.state());
        return Some(
            failure.hint(format!("look who has changed it, and what is in it; then `{}`", found.command())),
        );
    }
    let hint = remedy(path, error.kind())?;
    let text = error.to_string();
    let name = path.display().to_string();
    // Some errors name their file already.
    let detail = if text.contains(&name) { text } else { format!("{name}: {text}") };
    Some(Failure::new(phase, FailureKind::HostFiles, detail).hint(hint))
}

/// Returns the failure to create a profile's control socket.
#[must_use]
pub fn socket_failure(name: &str, error: &io::Error) -> Failure {
    failure(Phase::Resolve, &platform::control_socket(name), error)
        .unwrap_or_else(|| Failure::new(Phase::Resolve, FailureKind::Internal, error.to_string()))
}

/// Returns the next step for this kind of error.
fn remedy(path: &Path, kind: io::ErrorKind) -> Option<String> {
    let run = Platform::host().run_dir();
    let in_run = path.starts_with(run);
    let state = Platform::host().state_dir();
    let dir = if in_run { platform::control_dir() } else { Path::new(state).to_owned() };
    let (dir, tmpfs) = (
        dir.display(),
        if cfg!(target_os = "linux") { "mount -t tmpfs tmpfs" } else { "mount_mfs or tmpfs on" },
    );
    Some(match kind {
        io::ErrorKind::ReadOnlyFilesystem if in_run => format!(
            "lock and control socket need a writable {run}, usually a tmpfs: `{tmpfs} {run}`; in a service: ReadWritePaths={run}"
        ),
        io::ErrorKind::ReadOnlyFilesystem => format!(
            "the record of changes to this host needs a writable {dir}: remount its file system, or `{tmpfs} {dir}`, \
             which must survive a crash of this program, but no restart of the host"
        ),
        io::ErrorKind::StorageFull => {
            format!("the file system is full, in bytes or in inodes: `df {dir}`, `df -i {dir}`")
        }
        io::ErrorKind::QuotaExceeded => {
            format!("root's disk quota on the file system of {dir} is used up: `quota`")
        }
        io::ErrorKind::NotFound => {
            format!("the directory above {dir} is missing: create it, or mount its file system")
        }
        io::ErrorKind::NotADirectory => format!("{dir}, or what is above it, is no directory: move it away"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, errno: i32) -> Option<(String, String)> {
        let error = io::Error::from_raw_os_error(errno);
        let failure = failure(Phase::Resolve, Path::new(path), &error)?;
        assert_eq!(failure.kind, FailureKind::HostFiles);
        Some((failure.detail, failure.hints.join("\n")))
    }

    #[test]
    fn path_and_remedy_are_named() {
        let run = Platform::host().run_dir();
        let lock = format!("{run}/pptpctl/vpn.lock");
        let ledger = format!("{}/vpn.ledger", Platform::host().state_dir());
        for (path, errno, word) in [
            (&lock, libc::EROFS, "lock and control socket need a writable"),
            (&ledger, libc::EROFS, "the record of changes to this host"),
            (&lock, libc::ENOSPC, "`df -i"),
            (&ledger, libc::EDQUOT, "quota"),
            (&ledger, libc::ENOENT, "is missing"),
            (&lock, libc::ENOTDIR, "is no directory"),
        ] {
            let (detail, hint) = told(path, errno).unwrap();
            assert!(detail.starts_with(&format!("{path}: ")), "{detail}");
            assert!(hint.contains(word), "{hint}");
        }
        assert_eq!(told(&lock, libc::EINVAL), None);
        let named = io::Error::new(io::ErrorKind::StorageFull, format!("{lock}: full"));
        assert_eq!(
            failure(Phase::Resolve, Path::new(&lock), &named).unwrap().detail,
            format!("{lock}: full")
        );
    }

    #[test]
    fn proc_is_mounted_here() {
        assert!(need_proc().is_ok());
    }
}
