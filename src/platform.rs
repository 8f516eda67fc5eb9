//! The operating systems, and the directories that pptpctl uses on each of them.
//!
//! Every module may import this file; it imports none.

use std::path::{Path, PathBuf};

/// Directory of root's profiles, on every platform.
pub const CONFIG_DIR: &str = "/etc/pptpctl";

/// Directory of the profiles' logs, on every platform.
const LOG_DIR: &str = "/var/log/pptpctl";

/// Directory of the call managers' sockets, as in the man page of pptp(8).
pub const CALL_MANAGER_DIR: &str = "/var/run/pptp";

/// Directory of named network namespaces (ip-netns(8)).
#[cfg(target_os = "linux")]
pub const NETNS_DIR: &str = "/run/netns";

/// The directories in which programs are looked for, as in `$PATH`. The caller's `$PATH` is not used.
pub const PROGRAM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";

/// The operating systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Linux.
    Linux,
    /// FreeBSD.
    FreeBsd,
    /// OpenBSD.
    OpenBsd,
    /// NetBSD.
    NetBsd,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 4] = [Self::Linux, Self::FreeBsd, Self::OpenBsd, Self::NetBsd];

    /// Returns the platform that this program was built for.
    #[must_use]
    pub const fn host() -> Self {
        if cfg!(target_os = "freebsd") {
            Self::FreeBsd
        } else if cfg!(target_os = "openbsd") {
            Self::OpenBsd
        } else if cfg!(target_os = "netbsd") {
            Self::NetBsd
        } else {
            Self::Linux
        }
    }

    /// Returns the directory of pid files.
    #[must_use]
    pub const fn run_dir(self) -> &'static str {
        match self {
            Self::Linux => "/run",
            Self::FreeBsd | Self::OpenBsd | Self::NetBsd => "/var/run",
        }
    }

    /// Returns the directory of ledgers, which must survive a crash but not a reinstallation.
    #[must_use]
    pub const fn state_dir(self) -> &'static str {
        match self {
            Self::Linux => "/var/lib/pptpctl",
            Self::FreeBsd | Self::OpenBsd | Self::NetBsd => "/var/db/pptpctl",
        }
    }

    /// Returns the platform's name as `--platform` accepts it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::FreeBsd => "freebsd",
            Self::OpenBsd => "openbsd",
            Self::NetBsd => "netbsd",
        }
    }
}

/// Returns the directory of control sockets and locks.
#[must_use]
pub fn control_dir() -> PathBuf {
    Path::new(Platform::host().run_dir()).join("pptpctl")
}

/// Returns the path of a profile's control socket.
#[must_use]
pub fn control_socket(name: &str) -> PathBuf {
    control_dir().join(format!("{name}.sock"))
}

/// Returns the path of the socket on which a profile's `control.group` reads the status.
#[must_use]
pub fn status_socket(name: &str) -> PathBuf {
    control_dir().join(format!("{name}.status"))
}

/// Returns the path of the lock that a profile's running supervisor holds.
#[must_use]
pub fn lock_file(name: &str) -> PathBuf {
    control_dir().join(format!("{name}.lock"))
}

/// Returns the path of the record of a profile's undecided log-ins.
#[must_use]
pub fn logins_file(name: &str) -> PathBuf {
    Path::new(Platform::host().state_dir()).join(format!("{name}.logins"))
}

/// Returns the path of a profile's log.
#[must_use]
pub fn log_file(name: &str) -> PathBuf {
    Path::new(LOG_DIR).join(format!("{name}.log"))
}
