//! Limits log-ins that the server leaves undecided, so that no account gets locked. No I/O.

use std::time::{Duration, Instant};

use crate::failure::UndecidedLogin;

/// Undecided log-ins in a row, over all servers of a profile, before [`PAUSE`] applies.
const FREE: u32 = 2;

/// Time between two log-ins after [`FREE`] undecided ones. Windows locks an account for 30 minutes by default,
/// and forgets failed log-ins after the same time.
const PAUSE: Duration = Duration::from_secs(30 * 60);

/// The log-ins since the last one that the server accepted.
#[derive(Debug, Default)]
pub struct LoginLimit {
    undecided: u32,
    last: Option<(Instant, UndecidedLogin)>,
}

impl LoginLimit {
    /// Counts a log-in that the server has not decided. Returns whether it confirms the previous one: a server
    /// that refuses the credentials on two connections in a row, and sends no valid Success, means it.
    pub fn count(&mut self, now: Instant, how: UndecidedLogin) -> bool {
        self.undecided = self.undecided.saturating_add(1);
        let before = self.last.replace((now, how));
        how == UndecidedLogin::Refused && before.is_some_and(|(_, before)| before == how)
    }

    /// Starts over: the server has accepted the credentials.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns how long the next log-in has to wait; `None` if it is allowed now.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let (last, _) = self.last.filter(|_| self.undecided >= FREE)?;
        let until = last + PAUSE;
        Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_log_ins_are_free_and_the_next_ones_wait() {
        let mut limit = LoginLimit::default();
        let start = Instant::now();
        for _ in 0..FREE {
            assert_eq!(limit.wait(start), None);
            assert!(!limit.count(start, UndecidedLogin::Unanswered));
        }
        assert_eq!(limit.wait(start), Some(PAUSE));
        let later = start + PAUSE;
        assert_eq!(limit.wait(later), None);
        assert!(!limit.count(later, UndecidedLogin::Refused));
        assert_eq!(limit.wait(later), Some(PAUSE), "one each time");
        assert!(limit.count(later, UndecidedLogin::Refused), "a repeated refusal is confirmed");
        limit.reset();
        assert_eq!(limit.wait(later), None);
    }
}
