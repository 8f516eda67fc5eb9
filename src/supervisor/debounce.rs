//! Many notices, one look: a change of the network comes as a burst of small ones. Pure.

use std::time::{Duration, Instant};

/// How long it has to be quiet before it is looked at.
const QUIET: Duration = Duration::from_millis(100);

/// What never gets quiet is looked at after so long.
const LONGEST: Duration = Duration::from_millis(500);

/// So many times as long as the last look took, nothing is looked at again: a host with a million routes that change
/// all the time has other things to do.
const REST: u32 = 20;

/// The notices since the last look.
#[derive(Clone, Debug, Default)]
pub struct Debounce {
    /// The first and the last notice.
    burst: Option<(Instant, Instant)>,
    rest: Option<Instant>,
}

impl Debounce {
    /// Something has changed.
    pub fn notice(&mut self, now: Instant) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    /// When to look.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = self.burst?;
        let settled = (last + QUIET).min(first + LONGEST);
        Some(self.rest.map_or(settled, |rest| rest.max(settled)))
    }

    /// Whether it is time to look; the burst is over then.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.burst = None;
        }
        due
    }

    /// The look is over, and took so long.
    pub fn looked(&mut self, now: Instant, took: Duration) {
        self.rest = Some(now + took * REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_noticed_is_nothing_due() {
        let mut quiet = Debounce::default();
        assert_eq!(quiet.due(), None);
        assert!(!quiet.take(Instant::now()));
    }

    #[test]
    fn a_burst_is_one_look_once_it_is_quiet() {
        let mut burst = Debounce::default();
        let start = Instant::now();
        for at in [0, 10, 30] {
            burst.notice(start + at * MS);
            assert!(!burst.take(start + at * MS));
        }
        assert_eq!(burst.due(), Some(start + 130 * MS));
        assert!(!burst.take(start + 129 * MS));
        assert!(burst.take(start + 130 * MS));
        assert!(!burst.take(start + 131 * MS), "once");
    }

    #[test]
    fn what_never_gets_quiet_is_looked_at_all_the_same() {
        let mut storm = Debounce::default();
        let start = Instant::now();
        let looks = (0..300_u32).filter(|tick| {
            storm.notice(start + *tick * 10 * MS);
            storm.take(start + *tick * 10 * MS)
        });
        assert_eq!(looks.count(), 5);
    }

    #[test]
    fn a_look_that_takes_long_is_not_repeated_at_once() {
        let mut slow = Debounce::default();
        let start = Instant::now();
        slow.notice(start);
        assert!(slow.take(start + 100 * MS));
        slow.looked(start + 300 * MS, 200 * MS);
        slow.notice(start + 300 * MS);
        assert_eq!(slow.due(), Some(start + 4300 * MS));
        assert!(slow.take(start + 4300 * MS));
        slow.looked(start + 4300 * MS, Duration::ZERO);
        slow.notice(start + 4300 * MS);
        assert_eq!(slow.due(), Some(start + 4400 * MS));
    }
}
