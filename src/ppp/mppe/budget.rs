//! Limits the key changes per second that packets cause which are then dropped: any host can forge them.

use std::time::{Duration, Instant};

/// Key changes that may be wasted at once: more than two jumps over a whole round of the count.
const BURST: i64 = 9000;

/// Key changes that may be wasted in a second, in the long run: about one in a hundred of a processor's time.
const PER_SECOND: i64 = 9000;

/// Key changes that may still be wasted; below zero, the last packet needed more than were left.
#[derive(Debug)]
pub(super) struct KeyBudget {
    left: i64,
    refilled: Option<Instant>,
}

impl KeyBudget {
    pub const fn new() -> Self {
        Self { left: BURST, refilled: None }
    }

    /// Adds what the time since the last call allows.
    pub fn refill(&mut self, now: Instant) {
        if self.left == BURST {
            self.refilled = None;
            return;
        }
        let since = *self.refilled.get_or_insert(now);
        let micros = now.saturating_duration_since(since).as_micros();
        let more = i64::try_from(micros).unwrap_or(i64::MAX).saturating_mul(PER_SECOND) / 1_000_000;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            // What a whole key change has not used counts for the next one.
            let used = more.saturating_mul(1_000_000) / PER_SECOND;
            self.refilled = since.checked_add(Duration::from_micros(used.unsigned_abs()));
        }
    }

    /// Records key changes of a packet that was dropped.
    pub const fn waste(&mut self, changes: u64) {
        self.left = self.left.saturating_sub_unsigned(changes);
    }

    pub const fn is_spent(&self) -> bool {
        self.left <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_refills_with_time_and_never_beyond_its_limit() {
        let start = Instant::now();
        let mut budget = KeyBudget::new();
        budget.refill(start);
        budget.waste(BURST.unsigned_abs() + 1);
        assert!(budget.is_spent());
        budget.refill(start);
        assert!(budget.is_spent());
        // In steps that are shorter than one key change.
        for millis in 1..=100 {
            budget.refill(start + Duration::from_millis(millis));
        }
        assert!(budget.left.abs_diff(PER_SECOND / 10) <= 2, "{}", budget.left);
        budget.refill(start + Duration::from_secs(3600));
        assert_eq!(budget.left, BURST);
    }
}
