//! The search for the largest packet that the path carries, with padded LCP Echo-Requests (RFC 1661 §5.8). No I/O.
//!
//! An attempt sends a short Echo-Request, directly followed by one that is as long as a data packet of the size under
//! test. The reply to the long one, even a shortened one, shows that the size passes. Silence alone shows nothing: some
//! servers do not answer long echoes. After the wait, a second short Echo-Request ends the attempt, and the GRE headers
//! decide:
//!
//! * The server acknowledged the very packet of the long echo: it arrived.
//! * It acknowledged the short echo just before, and never the long one: that was lost on the way. This counts only if
//!   the server has acknowledged an LCP Discard-Request (RFC 1661 §5.9), which has no answer either.
//! * A number is missing between the server's packets: it did answer, and the long answer was lost.
//!
//! The full size comes first, and again if it fails; then the smallest size, then bisection. The boundary is tried
//! twice, so that a single lost packet does not decide.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::pptp::flow::Acked;

/// The smallest size that is tried, in bytes: every host must accept it (RFC 791 §3.1), and profiles allow no smaller
/// MTU.
const SMALLEST: u16 = 576;
/// The search ends when the sizes that pass and fail are this close, in bytes.
const RESOLUTION: u16 = 8;
/// The most padded echoes of one search.
const PADDED_MAX: u32 = 12;
/// How often the full size, the smallest size and the boundary are tried before they count as failed.
const TRIES: usize = 2;
/// Attempts in a row without any answer, after which the search gives up.
const DEAD_MAX: u32 = 3;
/// Observations that must agree before the path counts as limited.
const AGREEING_MIN: usize = 2;
/// Most packets of the server during an attempt whose missing numbers are attributed to it.
const QUIET_MAX: u64 = 4;
/// Minimum time between the starts of two attempts.
const SPACING: Duration = Duration::from_millis(100);
/// Time for an answer or a delayed acknowledgement, besides two round trips. Servers delay one for up to 500 ms.
const WAIT: Duration = Duration::from_millis(600);
/// Assumed round trip before one is measured.
const ROUND_TRIP: Duration = Duration::from_millis(200);
/// Maximum of the wait.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// A packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// A short Echo-Request.
    Short,
    /// An Echo-Request as long as a data packet with an IP packet of this many bytes. Its acknowledgement is watched.
    Padded(u16),
    /// A short Discard-Request. Its acknowledgement is watched.
    Discard,
}

/// Present counts of the GRE flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// What the server has acknowledged of the watched packet.
    pub acked: Acked,
    /// Packets of the server that were received.
    pub received: u64,
    /// Packets of the server that were lost.
    pub lost: u64,
}

/// Result of a search. Sizes are of IP packets in the tunnel, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The full size passes.
    Full,
    /// Larger packets are lost.
    Limited {
        /// The largest size that passed.
        passes: u16,
        /// The smallest size that failed.
        fails: u16,
        /// Whether the packets to the server are lost; otherwise those from it.
        outbound: bool,
    },
    /// Larger echoes have no answer, and nothing shows whether they are lost.
    Unanswered {
        /// The largest size that passed.
        passes: u16,
        /// The smallest size that failed.
        fails: u16,
    },
    /// The server answers no padded echo, or no echo at all.
    Unknown,
}

/// Why a size counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The packet before it was acknowledged, but not this one.
    NotAcknowledged,
    /// A packet of the server is missing.
    AnswerLost,
    /// There was no answer.
    Silent,
}

/// Outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(Failed),
    /// There was no answer to any echo.
    Dead,
}

#[derive(Debug)]
struct Attempt {
    /// The size under test; `None` tests with a Discard-Request whether acknowledgements can be relied upon.
    size: Option<u16>,
    began: Instant,
    until: Instant,
    before: Observed,
    /// What was acknowledged when the second short echo was sent, which ends the observation.
    acked: Option<Acked>,
    first: Echo,
    long: Echo,
    last: Echo,
}

/// One Echo-Request of an attempt.
#[derive(Clone, Copy, Debug, Default)]
struct Echo {
    id: Option<u8>,
    answered: bool,
}

/// One search.
#[derive(Debug)]
pub(super) struct Search {
    full: u16,
    /// The largest size that passed.
    passed: Option<u16>,
    /// The sizes above it that failed, once for each attempt.
    failed: Vec<(u16, Failed)>,
    /// Whether the server acknowledges packets that it does not answer.
    acks_reliable: bool,
    discards: usize,
    padded: u32,
    dead: u32,
    round_trip: Duration,
    next: Instant,
    attempt: Option<Attempt>,
    probes: VecDeque<Probe>,
    verdict: Option<Verdict>,
}

impl Search {
    /// Creates a search from `full`, the size of the largest IP packet that the link takes.
    pub fn new(full: u16, now: Instant) -> Self {
        Self {
            full,
            passed: None,
            failed: Vec::new(),
            acks_reliable: false,
            discards: 0,
            padded: 0,
            dead: 0,
            round_trip: ROUND_TRIP,
            next: now,
            attempt: None,
            probes: VecDeque::new(),
            verdict: None,
        }
    }

    /// Returns the next packet to send; [`Self::sent`] must follow.
    pub fn poll_probe(&mut self) -> Option<Probe> {
        self.probes.pop_front()
    }

    /// Records the identifier of the packet.
    pub fn sent(&mut self, probe: Probe, id: u8) {
        let Some(attempt) = &mut self.attempt else { return };
        let echo = match probe {
            Probe::Padded(_) => &mut attempt.long,
            Probe::Short if attempt.first.id.is_none() => &mut attempt.first,
            Probe::Short => &mut attempt.last,
            Probe::Discard => return,
        };
        *echo = Echo { id: Some(id), answered: false };
    }

