//! Settings of the kernel that decide whether packets of a tunnel pass: reverse path filter, forwarding,
//! connection tracking, and OpenBSD's switch for GRE.

use super::finding::Finding;
use crate::{net::forwarding, profile::Profile, supervisor::host_files};

/// The state of connection tracking (Linux).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Conntrack {
    /// Entries of the table.
    count: u64,
    /// The most that it holds.
    max: u64,
    /// Whether the module that understands PPTP is loaded.
    has_pptp: bool,
}

/// Returns whether the table has room. The kernel refuses the first packets of a connection if it has not, with
/// the same error as a firewall rule.
fn conntrack(state: Option<Conntrack>) -> Finding {
    let Some(Conntrack { count, max, has_pptp }) = state else {
        return Finding::ok("conntrack", "this host tracks no connections");
    };
    if count >= max {
        let words =
            format!("the connection tracking table is full ({count} of {max}): new connections are dropped");
        return Finding::warning("conntrack", words)
            .next(format!("sysctl net.netfilter.nf_conntrack_max={}", max.max(count).saturating_mul(2)));
    }
    let helper = if has_pptp { "loaded" } else { "not loaded" };
    Finding::ok("conntrack", format!("{count} of {max} entries; PPTP helper {helper}"))
}

/// Returns whether the host forwards, if the profile is for others behind it.
fn forwarding(forwards: Option<bool>, profile: Option<&Profile>) -> Finding {
    let wanted = profile.is_some_and(|profile| profile.nat);
    match (forwards, wanted) {
        (Some(false), true) => Finding::warning(
            "forwarding",
            "nat = true, but this host forwards no packets: hosts behind it get no answer",
        )
        .next(if cfg!(target_os = "linux") {
            "sysctl net.ipv4.ip_forward=1"
        } else {
            "sysctl net.inet.ip.forwarding=1"
        }),
        (Some(true), _) => Finding::ok("forwarding", "on"),
        (Some(false), false) => Finding::ok("forwarding", "off: this host is not a router"),
        (None, _) => Finding::skipped("forwarding", "the kernel does not report it"),
    }
}

/// Returns what the reverse path filter of the uplink means for this profile. The kernel uses the larger value of
/// the device and `all`: 1 is strict, 2 loose.
fn rp_filter(dev: &str, of_dev: Option<u8>, of_all: Option<u8>, takes_all: bool) -> Finding {
    let Some(value) = of_dev.max(of_all) else {
        return Finding::skipped("rp_filter", format!("the kernel does not report it for {dev}"));
    };
    match (value, takes_all) {
        (1, true) => {
            let words = format!(
                "strict on {dev}: with default = … hosts beyond the router cannot reach this host's address there, and \
                 ICMP errors from the path are lost"
            );
            Finding::warning("rp_filter", words).next(format!("sysctl net.ipv4.conf.{dev}.rp_filter=2"))
        }
        (1, false) => Finding::ok("rp_filter", format!("strict on {dev}; a tunnel works with it")),
        (2, _) => Finding::ok("rp_filter", format!("loose on {dev}")),
        _ => Finding::ok("rp_filter", format!("off on {dev}")),
    }
}

/// Returns what `net.inet.gre.allow` means (OpenBSD).
#[cfg_attr(not(any(target_os = "openbsd", test)), expect(dead_code, reason = "tested on every system"))]
fn gre_allow(value: Option<i32>) -> Finding {
    match value {
        Some(0) => Finding::ok(
            "gre.allow",
            "net.inet.gre.allow=0; up sets it while a tunnel needs it (of importance before OpenBSD 6.3)",
        ),
        Some(value) => Finding::ok("gre.allow", format!("net.inet.gre.allow={value}")),
        None => Finding::skipped("gre.allow", "this kernel has no net.inet.gre.allow"),
    }
}

