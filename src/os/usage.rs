//! Resource usage of this process (getrusage(2)), for `status` and the log of statistics.

use std::time::Duration;

/// Returns the CPU time that this process has used so far, user and system.
#[must_use]
pub fn cpu_time() -> (Duration, Duration) {
    let Ok(usage) = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF) else {
        return (Duration::ZERO, Duration::ZERO);
    };
    (duration(usage.user_time()), duration(usage.system_time()))
}

/// Returns the number of voluntary context switches of this process: a measure of idleness.
#[must_use]
pub fn voluntary_switches() -> u64 {
    nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| u64::try_from(usage.voluntary_context_switches()).unwrap_or(0))
}

fn duration(value: nix::sys::time::TimeVal) -> Duration {
    let seconds = u64::try_from(value.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(value.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
