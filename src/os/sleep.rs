//! Detects that the machine was suspended: the clock that counts suspended time has advanced past the one
//! that does not.
//!
//! On Linux a timer on the wall clock that is cancelled when that clock jumps (timerfd_create(2),
//! `TFD_TIMER_CANCEL_ON_SET`) makes its descriptor readable on resume, without polling. If NTP made the clock
//! jump, the two clocks show no suspend. Other platforms detect nothing.

use std::{io, os::fd::BorrowedFd, time::Duration};

/// A shorter difference is only the time between reading the two clocks.
const MIN_SUSPEND: Duration = Duration::from_secs(1);

/// Maximum number of attempts to read both clocks without being preempted in between.
#[cfg(target_os = "linux")]
const MAX_READ_ATTEMPTS: usize = 8;

/// Detects suspends since the last reading.
#[derive(Debug)]
pub struct Sleep {
    #[cfg(target_os = "linux")]
    timer: nix::sys::timerfd::TimerFd,
    ahead: ClockOffset,
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
        let mut sleep = Self { timer, ahead: ClockOffset::default() };
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

    /// Returns how long the machine was suspended since the last call, if it was.
    pub fn slept(&mut self) -> Option<Duration> {
        use nix::time::{ClockId, clock_gettime};
        let read = |clock| clock_gettime(clock).map(Duration::from).ok();
        for _ in 0..MAX_READ_ATTEMPTS {
            let before = read(ClockId::CLOCK_MONOTONIC)?;
            let with_sleep = read(ClockId::CLOCK_BOOTTIME)?;
            let after = read(ClockId::CLOCK_MONOTONIC)?;
            // If the process was stopped between the readings, they differ without a suspend.
            if after.saturating_sub(before) < MIN_SUSPEND / 2 {
                return self.ahead.read(with_sleep, after);
            }
        }
        None
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
        // Never expires; only the cancellation matters.
        let never = TimeSpec::new(i64::MAX / 2_000_000_000, 0);
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
    /// Returns a detector that detects nothing.
    ///
    /// # Errors
    /// Never fails here.
    pub fn watch() -> io::Result<Self> {
        Ok(Self { ahead: ClockOffset::default() })
    }

    /// Returns `None`: there is no descriptor to poll.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Returns `None`: suspends are not detected.
    pub fn slept(&mut self) -> Option<Duration> {
        self.ahead.read(Duration::ZERO, Duration::ZERO)
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

    #[cfg(target_os = "linux")]
    #[test]
    fn reports_no_suspend_while_awake() {
        use crate::os::wait::{self, Interest};
        let mut sleep = Sleep::watch().unwrap();
        assert_eq!(sleep.slept(), None);
        let soon = std::time::Instant::now() + Duration::from_millis(20);
        let ready = wait::until([sleep.fd().map(|fd| (fd, Interest::Readable))], Some(soon)).unwrap();
        assert_eq!(ready, [false]);
    }
}
