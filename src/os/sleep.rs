//! Detects that the machine was suspended: the clock that counts suspended time has advanced past the one
//! that does not.
//!
//! On Linux a timer on the wall clock that is cancelled when that clock jumps (timerfd_create(2),
//! `TFD_TIMER_CANCEL_ON_SET`) makes its descriptor readable on resume, without polling. If NTP made the clock
//! jump, the two clocks show no suspend. The BSDs have no such descriptor, so the clocks are compared at every
//! wake-up of the process and every [`CHECK_INTERVAL`]. FreeBSD and NetBSD have no clock that counts suspended
//! time but the wall clock, which the kernel sets on resume: one that was set forward looks the same.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

/// A shorter difference is only the time between reading the two clocks, or a correction of the wall clock.
const MIN_SUSPEND: Duration = Duration::from_secs(1);

/// The meaning of a reading that shows a suspend.
pub const OBSERVATION: &str = if cfg!(any(target_os = "linux", target_os = "openbsd")) {
    "this host was suspended"
} else {
    "this host was suspended, or its clock was set forward"
};

/// Maximum number of attempts to read both clocks without being preempted in between.
const MAX_READ_ATTEMPTS: usize = 8;

/// How often the clocks are compared where no descriptor reports a resume.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The clocks that show a suspend.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    with_sleep: ClockId,
    without: ClockId,
    /// Whether [`Instant`] certainly stood still for the difference: OpenBSD's counts suspended time, and a wall
    /// clock that was set forward shows time that never passed.
    adds_to_instant: bool,
}

/// The clocks of this platform.
#[cfg(target_os = "linux")]
const CLOCKS: Clocks =
    Clocks { with_sleep: ClockId::CLOCK_BOOTTIME, without: ClockId::CLOCK_MONOTONIC, adds_to_instant: true };
/// The clocks of this platform.
#[cfg(target_os = "openbsd")]
const CLOCKS: Clocks = Clocks {
    with_sleep: ClockId::from_raw(libc::CLOCK_BOOTTIME),
    without: ClockId::from_raw(libc::CLOCK_UPTIME),
    adds_to_instant: false,
};
/// The clocks of this platform.
#[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
const CLOCKS: Clocks =
    Clocks { with_sleep: ClockId::CLOCK_REALTIME, without: ClockId::CLOCK_MONOTONIC, adds_to_instant: false };

impl Clocks {
    /// Reads both; `None` if the process was stopped between the readings each time, because they then differ
    /// without a suspend.
    fn read(self) -> Option<(Duration, Duration)> {
        let read = |clock| clock_gettime(clock).map(Duration::from).ok();
        for _ in 0..MAX_READ_ATTEMPTS {
            let before = read(self.without)?;
            let with_sleep = read(self.with_sleep)?;
            let after = read(self.without)?;
            if after.saturating_sub(before) < MIN_SUSPEND / 2 {
                return Some((with_sleep, after));
            }
        }
        None
    }
}

/// A time that the timer does not reach; only its cancellation matters. The latest in seconds of 32 bits where the clock
/// counts in these.
#[cfg(target_os = "linux")]
const NEVER: Duration = Duration::from_secs(if cfg!(target_pointer_width = "64") {
    u64::MAX / 4_000_000_000
} else {
    0x7fff_ffff
});

/// Detects suspends since the last reading.
#[derive(Debug)]
pub struct Sleep {
    #[cfg(target_os = "linux")]
    timer: nix::sys::timerfd::TimerFd,
    comparison: Comparison,
}

/// The difference between the two clocks at the last reading.
#[derive(Clone, Copy, Debug, Default)]
struct ClockOffset(Duration);

impl ClockOffset {
    /// Stores a new reading; returns the time asleep since the previous one, if any.
    fn read(&mut self, with_sleep: Duration, without: Duration) -> Option<Duration> {
        let before = std::mem::replace(&mut self.0, with_sleep.saturating_sub(without));
        let slept = self.0.saturating_sub(before);
        (slept >= MIN_SUSPEND).then_some(slept)
    }
}

/// The comparison of the clocks. No I/O.
#[derive(Debug)]
struct Comparison {
    ahead: ClockOffset,
    last: Instant,
}

impl Comparison {
    fn new(now: Instant) -> Self {
        Self { ahead: ClockOffset::default(), last: now }
    }

    /// Handles a reading of both clocks, or `None` if they could not be read. Returns, if the machine was
    /// suspended since the previous one, for how long [`Instant`] stood still meanwhile as far as that is certain.
    fn handle(
        &mut self,
        now: Instant,
        reading: Option<(Duration, Duration)>,
        adds_to_instant: bool,
    ) -> Option<Duration> {
        self.last = now;
        let (with_sleep, without) = reading?;
        let slept = self.ahead.read(with_sleep, without)?;
        Some(if adds_to_instant { slept } else { Duration::ZERO })
    }

    fn due(&self) -> Instant {
        self.last + CHECK_INTERVAL
    }
}

impl Sleep {
    /// Returns, if the machine was suspended since the last call, for how long [`Instant`] stood still
    /// meanwhile.
    pub fn slept(&mut self) -> Option<Duration> {
        self.comparison.handle(Instant::now(), CLOCKS.read(), CLOCKS.adds_to_instant)
    }

