//! Whether the server is still there, after the network under the tunnel has changed or this host has slept.
//!
//! LCP Echo and the control connection's echo are asked at once, and again and again for less than a second: a dead
//! path is left as soon as that is known, and not when the ordinary echoes have run out.

use std::time::{Duration, Instant};

use super::{Call, Session};
use crate::engine::{
    failure::{Failure, FailureKind, Phase},
    message::plain,
};

/// How long the server has to show itself, at least.
const LIMIT: Duration = Duration::from_millis(800);

/// On a slow path: so many round trips, but never longer than [`LONGEST`].
const ROUND_TRIPS: u32 = 4;

/// More than that nobody wants to wait for a path that is most likely dead.
const LONGEST: Duration = Duration::from_secs(5);

/// How long until it is asked again.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) struct LivenessCheck {
    since: Instant,
    again: Instant,
    until: Instant,
    /// Something was heard, though not the answer: it has been given more time once.
    extended: bool,
}

impl LivenessCheck {
    pub(super) fn next_timeout(&self) -> Instant {
        self.again.min(self.until)
    }
}

impl Session {
    /// Sees whether the server is still there: an answer is due within about a second, or it ends as lost. Nothing
    /// is done before the link is up: until then everything has a limit of its own.
    pub fn probe(&mut self, now: Instant) {
        if !self.is_up() {
            return;
        }
        self.doubt =
            Some(LivenessCheck { since: now, again: now, until: now + self.patience(), extended: false });
        self.control.probe(now);
        self.settle_doubt(now);
        self.after(now);
    }

    /// The server has answered an LCP Echo.
    pub(super) fn answered(&mut self, now: Instant) {
        let asked = self.proof.as_ref().map(|proof| proof.began);
        let asked = asked.or_else(|| self.doubt.as_ref().map(|doubt| doubt.since));
        if let Some(asked) = asked {
            self.round_trip = Some(now.saturating_duration_since(asked));
        }
        if self.doubt.take().is_some() {
            tracing::info!("the server answers: the tunnel goes on");
        }
        self.proven(now);
    }

    /// Asks again, or draws the conclusion, when it is time to.
    pub(super) fn settle_doubt(&mut self, now: Instant) {
        let patience = self.patience();
        let (Some(doubt), Some(Call { link, last_heard, .. })) = (&mut self.doubt, &mut self.call) else {
            return;
        };
        if doubt.until > now {
            if doubt.again <= now {
                doubt.again = now + AGAIN;
                link.probe(now);
            }
            return;
        }
        // What was on its way when the network changed says nothing.
        let lately = doubt.until - patience / 2;
        let heard = last_heard.is_some_and(|at| at > lately);
        let heard = heard || (self.round_trip.is_none() && self.control.heard_after(doubt.since));
        // One that answers no LCP Echo at all shows itself in another way.
        if heard && self.round_trip.is_none() {
            self.doubt = None;
        } else if heard && !doubt.extended {
            doubt.extended = true;
            doubt.until = now + patience;
        } else {
            let waited = now.saturating_duration_since(doubt.since).as_secs_f32();
            self.doubt = None;
            self.lost(now, &format!("the network has changed, and no answer came within {waited:.1} s"));
        }
    }

    fn patience(&self) -> Duration {
        self.round_trip.map_or(LIMIT, |one| (one * ROUND_TRIPS).clamp(LIMIT, LONGEST))
    }

    /// Ends at once: nobody is there who could take part in a polite end.
    fn lost(&mut self, now: Instant, words: &str) {
        if self.ending.is_none() {
            self.ending = Some(Failure::new(Phase::Up, FailureKind::PeerLost, plain(words)));
            self.control.give_up();
            self.after(now);
        }
    }
}
