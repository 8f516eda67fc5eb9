//! Whether this host forwards packets.

/// Returns whether IPv4 forwarding is on; `None` if the kernel does not report it.
#[must_use]
pub fn ipv4() -> Option<bool> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").ok()?;
        Some(text.trim() != "0")
    }
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    {
        use crate::os::bsd::sysctl;
        // CTL_NET, PF_INET, IPPROTO_IP, IPCTL_FORWARDING (netinet/in.h).
        let value = sysctl::read(&[libc::CTL_NET, libc::PF_INET, libc::IPPROTO_IP, 1]).ok()?;
        sysctl::int(&value).map(|value| value != 0)
    }
}