    /// Returns when to call [`Sleep::slept`] if the process does not wake up before; `None` if [`Sleep::fd`]
    /// reports a resume.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.fd().is_none().then(|| (self.comparison.due(), "comparison of the clocks"))
    }
}

#[cfg(target_os = "linux")]
impl Sleep {
    /// Starts to watch for suspends.
    ///
    /// # Errors
    /// Returns the kernel's error if the timer cannot be set up.
    pub fn watch() -> io::Result<Self> {
        use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
        let timer =
            TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let mut sleep = Self { timer, comparison: Comparison::new(Instant::now()) };
        sleep.arm()?;
        let _before = sleep.slept();
        Ok(sleep)
    }

    /// Returns a descriptor that becomes readable after a possible suspend.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        Some(self.timer.as_fd())
    }

    /// Clears the readable descriptor and arms the timer for the next jump.
    ///
    /// # Errors
    /// Returns the kernel's error; the descriptor then stays readable.
    pub fn rearm(&mut self) -> io::Result<()> {
        // read(2) fails with ECANCELED, which `wait` ignores.
        self.timer.wait()?;
        self.arm()
    }

    fn arm(&mut self) -> io::Result<()> {
        use nix::sys::{
            time::TimeSpec,
            timerfd::{Expiration, TimerSetTimeFlags},
        };
        let never = TimeSpec::from_duration(NEVER);
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match self.timer.set(Expiration::OneShot(never), flags) {
            // The clock jumped between two calls; the timer is set nevertheless (timerfd_create(2)).
            Err(nix::errno::Errno::ECANCELED) => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Sleep {
    /// Starts to watch for suspends.
    ///
    /// # Errors
    /// Never fails here.
    pub fn watch() -> io::Result<Self> {
        let mut sleep = Self { comparison: Comparison::new(Instant::now()) };
        let _before = sleep.slept();
        Ok(sleep)
    }

    /// Returns `None`: there is no descriptor to poll.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Does nothing.
    ///
    /// # Errors
    /// Never fails here.
    pub fn rearm(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_asleep_is_growth_of_clock_difference() {
        let seconds = Duration::from_secs;
        let mut offset = ClockOffset::default();
        assert_eq!(
            offset.read(seconds(1000), seconds(400)),
            Some(seconds(600)),
            "suspended before the first reading"
        );
        assert_eq!(offset.read(seconds(1100), seconds(500)), None);
        assert_eq!(
            offset.read(seconds(1100) + MIN_SUSPEND / 2, seconds(500)),
            None,
            "a difference below MIN_SUSPEND"
        );
        assert_eq!(offset.read(seconds(2000), seconds(600)), Some(seconds(800) - MIN_SUSPEND / 2));
        assert_eq!(offset.read(seconds(2001), seconds(601)), None, "already reported");
        assert_eq!(offset.read(seconds(1), seconds(700)), None, "the clock went backwards");
    }

    /// Three checks, an hour of suspend, and two more, on a system whose [`Instant`] counts suspended time
    /// (OpenBSD) and on one whose does not.
    #[test]
    fn suspend_is_reported_at_the_first_check_after_it() {
        let seconds = Duration::from_secs;
        let hour = seconds(3600);
        for instant_counts in [true, false] {
            let start = Instant::now();
            let mut comparison = Comparison::new(start);
            assert_eq!(comparison.due(), start + CHECK_INTERVAL);
            let (mut now, mut with_sleep, mut without) = (start, seconds(50), seconds(50));
            let mut found = Vec::new();
            for slept in [0, 0, 0, 3600, 0, 0].map(seconds) {
                with_sleep += CHECK_INTERVAL + slept;
                without += CHECK_INTERVAL;
                now += CHECK_INTERVAL + if instant_counts { slept } else { Duration::ZERO };
                assert!(comparison.due() <= now, "a check is due");
                found.push(comparison.handle(now, Some((with_sleep, without)), !instant_counts));
                assert_eq!(comparison.due(), now + CHECK_INTERVAL);
            }
            let stood_still = if instant_counts { Duration::ZERO } else { hour };
            assert_eq!(found, [None, None, None, Some(stood_still), None, None]);
        }
    }

    #[test]
    fn clocks_that_cannot_be_read_do_not_make_checks_due_at_once() {
        let start = Instant::now();
        let mut comparison = Comparison::new(start);
        let later = start + CHECK_INTERVAL;
        assert_eq!(comparison.handle(later, None, true), None);
        assert_eq!(comparison.due(), later + CHECK_INTERVAL);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reports_no_suspend_while_awake() {
        use crate::os::wait::{self, Interest};
        let mut sleep = Sleep::watch().unwrap();
        assert_eq!(sleep.slept(), None);
        assert_eq!(sleep.next_timeout(), None, "the timer reports a resume");
        let soon = std::time::Instant::now() + Duration::from_millis(20);
        let ready = wait::until([sleep.fd().map(|fd| (fd, Interest::Readable))], Some(soon)).unwrap();
        assert_eq!(ready, [false]);
    }
}
