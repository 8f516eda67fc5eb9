//! Checks whether the server still answers, after the network under the tunnel has changed or this host has
//! slept.
//!
//! Sends an LCP Echo and a control connection echo at once, and repeats the LCP Echo up to a time limit of
//! usually less than a second: a dead path is abandoned long before the ordinary echoes time out.

use std::time::{Duration, Instant};

use super::{Call, Session};
use crate::deadline::Deadline;
use crate::engine::message::plain;
use crate::failure::{Failure, FailureKind, Phase};

/// Minimum time limit for the server's answer.
const LIMIT: Duration = Duration::from_millis(800);

/// Time limit on a slow path, in round trips, at most [`LONGEST`].
const ROUND_TRIPS: u32 = 4;

/// Maximum time limit: a path that is slower is most likely dead.
const LONGEST: Duration = Duration::from_secs(5);

/// Time from the first answer to a second check. FreeBSD sends packets by the old route for some tens of
/// milliseconds after a change, so that the first answer may have come on a path that no longer exists.
const SECOND_CHECK: Duration = Duration::from_millis(500);

/// Interval between LCP Echoes.
const ECHO_INTERVAL: Duration = Duration::from_millis(200);

/// Least time between two echoes of [`Session::measure`].
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct LivenessCheck {
    since: Instant,
    again: Instant,
    until: Instant,
    /// The time limit was extended once, because packets arrived but not the answer.
    extended: bool,
    /// This is the check after the first answer.
    second: bool,
}

impl LivenessCheck {
    fn new(since: Instant, limit: Duration, second: bool) -> Self {
        Self { since, again: since, until: since + limit, extended: false, second }
    }

    pub(super) fn next_timeout(&self) -> Option<Deadline> {
        Some((self.again.min(self.until), "liveness check"))
    }
}

impl Session {
    /// Checks whether the server still answers; without an answer within about a second the session ends as
    /// lost. Does nothing before the link is up: until then every phase has a time limit.
    pub fn probe(&mut self, now: Instant) {
        if !self.is_up() {
            return;
        }
        self.liveness = Some(LivenessCheck::new(now, self.answer_limit(), false));
        self.control.probe(now);
        self.poll_liveness(now);
        self.after(now);
    }

    /// Sends an LCP Echo whose answer is timed, unless one was sent a short time ago. It takes no part in the detection of
    /// a silent server. Does nothing before the link is up, nor with an external PPP.
    pub fn measure(&mut self, now: Instant) {
        let is_due = self.measured.is_none_or(|at| now.saturating_duration_since(at) >= MEASURE_INTERVAL);
        if !self.is_up() || !is_due {
            return;
        }
        let link = self.call.as_mut().and_then(|call| call.link.testable());
        if let Some(frame) = link.and_then(|link| link.timed_echo(now)) {
            self.measured = Some(now);
            self.send_short_echo(frame);
            self.after(now);
        }
    }

    /// Handles the server's answer to an LCP Echo.
    pub(super) fn answered(&mut self, now: Instant) {
        let asked = self.first_echo.take();
        // An answer before the second check is one to an earlier echo.
        let due = self.liveness.take_if(|check| check.since <= now);
        let asked = asked.or_else(|| due.as_ref().map(|check| check.since));
        if let Some(asked) = asked {
            self.round_trip = Some(now.saturating_duration_since(asked));
        }
        if due.is_some_and(|check| !check.second) {
            tracing::info!("the server answers: the tunnel stays up");
            self.liveness = Some(LivenessCheck::new(now + SECOND_CHECK, self.answer_limit(), true));
            self.search_path(now);
        }
        self.ready_confirmed();
    }

    /// Repeats the LCP Echo, or decides, when due.
    pub(super) fn poll_liveness(&mut self, now: Instant) {
        let limit = self.answer_limit();
        let (Some(check), Some(Call { link, last_heard, .. })) = (&mut self.liveness, &mut self.call) else {
            return;
        };
        if check.until > now {
            if check.again <= now {
                check.again = now + ECHO_INTERVAL;
                link.probe(now);
            }
            return;
        }
        // Packets in flight when the network changed prove nothing.
        let lately = check.until - limit / 2;
        let heard = last_heard.is_some_and(|at| at > lately);
        let heard = heard || (self.round_trip.is_none() && self.control.heard_after(check.since));
        // If the server has never answered an LCP Echo, any packet suffices.
        if heard && self.round_trip.is_none() {
            self.liveness = None;
        } else if heard && !check.extended {
            check.extended = true;
            check.until = now + limit;
        } else {
            let waited = now.saturating_duration_since(check.since).as_secs_f32();
            self.liveness = None;
            self.lost(now, &format!("the network has changed, and no answer came within {waited:.1} s"));
        }
    }

    fn answer_limit(&self) -> Duration {
        self.round_trip.map_or(LIMIT, |one| (one * ROUND_TRIPS).clamp(LIMIT, LONGEST))
    }

    /// Ends the session at once: the server cannot take part in a graceful shutdown.
    fn lost(&mut self, now: Instant, words: &str) {
        if self.ending.is_none() {
            let failure = Failure::new(Phase::Up, FailureKind::PeerLost, plain(words));
            self.ending = Some(self.with_evidence(failure));
            self.control.give_up();
            self.after(now);
        }
    }
}
