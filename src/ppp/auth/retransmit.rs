//! Retransmission timer and time limit of an exchange, for both ends.

use std::time::{Duration, Instant};

use super::Timing;
use crate::deadline::Deadline;

/// The timers of one exchange.
#[derive(Debug)]
pub(super) struct Retransmit {
    timing: Timing,
    started: Instant,
    sent: u32,
    wait: Duration,
    resend_at: Option<Instant>,
}

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Resend,
    GiveUp,
}

impl Retransmit {
    pub(super) const fn new(timing: Timing, now: Instant) -> Self {
        Self { timing, started: now, sent: 0, wait: timing.retransmit, resend_at: None }
    }

    /// Starts a new exchange.
    #[cfg(any(feature = "fuzzing", test))]
    pub(super) const fn restart(&mut self, now: Instant) {
        *self = Self::new(self.timing, now);
    }

    /// Starts another packet of the same exchange.
    pub(super) const fn another_packet(&mut self) {
        self.sent = 0;
        self.wait = self.timing.retransmit;
    }

    /// Records a transmission and schedules the next one.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = self.sent.saturating_add(1);
        self.resend_at = (self.sent < self.timing.attempts).then(|| now + self.wait);
        self.wait = (self.wait * 2).min(self.timing.retransmit_max);
    }

    /// Returns how often the packet has been sent.
    pub(super) const fn transmissions(&self) -> u32 {
        self.sent
    }

    /// Stops retransmission after a reply.
    pub(super) const fn answered(&mut self) {
        self.resend_at = None;
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        if now >= self.end() {
            Due::GiveUp
        } else if self.resend_at.is_some_and(|due| now >= due) {
            Due::Resend
        } else {
            Due::Nothing
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Deadline> {
        Some(match self.resend_at {
            Some(due) if due < self.end() => (due, "authentication retransmission"),
            _ => (self.end(), "authentication limit"),
        })
    }

    fn end(&self) -> Instant {
        self.started + self.timing.limit
    }
}
