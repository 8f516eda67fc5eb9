//! What tells one run of the kernel from another, and one process from a later one with its number.

/// Of this run of the kernel; empty where there is none to be had.
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

/// When a process started, in the kernel's own measure; `None` when there is no such process, or only what is left
/// of it: a zombie undoes nothing any more.
#[must_use]
pub fn start_of(pid: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc(5): the second field is the name in parentheses, which may hold anything; the 22nd is the start.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_run_and_this_process_are_known() {
        assert!(!id().is_empty());
        assert_eq!(id(), id());
        let own = start_of(std::process::id()).unwrap();
        assert_eq!(start_of(std::process::id()), Some(own));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(start_of(child.id()).unwrap() >= own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(start_of(child.id()), None);
    }
}
