//! resolvd(8) and unwind(8) of OpenBSD, which use the proposals that route(8) sends for a device.

use std::{fs::File, io::ErrorKind, os::unix::net::UnixStream, path::Path};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::program::run_all;
use crate::{
    apply::{
        Cause, Host,
        error::known,
        ledger::{Device, PriorState},
        routes::device_still_exists,
    },
    plan::{DnsStep, Resolver},
    platform::Platform,
};

/// File that resolvd(8) holds locked while it runs.
const RESOLVD_LOCK: &str = "/dev/resolvd.lock";
/// Socket of unwind(8); it accepts connections only while the daemon runs.
const UNWIND_SOCKET: &str = "/dev/unwind.sock";

/// Returns whether a daemon runs that acts on proposals.
fn proposals_have_a_reader() -> bool {
    is_locked(Path::new(RESOLVD_LOCK)) || UnixStream::connect(UNWIND_SOCKET).is_ok()
}

/// Returns whether another process holds a flock(2) on the file, or may hold one that this process may not see.
fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => {
            matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
        }
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}

pub(super) fn observe(resolver: Resolver) -> Result<PriorState, Cause> {
    match Platform::host() {
        Platform::OpenBsd if proposals_have_a_reader() => Ok(PriorState::Nothing),
        Platform::OpenBsd => Err(Cause::Taken(format!(
            "{resolver} does not run, so nothing would act on proposed resolvers: `rcctl start {resolver}`, or \
             dns.backend = \"file\""
        ))),
        _ => Err(Cause::Taken(format!(
            "{resolver} exists on OpenBSD only; dns.backend = \"auto\" selects what this host has"
        ))),
    }
}

/// Withdraws the proposals, unless the device is gone: both daemons then drop them by themselves.
pub(super) fn undo(host: &mut Host, step: &DnsStep, device: Option<&Device>) -> Result<(), Cause> {
    if device_still_exists(host, device, known(&step.tun)?)? {
        run_all(host, step, &step.undo_programs())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_is_recognized_by_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolvd.lock");
        assert!(!is_locked(&path), "no such file");
        let file = File::create(&path).unwrap();
        assert!(!is_locked(&path), "left by a daemon that has ended");
        let held = Flock::lock(file, FlockArg::LockExclusive).unwrap();
        assert!(is_locked(&path));
        drop(held);
        assert!(!is_locked(&path));
    }
}