    /// Returns the verdict, once.
    pub fn take_verdict(&mut self) -> Option<Verdict> {
        self.verdict.take()
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Instant {
        self.attempt.as_ref().map_or(self.next, |attempt| attempt.until)
    }

    /// Handles an Echo-Reply; its length does not matter.
    pub fn answered(&mut self, now: Instant, id: u8, seen: Observed) {
        let Some(attempt) = &mut self.attempt else { return };
        let echoes = [&mut attempt.first, &mut attempt.long, &mut attempt.last];
        let Some(echo) = echoes.into_iter().find(|echo| echo.id == Some(id)) else { return };
        echo.answered = true;
        if attempt.first.answered && attempt.acked.is_none() && !attempt.long.answered {
            self.round_trip = now.saturating_duration_since(attempt.began);
        }
        let arrived = attempt.size.is_none() && seen.acked == Acked::Exactly;
        if attempt.long.answered || attempt.last.answered || arrived {
            attempt.until = now;
            self.handle_timeout(now, seen);
        }
    }

    /// Begins an attempt, or ends one, when due.
    pub fn handle_timeout(&mut self, now: Instant, seen: Observed) {
        if self.next_timeout() > now {
            return;
        }
        let wait = (WAIT + self.round_trip * 2).min(WAIT_MAX);
        let Some(attempt) = &mut self.attempt else { return self.begin(now, wait, seen) };
        if attempt.acked.is_none() && attempt.size.is_some() && !attempt.long.answered {
            attempt.acked = Some(seen.acked);
            attempt.until = now + wait;
            self.probes.push_back(Probe::Short);
            return;
        }
        self.next = now.max(attempt.began + SPACING);
        if let Some(attempt) = self.attempt.take() {
            self.ended(&attempt, seen);
        }
    }

    fn begin(&mut self, now: Instant, wait: Duration, seen: Observed) {
        let Some(size) = self.next_size() else {
            self.verdict.get_or_insert(self.conclude());
            self.next = now + WAIT_MAX;
            return;
        };
        let probe = size.map_or(Probe::Discard, Probe::Padded);
        match probe {
            Probe::Padded(_) => self.padded += 1,
            _ => self.discards += 1,
        }
        self.probes.extend([Probe::Short, probe]);
        let echo = Echo::default();
        self.attempt = Some(Attempt {
            size,
            began: now,
            until: now + wait,
            before: seen,
            acked: None,
            first: echo,
            long: echo,
            last: echo,
        });
    }

    fn ended(&mut self, attempt: &Attempt, seen: Observed) {
        let Some(size) = attempt.size else {
            self.acks_reliable |= seen.acked == Acked::Exactly;
            return;
        };
        match attempt.outcome(seen) {
            Outcome::Passed => {
                self.dead = 0;
                self.passed = self.passed.max(Some(size));
                self.failed.retain(|(failed, _)| *failed > size);
            }
            Outcome::Failed(how) => {
                self.dead = 0;
                self.failed.push((size, how));
            }
            Outcome::Dead => self.dead += 1,
        }
    }

    /// Returns the size to try next, `Some(None)` for the test of the acknowledgements, `None` at the end.
    fn next_size(&self) -> Option<Option<u16>> {
        if self.passed == Some(self.full) || self.padded >= PADDED_MAX || self.dead >= DEAD_MAX {
            return None;
        }
        let tries = |size| self.failed.iter().filter(|(failed, _)| *failed == size).count();
        if tries(self.full) < TRIES {
            return Some(Some(self.full));
        }
        if !self.acks_reliable && self.discards < TRIES {
            return Some(None);
        }
        let Some(passed) = self.passed else {
            let smallest = SMALLEST.min(self.full);
            return (tries(smallest) < TRIES).then_some(Some(smallest));
        };
        let fails = self.smallest_failed();
        if fails - passed > RESOLUTION {
            return Some(Some(passed + (fails - passed) / 2));
        }
        (tries(fails) < TRIES).then_some(Some(fails))
    }

    /// Returns the smallest size that failed, above every size that passed.
    fn smallest_failed(&self) -> u16 {
        self.failed.iter().map(|(size, _)| *size).min().unwrap_or(self.full)
    }

    fn conclude(&self) -> Verdict {
        let count = |how| self.failed.iter().filter(|(_, failed)| *failed == how).count();
        let outbound = if self.acks_reliable { count(Failed::NotAcknowledged) } else { 0 };
        let inbound = count(Failed::AnswerLost);
        let fails = self.smallest_failed();
        match self.passed {
            Some(passes) if passes == self.full => Verdict::Full,
            Some(passes) if outbound + inbound >= AGREEING_MIN => {
                Verdict::Limited { passes, fails, outbound: outbound >= inbound }
            }
            Some(passes) => Verdict::Unanswered { passes, fails },
            None => Verdict::Unknown,
        }
    }
}

impl Attempt {
    fn outcome(&self, seen: Observed) -> Outcome {
        if self.long.answered {
            return Outcome::Passed;
        }
        let acked = self.acked.unwrap_or_default();
        let lost = seen.lost.saturating_sub(self.before.lost);
        let received = seen.received.saturating_sub(self.before.received);
        match acked {
            _ if !self.first.answered && !self.last.answered && acked != Acked::Exactly => Outcome::Dead,
            _ if lost > 0 && self.first.answered && self.last.answered && received <= QUIET_MAX => {
                Outcome::Failed(Failed::AnswerLost)
            }
            _ if lost > 0 => Outcome::Failed(Failed::Silent),
            Acked::Exactly => Outcome::Passed,
            Acked::Before if self.first.answered => Outcome::Failed(Failed::NotAcknowledged),
            _ => Outcome::Failed(Failed::Silent),
        }
    }
}

#[cfg(test)]
mod tests;
