//! Debounces notifications of network changes: a burst of them causes one poll of the network. No I/O.

use std::time::{Duration, Instant};

/// A burst ends when there is no notification for this long.
const QUIET: Duration = Duration::from_millis(100);

/// A burst that does not end is polled after this long.
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Minimum pause after a poll, as a multiple of its duration: a host with a million routes that change all
/// the time needs its CPU for other things.
const PAUSE_FACTOR: u32 = 20;

/// While the host changes and no poll finds anything, each pause is twice as long as the one before, up to this: with
/// hundreds of tunnels, each of which the others tell of its changes, nothing else would run.
const LONGEST_DOUBLED: Duration = Duration::from_secs(2);

/// Maximum of the pause: a poll also takes long if the machine was stopped meanwhile, as a virtual one may be, and
/// the tunnel must follow the next change.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The notifications since the last poll.
#[derive(Clone, Debug, Default)]
pub struct Debounce {
    /// Times of the first and the last notification.
    burst: Option<(Instant, Instant)>,
    pause_until: Option<Instant>,
    /// Number of polls in succession that found nothing, since there was last no notification during a pause.
    fruitless: u32,
    /// Whether the poll under way is that of a burst.
    is_of_burst: bool,
}

impl Debounce {
    /// Records a notification.
    pub fn record(&mut self, now: Instant) {
        if self.burst.is_none() && self.pause_until.is_none_or(|until| until < now) {
            self.fruitless = 0;
        }
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    /// Returns when to poll, and why.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let (first, last) = self.burst?;
        let settled = (last + QUIET).min(first + MAX_DELAY);
        Some((self.pause_until.map_or(settled, |rest| rest.max(settled)), "network settled"))
    }

    /// Returns whether a poll is due, unless there are more notifications.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.next_timeout().is_some_and(|(due, _)| due <= now)
    }

    /// Returns whether a poll is due, and ends the burst if so.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.is_due(now);
        if due {
            self.burst = None;
            self.is_of_burst = true;
        }
        due
    }

    /// Records that a poll has ended, how long it took, and whether it found a change.
    pub fn polled(&mut self, now: Instant, took: Duration, found: bool) {
        let is_of_burst = std::mem::take(&mut self.is_of_burst);
        self.fruitless = if found || !is_of_burst { 0 } else { self.fruitless.saturating_add(1) };
        self.took(now, took);
    }

    /// Records how long the last poll took with what has followed from it.
    pub fn took(&mut self, now: Instant, took: Duration) {
        let pause = took.saturating_mul(PAUSE_FACTOR);
        let times = 1_u32.checked_shl(self.fruitless.saturating_sub(1)).unwrap_or(u32::MAX);
        let doubled = pause.saturating_mul(times).min(LONGEST_DOUBLED);
        self.pause_until = Some(now + pause.max(doubled).min(MAX_PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_due_without_a_notification() {
        let mut quiet = Debounce::default();
        assert_eq!(quiet.next_timeout(), None);
        assert!(!quiet.take(Instant::now()));
    }

    #[test]
    fn burst_causes_one_poll_when_it_ends() {
        let mut burst = Debounce::default();
        let start = Instant::now();
        for at in [0, 10, 30] {
            burst.record(start + at * MS);
            assert!(!burst.take(start + at * MS));
        }
        assert_eq!(burst.next_timeout(), Some((start + 130 * MS, "network settled")));
        assert!(!burst.take(start + 129 * MS));
        assert!(burst.take(start + 130 * MS));
        assert!(!burst.take(start + 131 * MS), "once");
    }

    #[test]
    fn endless_burst_is_polled_at_the_limit() {
        let mut storm = Debounce::default();
        let start = Instant::now();
        let polls = (0..300_u32).filter(|tick| {
            storm.record(start + *tick * 10 * MS);
            storm.take(start + *tick * 10 * MS)
        });
        assert_eq!(polls.count(), 5);
    }

    #[test]
    fn slow_poll_delays_the_next() {
        let mut slow = Debounce::default();
        let start = Instant::now();
        slow.record(start);
        assert!(slow.take(start + 100 * MS));
        slow.polled(start + 300 * MS, 200 * MS, true);
        slow.record(start + 300 * MS);
        assert_eq!(slow.next_timeout(), Some((start + 4300 * MS, "network settled")));
        assert!(slow.take(start + 4300 * MS));
        slow.polled(start + 4300 * MS, 3600 * MS, true);
        slow.record(start + 4300 * MS);
        assert!(
            !slow.take(start + 9299 * MS) && slow.take(start + 9300 * MS),
            "a stopped machine does not count"
        );
        slow.polled(start + 4300 * MS, Duration::ZERO, true);
        slow.record(start + 4300 * MS);
        assert_eq!(slow.next_timeout(), Some((start + 4400 * MS, "network settled")));
    }

    #[test]
    fn polls_that_find_nothing_become_rarer_until_it_is_quiet() {
        let mut storm = Debounce::default();
        let start = Instant::now();
        let mut now = start;
        let mut pause = |storm: &mut Debounce, found: bool| {
            storm.record(now);
            let (due, _) = storm.next_timeout().unwrap();
            assert!(storm.take(due));
            storm.polled(due, 5 * MS, found);
            storm.record(due);
            now = storm.next_timeout().unwrap().0;
            now.duration_since(due)
        };
        let pauses: Vec<_> = (0..8).map(|_| pause(&mut storm, false).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(pause(&mut storm, true).as_millis(), 100, "a change was found");
        assert_eq!(pause(&mut storm, false).as_millis(), 100);
        assert_eq!(pause(&mut storm, false).as_millis(), 200);
        let (due, _) = storm.next_timeout().unwrap();
        assert!(storm.take(due));
        storm.polled(due, 5 * MS, false);
        storm.record(due + 10_000 * MS);
        assert!(storm.take(due + 10_100 * MS));
        storm.polled(due + 10_100 * MS, 5 * MS, false);
        storm.record(due + 10_100 * MS);
        assert_eq!(storm.next_timeout().unwrap().0, due + 10_200 * MS, "it was quiet");
        for _ in 0..8 {
            storm.polled(due + 20_000 * MS, 5 * MS, false);
        }
        storm.record(due + 20_000 * MS);
        assert_eq!(
            storm.next_timeout().unwrap().0,
            due + 20_100 * MS,
            "polls for another reason do not count"
        );
    }
}
