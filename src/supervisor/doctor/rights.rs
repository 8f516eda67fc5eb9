//! Rights, clock: what this process may do, and when it believes to run.

use std::time::{SystemTime, UNIX_EPOCH};

use super::finding::{Blocker, Finding};
use crate::os::privileges;

/// 2026-01-01, which lies before every release of this program, in seconds since 1970.
const RELEASE: u64 = 1_767_225_600;

/// Returns whether this process may do what a tunnel needs. `lacking` are the capabilities that root lacks.
fn rights(uid: u32, lacking: &[&str]) -> Finding {
    match (uid, lacking) {
        (0, []) => Finding::ok("rights", "root, with all rights that a tunnel needs"),
        (0, lacking) => {
            let words = format!("root lacks capabilities here: {} (capabilities(7))", lacking.join(", "));
            Finding::blocked("rights", words, Blocker::NotRoot)
                .next("in a container, add them with --cap-add")
        }
        (uid, _) => {
            let words = format!(
                "user {uid}: up needs root (for routes, the tun device and raw sockets), and some checks below do"
            );
            Finding::blocked("rights", words, Blocker::NotRoot).next("run it with sudo or doas")
        }
    }
}

/// Returns whether the clock can be right. A wrong one breaks no tunnel, but DNSSEC and TLS through it.
fn clock(now: u64) -> Finding {
    if now >= RELEASE {
        return Finding::ok("clock", "plausible");
    }
    let year = 1970 + now / 31_556_952;
    let words = format!("the clock is in the year {year}: DNSSEC, TLS and the times in the log are wrong");
    Finding::warning("clock", words).next("set it: date(1), or start an NTP client")
}

/// Checks the rights of this process.
pub(super) fn check_rights() -> Finding {
    rights(nix::unistd::geteuid().as_raw(), &privileges::missing_capabilities())
}

/// Checks the clock.
pub(super) fn check_clock() -> Finding {
    clock(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn missing_rights_stop_up() {
        assert_eq!(rights(0, &[]).severity, Severity::Ok);
        let container = rights(0, &["CAP_NET_RAW", "CAP_SETUID"]);
        assert!(container.evidence.contains("CAP_NET_RAW, CAP_SETUID"), "{container:?}");
        for finding in [container, rights(1000, &["CAP_NET_RAW"])] {
            assert_eq!((finding.severity, finding.blocker), (Severity::Failure, Some(Blocker::NotRoot)));
        }
    }

    #[test]
    fn clock_before_the_release_is_reported() {
        assert_eq!(clock(RELEASE).severity, Severity::Ok);
        let reset = clock(3600);
        assert!(reset.severity == Severity::Warning && reset.evidence.contains("1970"), "{reset:?}");
    }
}
