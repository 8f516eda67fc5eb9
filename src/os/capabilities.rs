//! What capabilities (capabilities(7)) this process has, and the one request about them that nix has no words for.
#![expect(unsafe_code, reason = "nix has no PR_CAPBSET_DROP")]

/// What a tunnel needs, by number: the network, raw sockets, and to become nobody in an empty directory.
const NEEDED: [(u32, &str); 5] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (18, "CAP_SYS_CHROOT"),
];

/// Those that a tunnel needs and this process lacks, as in a container that was given few. None if the kernel can't be
/// asked.
#[must_use]
pub fn lacking() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective(&status) else { return Vec::new() };
    let lacks = |number: u32| effective & (1 << number) == 0;
    NEEDED.into_iter().filter(|(number, _)| lacks(*number)).map(|(_, name)| name).collect()
}

/// The effective set, out of proc_pid_status(5).
fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Takes a capability out of the bounding set. A number that the kernel does not know is no error.
pub fn drop_from_bounding_set(capability: libc::c_ulong) {
    // SAFETY: PR_CAPBSET_DROP takes one number and touches no memory of ours.
    let _unknown = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_found_or_not() {
        assert_eq!(effective("Uid:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("CapEff:\tx\n"), None);
        assert_eq!(effective(""), None);
    }
}
