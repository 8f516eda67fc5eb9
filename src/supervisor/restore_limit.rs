//! Pure: how often what someone else takes away is put back.
//!
//! A program that thinks the host's routes and rules its own may take ours away whenever they come back. Then a few
//! times a minute have to do: neither of the two gets anywhere, and both keep the machine busy.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// So often within [`WITHIN`] something is put back.
pub const MOST: usize = 10;

/// See [`MOST`].
pub const WITHIN: Duration = Duration::from_secs(60);

/// What was put back lately.
#[derive(Clone, Debug, Default)]
pub struct RestoreLimit {
    put_back: VecDeque<Instant>,
    /// It was wanted more often.
    held_back: bool,
    /// A person knows.
    told: bool,
}

impl RestoreLimit {
    /// Whether to look for what is missing; if not, [`RestoreLimit::due`] says when.
    pub fn may(&mut self, now: Instant) -> bool {
        while self.put_back.front().is_some_and(|at| now.saturating_duration_since(*at) >= WITHIN) {
            self.put_back.pop_front();
        }
        self.told &= !self.put_back.is_empty();
        self.held_back = self.put_back.len() >= MOST;
        !self.held_back
    }

    /// Something was missing, and was put back.
    pub fn put_back(&mut self, now: Instant) {
        self.put_back.push_back(now);
    }

    /// When to look again, after it was not allowed.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.put_back.front().filter(|_| self.held_back).map(|oldest| *oldest + WITHIN)
    }

    /// Whether a person has to be told, which is so once until it has been calm.
    pub fn tells(&mut self) -> bool {
        self.held_back && !std::mem::replace(&mut self.told, true)
    }

    /// Whether it is going on.
    #[must_use]
    pub fn goes_on(&self, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < WITHIN;
        self.told && self.put_back.iter().any(lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_times_a_minute_and_told_once() {
        let (mut contest, start) = (RestoreLimit::default(), Instant::now());
        let (mut times, mut told) = (0, 0);
        // It is taken away again every 100 ms, for ten minutes.
        for tick in 0..6000_u32 {
            let now = start + tick * Duration::from_millis(100);
            if contest.due().is_some_and(|due| due > now) {
                continue;
            }
            if contest.may(now) {
                contest.put_back(now);
                times += 1;
            }
            told += u32::from(contest.tells());
        }
        assert_eq!((times, told), (100, 1));
        assert!(contest.goes_on(start + 10 * WITHIN));
        let calm = start + 12 * WITHIN;
        assert!(!contest.goes_on(calm) && contest.may(calm));
        assert_eq!(contest.due(), None);
    }

    #[test]
    fn what_happens_now_and_then_is_never_held_back() {
        let (mut contest, start) = (RestoreLimit::default(), Instant::now());
        for minute in 0..100 {
            for second in 0..9 {
                let now = start + minute * WITHIN + second * Duration::from_secs(1);
                assert!(contest.may(now) && !contest.tells());
                contest.put_back(now);
            }
        }
        assert!(!contest.goes_on(start + 100 * WITHIN));
    }
}
