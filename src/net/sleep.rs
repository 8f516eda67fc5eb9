//! Whether this machine has slept: the clock that counts sleep has gone ahead of the one that does not.
//!
//! On Linux a timer on the wall clock that is cancelled when that clock jumps (timerfd_create(2),
//! `TFD_TIMER_CANCEL_ON_SET`) makes its descriptor readable on waking up, so that nobody has to wake up to look. A
//! jump alone, as by NTP, is no sleep: the two clocks say. Elsewhere nothing is noticed here.

use std::{io, os::fd::BorrowedFd, time::Duration};

/// Shorter than that is no sleep, but the time between two readings of two clocks.
const SHORTEST: Duration = Duration::from_secs(1);

/// How often the two clocks are read before it is given up to read both at one moment.
#[cfg(target_os = "linux")]
const READINGS: usize = 8;

/// The two clocks, from now on.
#[derive(Debug)]
pub struct Sleep {
    #[cfg(target_os = "linux")]
    timer: nix::sys::timerfd::TimerFd,
    ahead: ClockOffset,
}

/// How far the clock that counts sleep was ahead when they were last read.
#[derive(Clone, Copy, Debug, Default)]
struct ClockOffset(Duration);

impl ClockOffset {
    /// Reads them anew; how long the machine has slept since, if it has.
    fn read(&mut self, with_sleep: Duration, without: Duration) -> Option<Duration> {
        let before = std::mem::replace(&mut self.0, with_sleep.saturating_sub(without));
        let slept = self.0.saturating_sub(before);
        (slept >= SHORTEST).then_some(slept)
    }
}

#[cfg(target_os = "linux")]
impl Sleep {
    /// Starts to watch.
    ///
    /// # Errors
    /// The kernel's, for the timer.
    pub fn watch() -> io::Result<Self> {
        use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
        let timer =
            TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let mut sleep = Self { timer, ahead: ClockOffset::default() };
        sleep.arm()?;
        let _before = sleep.slept();
        Ok(sleep)
    }

    /// Readable when the machine may have slept.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        Some(self.timer.as_fd())
    }

    /// How long the machine has slept since this was last asked, if it has.
    pub fn slept(&mut self) -> Option<Duration> {
        use nix::time::{ClockId, clock_gettime};
        let read = |clock| clock_gettime(clock).map(Duration::from).ok();
        for _ in 0..READINGS {
            let before = read(ClockId::CLOCK_MONOTONIC)?;
            let with_sleep = read(ClockId::CLOCK_BOOTTIME)?;
            let after = read(ClockId::CLOCK_MONOTONIC)?;
            // Stopped in between, the two would be far apart with nobody having slept.
            if after.saturating_sub(before) < SHORTEST / 2 {
                return self.ahead.read(with_sleep, after);
            }
        }
        None
    }

    /// The descriptor is readable: makes it wait for the next jump.
    ///
    /// # Errors
    /// The kernel's; the descriptor would stay readable then.
    pub fn rearm(&mut self) -> io::Result<()> {
        // Says ECANCELED, which is what it is for.
        self.timer.wait()?;
        self.arm()
    }

    fn arm(&mut self) -> io::Result<()> {
        use nix::sys::{
            time::TimeSpec,
            timerfd::{Expiration, TimerSetTimeFlags},
        };
        // A moment that never comes, on the clock that may jump.
        let never = TimeSpec::new(i64::MAX / 2_000_000_000, 0);
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match self.timer.set(Expiration::OneShot(never), flags) {
            // The clock has jumped between two calls; the timer is set all the same (timerfd_create(2)).
            Err(nix::errno::Errno::ECANCELED) => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Sleep {
    /// Starts to watch.
    ///
    /// # Errors
    /// None here.
    pub fn watch() -> io::Result<Self> {
        Ok(Self { ahead: ClockOffset::default() })
    }

    /// Nothing to wait on.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Nothing is known.
    pub fn slept(&mut self) -> Option<Duration> {
        self.ahead.read(Duration::ZERO, Duration::ZERO)
    }

    /// Nothing to do.
    ///
    /// # Errors
    /// None here.
    pub fn rearm(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_how_much_further_ahead_it_is_than_before() {
        let seconds = Duration::from_secs;
        let mut ahead = ClockOffset::default();
        assert_eq!(ahead.read(seconds(1000), seconds(400)), Some(seconds(600)), "slept before we came");
        assert_eq!(ahead.read(seconds(1100), seconds(500)), None);
        assert_eq!(ahead.read(seconds(1100) + SHORTEST / 2, seconds(500)), None, "two readings, two moments");
        assert_eq!(ahead.read(seconds(2000), seconds(600)), Some(seconds(800) - SHORTEST / 2));
        assert_eq!(ahead.read(seconds(2001), seconds(601)), None, "once");
        assert_eq!(ahead.read(seconds(1), seconds(700)), None, "nonsense");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_is_awake_and_the_timer_sleeps() {
        use crate::net::wait::{self, Interest};
        let mut sleep = Sleep::watch().unwrap();
        assert_eq!(sleep.slept(), None);
        let soon = std::time::Instant::now() + Duration::from_millis(20);
        let ready = wait::until([sleep.fd().map(|fd| (fd, Interest::Readable))], Some(soon)).unwrap();
        assert_eq!(ready, [false]);
    }
}
