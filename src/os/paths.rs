//! The platform's directories for a running tunnel. Where profiles are is `profile`'s to say, where ledgers are
//! `plan`'s.

use std::path::{Path, PathBuf};

/// Where pid files live: `tunX.pid`, as the man page of pptp(8) says.
pub const RUN_DIR: &str = if cfg!(target_os = "linux") { "/run" } else { "/var/run" };

/// Where each profile's log is kept.
pub const LOG_DIR: &str = "/var/log/pptpctl";

/// The directory of control sockets and locks.
#[must_use]
pub fn control_dir() -> PathBuf {
    Path::new(RUN_DIR).join("pptpctl")
}

/// The control socket of a profile.
#[must_use]
pub fn control_socket(name: &str) -> PathBuf {
    control_dir().join(format!("{name}.sock"))
}

/// The lock that a profile's live supervisor holds.
#[must_use]
pub fn lock_file(name: &str) -> PathBuf {
    control_dir().join(format!("{name}.lock"))
}

/// The log of a profile.
#[must_use]
pub fn log_file(name: &str) -> PathBuf {
    Path::new(LOG_DIR).join(format!("{name}.log"))
}
