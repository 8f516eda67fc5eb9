//! Programs that the control group of this process runs for each packet (Linux, `bpf(2)`): they refuse packets as a
//! firewall does, but are in no ruleset.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "nix has no bpf(2)"))]

/// The command of bpf(2) that returns them.
#[cfg(target_os = "linux")]
pub(super) const PROG_QUERY: libc::c_long = 16;

/// Returns how many such programs can refuse what this process sends; `None` if that is not known.
#[cfg(target_os = "linux")]
#[must_use]
pub fn programs_for_sending() -> Option<u32> {
    use std::{fs, os::fd::AsFd};
    // `BPF_CGROUP_INET_EGRESS`: each packet. `BPF_CGROUP_INET4_CONNECT`: connect(2).
    const EGRESS: u32 = 1;
    const CONNECT: u32 = 10;
    // One line of version 2: `0::/system.slice/x.service`.
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(place)
    })?;
    let group = fs::File::open(std::path::Path::new(root).join(path)).ok()?;
    Some(query(group.as_fd(), EGRESS)?.saturating_add(query(group.as_fd(), CONNECT).unwrap_or(0)))
}

/// Returns how many programs of a kind are in force for a group, its parents' included.
#[cfg(target_os = "linux")]
fn query(group: std::os::fd::BorrowedFd<'_>, kind: u32) -> Option<u32> {
    use std::os::fd::AsRawFd;
    /// The part of `union bpf_attr` for `BPF_PROG_QUERY`, with every field of Linux 6.17: a kernel writes some results
    /// without comparing their place with the size that is passed. Older kernels require zero in those that they lack.
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target: u32,
        kind: u32,
        flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        reserved: u32,
        program_flags: u64,
        link_ids: u64,
        link_flags: u64,
        revision: u64,
    }
    /// `BPF_F_QUERY_EFFECTIVE`.
    const EFFECTIVE: u32 = 1;
    let mut attributes =
        Query { target: u32::try_from(group.as_raw_fd()).ok()?, kind, flags: EFFECTIVE, ..Query::default() };
    // SAFETY: the kernel reads the size that is passed, and writes flags, count and revision, which the structure has.
    // The lists are absent (null).
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attributes, size_of::<Query>()) };
    (result == 0).then_some(attributes.count)
}

/// Returns `None`: other systems have no such programs.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub const fn programs_for_sending() -> Option<u32> {
    None
}
