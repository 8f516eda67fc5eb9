//! Identifies the current boot, and distinguishes a process from a later one with the same PID.

/// Returns an identifier of the current boot; empty if there is none.
#[must_use]
pub fn id() -> String {
    #[cfg(target_os = "linux")]
    {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    }
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    {
        super::bsd::sysctl::boot_id()
    }
}

/// Returns the time since the boot. On Linux and OpenBSD it includes the time suspended.
#[must_use]
pub fn uptime() -> std::time::Duration {
    use nix::time::{ClockId, clock_gettime};
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    clock_gettime(clock).map(std::time::Duration::from).unwrap_or_default()
}

/// Returns when a process started, in a platform-specific unit; `None` if there is no such process or it is a
/// zombie, which undoes nothing any more.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc(5): field 2 is the name in parentheses, with arbitrary characters; field 22 is the start.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        fields.nth(18)?.parse().ok()
    }
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    {
        super::bsd::sysctl::start_of(pid)
    }
}

/// Returns whether a process of this boot with this pid and start time (0 if unknown) still runs.
#[must_use]
pub fn is_running(boot: &str, pid: u32, start: u64) -> bool {
    boot == id() && start_time(pid).is_some_and(|found| start == 0 || start == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_and_own_process_are_identified() {
        assert!(!id().is_empty() && uptime() > std::time::Duration::ZERO);
        assert_eq!(id(), id());
        let own = start_time(std::process::id()).unwrap();
        assert_eq!(start_time(std::process::id()), Some(own));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(start_time(child.id()).unwrap() >= own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(start_time(child.id()), None);
    }
}