/// Checks the settings that concern the whole host.
pub(super) fn check_host() -> Vec<Finding> {
    let mut found = Vec::new();
    if host_files::need_proc().is_err() {
        found.push(Finding::skipped("conntrack", "not known without /proc"));
    } else if cfg!(target_os = "linux") {
        let number = |name: &str| read(name).and_then(|text| text.parse().ok());
        let state = number("net/netfilter/nf_conntrack_count")
            .zip(number("net/netfilter/nf_conntrack_max"))
            .map(|(count, max)| Conntrack {
                count,
                max,
                has_pptp: std::path::Path::new("/sys/module/nf_conntrack_pptp").exists(),
            });
        found.push(conntrack(state));
    } else {
        // NetBSD's packet filter is npf(7); 10 has no pf.
        let see = if cfg!(target_os = "netbsd") { "npfctl stats" } else { "pfctl -si" };
        found.push(Finding::skipped("conntrack", format!("not checked on this system: see `{see}`")));
    }
    #[cfg(target_os = "openbsd")]
    {
        use crate::os::bsd::sysctl;
        // CTL_NET, PF_INET, IPPROTO_GRE, GRECTL_ALLOW (net/if_gre.h).
        let value = sysctl::read(&[libc::CTL_NET, libc::PF_INET, 47, 1]).ok();
        found.push(gre_allow(value.and_then(|value| sysctl::int(&value))));
    }
    found
}

/// Checks whether the host forwards.
pub(super) fn check_forwarding(profile: Option<&Profile>) -> Finding {
    forwarding(forwarding::ipv4(), profile)
}

/// Checks the reverse path filter of the device by which the server is reached.
pub(super) fn check_rp_filter(dev: &str, profile: &Profile) -> Option<Finding> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    // A dot in a device's name stands for a slash in sysctl(8), but not in the path.
    let value = |dev: &str| read(&format!("net/ipv4/conf/{dev}/rp_filter"))?.parse().ok();
    Some(rp_filter(dev, value(dev), value("all"), profile.default_route.is_some()))
}

/// Reads a setting below /proc/sys.
fn read(name: &str) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn full_conntrack_table_is_reported() {
        let full = conntrack(Some(Conntrack { count: 262_144, max: 262_144, has_pptp: true }));
        assert_eq!(full.severity, Severity::Warning);
        assert_eq!(full.next.as_deref(), Some("sysctl net.netfilter.nf_conntrack_max=524288"));
        // The limit was lowered below what is there.
        let lowered = conntrack(Some(Conntrack { count: 200, max: 50, has_pptp: true }));
        assert_eq!(lowered.next.as_deref(), Some("sysctl net.netfilter.nf_conntrack_max=400"));
        let roomy = conntrack(Some(Conntrack { count: 10, max: 262_144, has_pptp: false }));
        assert!(roomy.severity == Severity::Ok && roomy.evidence.ends_with("not loaded"), "{roomy:?}");
        assert_eq!(conntrack(None).severity, Severity::Ok);
    }

    #[test]
    fn strict_reverse_path_filter_matters_only_with_a_default_route() {
        assert_eq!(rp_filter("eth0", Some(1), Some(0), false).severity, Severity::Ok);
        let strict = rp_filter("eth0", Some(0), Some(1), true);
        assert_eq!(strict.severity, Severity::Warning, "the larger value counts");
        assert_eq!(strict.next.as_deref(), Some("sysctl net.ipv4.conf.eth0.rp_filter=2"));
        assert_eq!(rp_filter("eth0", Some(1), Some(2), true).severity, Severity::Ok);
        assert_eq!(rp_filter("eth0", None, None, true).severity, Severity::Skipped);
    }

    #[test]
    fn forwarding_matters_only_with_nat() {
        let profile = |text: &str| {
            let text = format!("[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n{text}\n");
            let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), &text, true);
            profiles.get("x").unwrap().clone()
        };
        assert_eq!(forwarding(Some(false), Some(&profile("nat = true"))).severity, Severity::Warning);
        assert_eq!(forwarding(Some(true), Some(&profile("nat = true"))).severity, Severity::Ok);
        assert_eq!(forwarding(Some(false), Some(&profile(""))).severity, Severity::Ok);
        assert_eq!(forwarding(None, None).severity, Severity::Skipped);
    }

    #[test]
    fn gre_switch_of_openbsd_is_shown() {
        assert!(gre_allow(Some(0)).evidence.contains("up sets it"));
        assert_eq!(gre_allow(Some(1)).severity, Severity::Ok);
        assert_eq!(gre_allow(None).severity, Severity::Skipped);
    }
}
