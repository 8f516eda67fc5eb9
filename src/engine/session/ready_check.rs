//! Confirms with an LCP Echo (RFC 1661 §5.8) that the server's end of the link is open as well, unless its answers have
//! shown that already ([`Link::is_confirmed`](crate::ppp::link::Link::is_confirmed)).
//!
//! IPCP is open on our side when we have sent and received a Configure-Ack. Ours may still be in flight, and
//! the server drops a data packet that overtakes it, or that comes before it has set up its device.

use std::time::{Duration, Instant};

use super::Session;
use crate::{deadline::Deadline, engine::message::LinkUp};

/// Time limit of the check. A server that answers no LCP Echo is then assumed to be up.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// Interval between LCP Echoes.
const ECHO_INTERVAL: Duration = Duration::from_millis(250);

pub(super) struct ReadyCheck {
    /// Reported once the check succeeds.
    up: LinkUp,
    again: Instant,
    until: Instant,
    /// The server has answered; only IPV6CP, which the profile wants, is not decided yet.
    confirmed: bool,
}

impl ReadyCheck {
    pub(super) fn next_timeout(&self) -> Option<Deadline> {
        Some((if self.confirmed { self.until } else { self.again.min(self.until) }, "ready check"))
    }
}

impl Session {
    /// Starts the check when the link is up on our side.
    pub(super) fn start_ready_check(&mut self, now: Instant, up: LinkUp) {
        let confirmed = self.call.as_ref().is_some_and(|call| call.link.is_confirmed());
        self.ready_check = Some(ReadyCheck { up, again: now, until: now + LIMIT, confirmed: false });
        // In any case for the round-trip time.
        self.first_echo = Some(now);
        self.poll_ready_check(now);
        if confirmed {
            self.ready_confirmed();
        }
    }

    /// Sends an LCP Echo when due; completes the check at its time limit.
    pub(super) fn poll_ready_check(&mut self, now: Instant) {
        let (Some(proof), Some(call)) = (&mut self.ready_check, &mut self.call) else { return };
        if proof.until <= now {
            if !proof.confirmed {
                tracing::info!("the server does not answer LCP echoes; assuming that the link is up");
            }
            self.complete(now);
        } else if proof.again <= now && !proof.confirmed {
            proof.again = now + ECHO_INTERVAL;
            call.link.probe(now);
        }
    }

    /// Records that IPCP is open on the server: packets sent from now on are accepted. The check is completed when the
    /// link's other events have been handled, since IPV6CP may have opened with the same packet.
    pub(super) const fn ready_confirmed(&mut self) {
        if let Some(proof) = &mut self.ready_check {
            proof.confirmed = true;
        }
    }

    /// Records that IPV6CP has opened after IPCP. Once the check is complete it is too late: addresses and
    /// routes follow from the link as reported first.
    pub(super) fn ipv6_opened(&mut self, identifiers: (u64, u64)) {
        match &mut self.ready_check {
            Some(proof) => proof.up.ipv6 = Some(identifiers),
            None => tracing::warn!("the server agreed to IPv6 too late: no IPv6 until the next dial"),
        }
    }

    /// Completes the check if the server has answered and IPV6CP is decided.
    pub(super) fn ipv6_decided(&mut self, now: Instant) {
        let undecided = self.call.as_ref().is_some_and(|call| call.link.is_ipv6_undecided());
        if self
            .ready_check
            .as_ref()
            .is_some_and(|proof| proof.confirmed && (proof.up.ipv6.is_some() || !undecided))
        {
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Instant) {
        if let (Some(ReadyCheck { up, .. }), None) = (self.ready_check.take(), &self.ending) {
            self.request_routes(now, up);
        }
    }
}
