//! The capabilities(7) of this process, and the requests about them that nix lacks.
#![expect(unsafe_code, reason = "nix has neither PR_CAPBSET_DROP nor capset(2)")]

use std::io;

/// A capability, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(u32);

impl Capability {
    /// Give a file another owner or group.
    pub const CHOWN: Self = Self(0);
    /// Write files of other users.
    pub const DAC_OVERRIDE: Self = Self(1);
    /// Change the mode of other users' files.
    pub const FOWNER: Self = Self(3);
    /// Change groups.
    pub const SETGID: Self = Self(6);
    /// Change the user.
    pub const SETUID: Self = Self(7);
    /// Configure devices, addresses, routes and rules.
    pub const NET_ADMIN: Self = Self(12);
    /// Open raw sockets and packet sockets.
    pub const NET_RAW: Self = Self(13);
    /// Change the root directory.
    pub const SYS_CHROOT: Self = Self(18);
    /// Enter a network namespace, among much else.
    pub const SYS_ADMIN: Self = Self(21);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::CHOWN, "CAP_CHOWN"),
        (Self::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
        (Self::FOWNER, "CAP_FOWNER"),
        (Self::SETGID, "CAP_SETGID"),
        (Self::SETUID, "CAP_SETUID"),
        (Self::NET_ADMIN, "CAP_NET_ADMIN"),
        (Self::NET_RAW, "CAP_NET_RAW"),
        (Self::SYS_CHROOT, "CAP_SYS_CHROOT"),
        (Self::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];

    /// Returns the name in capabilities(7), or the number of one that this program does not use.
    #[must_use]
    pub fn name(self) -> String {
        self.known().map_or_else(|| format!("CAP_{}", self.0), str::to_owned)
    }

    fn known(self) -> Option<&'static str> {
        Self::NAMES.into_iter().find(|(known, _)| *known == self).map(|(_, name)| name)
    }

    const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// Capabilities that a tunnel needs: network, raw sockets, and changing user, group and root directory.
const NEEDED: [Capability; 5] = [
    Capability::NET_ADMIN,
    Capability::NET_RAW,
    Capability::SETGID,
    Capability::SETUID,
    Capability::SYS_CHROOT,
];

/// Returns the capabilities that a tunnel needs and this process lacks, as in a restricted container. Empty
/// if /proc cannot be read.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let Some(effective) = effective() else { return Vec::new() };
    let lacks = |capability: &Capability| effective & capability.bit() == 0;
    NEEDED.into_iter().filter(lacks).filter_map(Capability::known).collect()
}

/// Returns the effective capabilities of the calling thread; empty if /proc cannot be read.
#[must_use]
pub fn in_force() -> Vec<Capability> {
    let effective = effective().unwrap_or_default();
    (0..64).map(Capability).filter(|capability| effective & capability.bit() != 0).collect()
}

fn effective() -> Option<u64> {
    effective_in(&std::fs::read_to_string("/proc/thread-self/status").ok()?)
}

/// Returns the effective set from the text of proc_pid_status(5).
fn effective_in(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Removes a capability from the bounding set. A number that the kernel does not know is ignored.
pub fn drop_from_bounding_set(capability: libc::c_ulong) {
    // SAFETY: PR_CAPBSET_DROP takes one number and accesses no memory of ours.
    let _unknown = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
}

/// Gives up, for the calling thread and irrevocably, all capabilities but these: the permitted, effective, inheritable,
/// ambient and bounding set, the latter as far as this process may change it. A program that it executes has no others.
///
/// # Errors
/// Returns the kernel's error.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let kept = kept.iter().fold(0, |bits, capability| bits | capability.bit());
    for capability in (0..64).filter(|number: &libc::c_ulong| kept & (1_u64 << *number) == 0) {
        drop_from_bounding_set(capability);
    }
    // A restricted container may lack some of them.
    let kept = (kept & effective().unwrap_or(kept)).to_ne_bytes();
    let [a, b, c, d, e, f, g, h] = kept;
    let words = if cfg!(target_endian = "little") {
        [[a, b, c, d], [e, f, g, h]]
    } else {
        [[e, f, g, h], [a, b, c, d]]
    };
    let sets =
        words.map(u32::from_ne_bytes).map(|word| Sets { effective: word, permitted: word, inheritable: 0 });
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: the kernel reads a header and, for this version, two sets, which live until the call returns; for a version
    // that it does not know it writes the header.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_set_is_parsed() {
        assert_eq!(effective_in("Uid:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective_in("CapEff:\tx\n"), None);
        assert_eq!(effective_in(""), None);
    }

    #[test]
    fn capabilities_are_given_up_for_good() {
        let has = in_force();
        let kept = std::thread::spawn(|| {
            keep_only(&[Capability::NET_ADMIN, Capability::SYS_ADMIN]).unwrap();
            let kept = in_force();
            // They can be reduced further, and do not come back.
            keep_only(&[Capability::NET_ADMIN, Capability::CHOWN]).unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            (kept, in_force(), status)
        });
        let (first, second, status) = kept.join().unwrap();
        let still = |wanted: &[Capability]| -> Vec<_> {
            wanted.iter().copied().filter(|capability| has.contains(capability)).collect()
        };
        assert_eq!(first, still(&[Capability::NET_ADMIN, Capability::SYS_ADMIN]));
        assert_eq!(second, still(&[Capability::NET_ADMIN]));
        assert!(
            status.contains("NoNewPrivs:\t1\n") && status.contains("CapInh:\t0000000000000000\n"),
            "{status}"
        );
    }

    #[test]
    fn names_are_those_of_the_manual() {
        assert_eq!(Capability::NET_ADMIN.name(), "CAP_NET_ADMIN");
        assert_eq!(Capability(38).name(), "CAP_38");
    }
}
