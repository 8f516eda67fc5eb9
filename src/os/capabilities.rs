//! The capabilities(7) of this process, and the one request about them that nix lacks.
#![expect(unsafe_code, reason = "nix has no PR_CAPBSET_DROP")]

/// Capabilities that a tunnel needs: network, raw sockets, and changing user, group and root directory.
const NEEDED: [(u32, &str); 5] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (18, "CAP_SYS_CHROOT"),
];

/// Returns the capabilities that a tunnel needs and this process lacks, as in a restricted container. Empty
/// if /proc cannot be read.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective(&status) else { return Vec::new() };
    let lacks = |number: u32| effective & (1 << number) == 0;
    NEEDED.into_iter().filter(|(number, _)| lacks(*number)).map(|(_, name)| name).collect()
}

/// Returns the effective set from the text of proc_pid_status(5).
fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Removes a capability from the bounding set. A number that the kernel does not know is ignored.
pub fn drop_from_bounding_set(capability: libc::c_ulong) {
    // SAFETY: PR_CAPBSET_DROP takes one number and accesses no memory of ours.
    let _unknown = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_set_is_parsed() {
        assert_eq!(effective("Uid:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("CapEff:\tx\n"), None);
        assert_eq!(effective(""), None);
    }
}
