//! Detects that this program was started with more rights than its caller has.

use nix::unistd::{getegid, geteuid, getgid, getuid};

/// Returns whether a set-user-ID or set-group-ID bit took effect: the caller controls environment, descriptors, limits
/// and arguments of this process, and is not the user that it acts as.
#[must_use]
pub fn is_setuid() -> bool {
    getuid() != geteuid() || getgid() != getegid()
}
