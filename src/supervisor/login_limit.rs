//! Limits log-ins that the server leaves undecided, so that no account gets locked. No I/O.

use std::time::{Duration, Instant};

use crate::failure::{Failure, FailureKind, UndecidedLogin};

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
    /// When authentication began whose outcome is not known yet.
    pending: Option<Instant>,
}

/// The state of these log-ins for a later supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginState {
    /// Undecided log-ins in a row. One under way counts: its supervisor may be killed before it is decided.
    pub undecided: u32,
    /// When the last of them was made.
    pub last: Instant,
    /// How it ended.
    pub how: UndecidedLogin,
}

impl LoginLimit {
    /// Counts a log-in that the server has not decided. Returns whether it confirms the previous one: a server
    /// that refuses the credentials on two connections in a row, and sends no valid Success, means it.
    pub fn count(&mut self, now: Instant, how: UndecidedLogin) -> bool {
        self.pending = None;
        self.undecided = self.undecided.saturating_add(1);
        let before = self.last.replace((now, how));
        how == UndecidedLogin::Refused && before.is_some_and(|(_, before)| before == how)
    }

    /// Starts over: the server has accepted the credentials.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Handles the start of authentication: the credentials may be sent from now on.
    pub fn begin(&mut self, now: Instant) {
        self.pending = Some(now);
    }

    /// Handles the end of an attempt that [`LoginLimit::count`] does not count: no credentials were sent, or the
    /// server has decided.
    pub fn settle(&mut self) {
        self.pending = None;
    }

    /// Returns the state to store for a later supervisor; `None` if there is no undecided log-in.
    #[must_use]
    pub fn state(&self) -> Option<LoginState> {
        let (last, how) = match (self.pending, self.last) {
            (Some(pending), _) => (pending, UndecidedLogin::Unanswered),
            (None, last) => last?,
        };
        let undecided = self.undecided.saturating_add(u32::from(self.pending.is_some()));
        Some(LoginState { undecided, last, how })
    }

    /// Continues with the state of an earlier supervisor, whose last log-in was this long ago.
    pub fn restore(&mut self, now: Instant, undecided: u32, how: UndecidedLogin, age: Duration) {
        self.undecided = undecided;
        // Before the boot: the pause is over in any case.
        self.last = now.checked_sub(age).map(|last| (last, how));
    }

    /// Counts time for which the host was suspended and which [`Instant`] did not count.
    pub fn add_suspended(&mut self, slept: Duration) {
        let earlier = |at: Instant| at.checked_sub(slept).unwrap_or(at);
        self.last = self.last.map(|(last, how)| (earlier(last), how));
    }

    /// Returns how long the next log-in has to wait; `None` if it is allowed now.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let (last, _) = self.last.filter(|_| self.undecided >= FREE)?;
        let until = last + PAUSE;
        Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }
}

/// Returns the failure of a redial by an external PPP daemon. A daemon accepts every refusal of the
/// credentials, and any host can forge one, so the first one is not final; a second one is
/// ([`LoginLimit::count`]).
#[must_use]
pub fn of_daemon_redial(failure: Failure) -> Failure {
    if failure.kind == FailureKind::AuthenticationFailed {
        failure.undecided(UndecidedLogin::Refused)
    } else {
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Phase, Remedy};

    #[test]
    fn daemons_refusal_on_a_redial_must_be_repeated() {
        let refusal = || Failure::new(Phase::Authentication, FailureKind::AuthenticationFailed, "691");
        let first = of_daemon_redial(refusal());
        assert_eq!(first.undecided_login, Some(UndecidedLogin::Refused));
        assert_eq!(first.remedy(), Remedy::AnotherServer);
        assert!(first.hints.iter().any(|hint| hint.contains("a second one is final")), "{first:?}");

        let mut limit = LoginLimit::default();
        let now = Instant::now();
        assert!(!limit.count(now, UndecidedLogin::Refused), "the first refusal is final");
        assert!(limit.count(now, UndecidedLogin::Refused), "the second refusal is not final");
        let confirmed = first.confirmed();
        assert_eq!((confirmed.remedy(), confirmed.undecided_login), (Remedy::Nothing, None));
    }

    #[test]
    fn other_ends_of_a_daemon_are_unchanged() {
        for kind in FailureKind::ALL.into_iter().filter(|kind| *kind != FailureKind::AuthenticationFailed) {
            let failure = Failure::new(Phase::Encryption, kind, "");
            assert_eq!(of_daemon_redial(failure.clone()), failure, "{kind:?}");
        }
        // Undecided already: an end without an answer is no refusal.
        let unanswered = Failure::new(Phase::Authentication, FailureKind::PeerEnded, "")
            .undecided(UndecidedLogin::Unanswered);
        assert_eq!(of_daemon_redial(unanswered.clone()), unanswered);
    }

    #[test]
    fn later_supervisor_continues_the_count() {
        let now = Instant::now();
        let mut first = LoginLimit::default();
        assert_eq!(first.state(), None);
        first.begin(now);
        let pending = first.state().unwrap();
        assert_eq!((pending.undecided, pending.last), (1, now), "its supervisor may be killed now");
        first.settle();
        assert_eq!(first.state(), None, "no credentials were sent");
        first.begin(now);
        first.count(now, UndecidedLogin::Unanswered);
        first.begin(now);
        let LoginState { undecided, how, .. } = first.state().unwrap();
        assert_eq!(undecided, FREE);
        let mut second = LoginLimit::default();
        second.restore(now, undecided, how, Duration::from_secs(60));
        assert_eq!(second.wait(now), Some(PAUSE - Duration::from_secs(60)));
        second.restore(now, undecided, how, Duration::from_secs(1 << 40));
        assert_eq!(second.wait(now), None);
        second.reset();
        assert_eq!(second.state(), None);
    }

    #[test]
    fn pause_runs_while_the_host_is_suspended() {
        let now = Instant::now();
        let mut limit = LoginLimit::default();
        limit.count(now, UndecidedLogin::Unanswered);
        limit.count(now, UndecidedLogin::Unanswered);
        assert_eq!(limit.wait(now), Some(PAUSE));
        limit.add_suspended(Duration::from_secs(10));
        assert_eq!(limit.wait(now), Some(PAUSE - Duration::from_secs(10)));
    }

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
