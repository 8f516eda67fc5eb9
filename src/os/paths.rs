//! The platform's directories for a running tunnel. `profile` has those of profiles, `plan` those of ledgers.

use std::path::{Path, PathBuf};

/// Directory of pid files: `tunX.pid`, as in the man page of pptp(8).
pub const RUN_DIR: &str = if cfg!(target_os = "linux") { "/run" } else { "/var/run" };

/// Directory of the profiles' logs.
pub const LOG_DIR: &str = "/var/log/pptpctl";

/// Returns the directory of control sockets and locks.
#[must_use]
pub fn control_dir() -> PathBuf {
    Path::new(RUN_DIR).join("pptpctl")
}

/// Returns the path of a profile's control socket.
#[must_use]
pub fn control_socket(name: &str) -> PathBuf {
    control_dir().join(format!("{name}.sock"))
}

/// Returns the path of the lock that a profile's running supervisor holds.
#[must_use]
pub fn lock_file(name: &str) -> PathBuf {
    control_dir().join(format!("{name}.lock"))
}

/// Returns the path of a profile's log.
#[must_use]
pub fn log_file(name: &str) -> PathBuf {
    Path::new(LOG_DIR).join(format!("{name}.log"))
}
