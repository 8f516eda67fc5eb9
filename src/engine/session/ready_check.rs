//! The proof that the server's end of the link is open as well: an LCP Echo (RFC 1661 §5.8) that it answers.
//!
//! IPCP is open for us when we have acknowledged and are acknowledged; our last Configure-Ack may still be on its way,
//! and a packet that overtakes it finds a door still shut.

use std::time::{Duration, Instant};

use super::Session;
use crate::engine::message::LinkUp;

/// How long the server may take to show that it is through with IPCP; one that answers no LCP Echo is believed
/// after that.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// How long until it is asked once more.
const AGAIN: Duration = Duration::from_millis(250);

pub(super) struct ReadyCheck {
    /// What there is to tell once it is given.
    up: LinkUp,
    pub began: Instant,
    again: Instant,
    until: Instant,
    /// It was given; only IPV6CP, which the profile wants, is not decided yet.
    given: bool,
}

impl ReadyCheck {
    pub(super) fn next_timeout(&self) -> Instant {
        if self.given { self.until } else { self.again.min(self.until) }
    }
}

impl Session {
    /// The link is up for us.
    pub(super) fn begin_proof(&mut self, now: Instant, up: LinkUp) {
        self.proof = Some(ReadyCheck { up, began: now, again: now, until: now + LIMIT, given: false });
        self.prove(now);
    }

    /// Asks for the proof when it is time to, or does without.
    pub(super) fn prove(&mut self, now: Instant) {
        let (Some(proof), Some(call)) = (&mut self.proof, &mut self.call) else { return };
        if proof.until <= now {
            if !proof.given {
                tracing::info!("the server answers no LCP Echo; taken to be up");
            }
            self.complete(now);
        } else if proof.again <= now && !proof.given {
            proof.again = now + AGAIN;
            call.link.probe(now);
        }
    }

    /// The server is through with IPCP: what is sent now arrives.
    pub(super) fn proven(&mut self, now: Instant) {
        if let Some(proof) = &mut self.proof {
            proof.given = true;
            self.ipv6_decided(now);
        }
    }

    /// IPV6CP has opened, after IPCP. Later than the proof it is of no use any more: routes follow the first word.
    pub(super) fn ipv6_opened(&mut self, identifiers: (u64, u64)) {
        match &mut self.proof {
            Some(proof) => proof.up.ipv6 = Some(identifiers),
            None => tracing::warn!("the server agreed to IPv6 too late: none until the next dial"),
        }
    }

    /// Goes on if nothing is waited for but whether there will be IPv6, and that is known.
    pub(super) fn ipv6_decided(&mut self, now: Instant) {
        let undecided = self.call.as_ref().is_some_and(|call| call.link.is_ipv6_undecided());
        if self.proof.as_ref().is_some_and(|proof| proof.given && (proof.up.ipv6.is_some() || !undecided)) {
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Instant) {
        if let (Some(ReadyCheck { up, .. }), None) = (self.proof.take(), &self.ending) {
            self.ask_for_offers(now, up);
        }
    }
}
