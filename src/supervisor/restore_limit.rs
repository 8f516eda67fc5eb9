//! Rate-limits restoring routes and rules that another program keeps deleting. No I/O.
//!
//! A program that assumes it owns the host's routes and rules may delete ours whenever they return. A few
//! restorations a minute are then enough: neither program makes progress, and both keep the machine busy.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Maximum number of restorations within [`PERIOD`].
pub const MAX_RESTORES: usize = 10;

/// The period to which [`MAX_RESTORES`] applies.
pub const PERIOD: Duration = Duration::from_secs(60);

/// The recent restorations.
#[derive(Clone, Debug, Default)]
pub struct RestoreLimit {
    put_back: VecDeque<Instant>,
    /// Whether the limit was reached at the last attempt.
    held_back: bool,
    /// Whether the user has been warned.
    told: bool,
}

impl RestoreLimit {
    /// Returns whether missing routes may be restored now; if not, [`RestoreLimit::next_timeout`] returns when.
    pub fn may(&mut self, now: Instant) -> bool {
        while self.put_back.front().is_some_and(|at| now.saturating_duration_since(*at) >= PERIOD) {
            self.put_back.pop_front();
        }
        self.told &= !self.put_back.is_empty();
        self.held_back = self.put_back.len() >= MAX_RESTORES;
        !self.held_back
    }

    /// Records a restoration.
    pub fn put_back(&mut self, now: Instant) {
        self.put_back.push_back(now);
    }

    /// Returns when to try again after a restoration was refused, and why.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let oldest = self.put_back.front().filter(|_| self.held_back)?;
        Some((*oldest + PERIOD, "routes may be restored again"))
    }

    /// Returns whether to warn the user: once, until there has been a quiet period.
    pub fn take_warning(&mut self) -> bool {
        self.held_back && !std::mem::replace(&mut self.told, true)
    }

    /// Returns whether a conflict that was warned of continues.
    #[must_use]
    pub fn is_in_conflict(&self, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < PERIOD;
        self.told && self.put_back.iter().any(lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restoring_is_limited_with_one_warning() {
        let (mut limit, start) = (RestoreLimit::default(), Instant::now());
        let (mut restorations, mut warnings) = (0, 0);
        // The other program deletes them every 100 ms, for ten minutes.
        for tick in 0..6000_u32 {
            let now = start + tick * Duration::from_millis(100);
            if limit.next_timeout().is_some_and(|(due, _)| due > now) {
                continue;
            }
            if limit.may(now) {
                limit.put_back(now);
                restorations += 1;
            }
            warnings += u32::from(limit.take_warning());
        }
        assert_eq!((restorations, warnings), (100, 1));
        assert!(limit.is_in_conflict(start + 10 * PERIOD));
        let later = start + 12 * PERIOD;
        assert!(!limit.is_in_conflict(later) && limit.may(later));
        assert_eq!(limit.next_timeout(), None);
    }

    #[test]
    fn occasional_restoring_is_never_refused() {
        let (mut limit, start) = (RestoreLimit::default(), Instant::now());
        for minute in 0..100 {
            for second in 0..9 {
                let now = start + minute * PERIOD + second * Duration::from_secs(1);
                assert!(limit.may(now) && !limit.take_warning());
                limit.put_back(now);
            }
        }
        assert!(!limit.is_in_conflict(start + 100 * PERIOD));
    }
}
