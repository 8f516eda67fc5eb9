//! Delay before the next dial: exponential, capped, with jitter. No I/O.

use std::time::Duration;

/// The retry policy of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Wait before the first new attempt; doubled with each consecutive failure.
    pub first: Duration,
    /// Upper limit of a wait, before jitter.
    pub max: Duration,
    /// Consecutive failures before giving up; `None` never gives up.
    pub attempts: Option<u32>,
    /// Each wait is shortened or lengthened at random by up to this many percent.
    pub jitter_percent: u8,
}

/// The policy and the number of consecutive failures.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: Policy,
    failures: u32,
}

impl Backoff {
    /// Returns a backoff without failures.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Returns the wait after this many failures in a row whose cause no new attempt removes: `retry.max` after the
    /// second, doubled with each further one, up to `limit`.
    #[must_use]
    pub fn lengthened(&self, failures: u32, limit: Duration) -> Duration {
        match failures.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => {
                let longest = self.policy.max.max(limit);
                self.policy.max.saturating_mul(1_u32 << doublings.min(20)).min(longest)
            }
        }
    }

    /// Replaces the policy; the failures until now count.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Resets the number of failures, after the tunnel was up.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure. Returns how long to wait now, or `None` to give up. `random` determines the jitter.
    pub fn next(&mut self, random: u16) -> Option<Duration> {
        if self.policy.attempts.is_some_and(|most| self.failures >= most) {
            return None;
        }
        let doublings = self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let base = self.policy.first.saturating_mul(1_u32 << doublings).min(self.policy.max);
        Some(jittered(base, self.policy.jitter_percent, random))
    }
}

/// Returns `base` times a factor spread evenly over 1 ± percent.
fn jittered(base: Duration, percent: u8, random: u16) -> Duration {
    let spread = f64::from(percent.min(100)) / 100.0;
    let position = f64::from(random) / f64::from(u16::MAX) * 2.0 - 1.0;
    base.mul_f64(1.0 + spread * position)
}

#[cfg(test)]
impl Backoff {
    /// Returns the number of consecutive failures.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        attempts: None,
        jitter_percent: 20,
    };

    #[test]
    fn wait_doubles_up_to_the_cap_until_reset() {
        let mut backoff = Backoff::new(Policy { jitter_percent: 0, ..POLICY });
        let waits: Vec<u64> = (0..9).map(|_| backoff.next(0).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next(0).unwrap().as_secs(), 1);
    }

    #[test]
    fn jitter_stays_within_its_percent() {
        for random in [0, 1, 30_000, u16::MAX] {
            let wait = Backoff::new(POLICY).next(random).unwrap().as_secs_f64();
            assert!((0.8..=1.2).contains(&wait), "{wait}");
        }
        assert!(Backoff::new(POLICY).next(0) < Backoff::new(POLICY).next(u16::MAX));
    }

    #[test]
    fn gives_up_after_the_configured_attempts() {
        let mut backoff = Backoff::new(Policy { attempts: Some(2), ..POLICY });
        assert!(backoff.next(0).is_some());
        assert!(backoff.next(0).is_some());
        assert_eq!(backoff.next(0), None);
        assert_eq!(Backoff::new(Policy { attempts: Some(0), ..POLICY }).next(0), None);
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut backoff = Backoff::new(POLICY);
        for _ in 0..1000 {
            assert!(backoff.next(u16::MAX).unwrap() <= Duration::from_secs(72));
        }
    }
}
