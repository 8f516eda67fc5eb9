//! Whether the peer has processed our last Configure-Ack: packets that we send from then on find its side open.
//!
//! Frames are processed in order. So any answer to a packet that was sent after the Configure-Ack shows it: to a new
//! Configure-Request, or to an LCP Echo-Request (RFC 1661 §5.8).

use super::{Link, LinkEvent, Phase, Role};
use crate::ppp::{
    automaton::State,
    wire::{Packet, code, protocol},
};

/// What was sent, and answered, since our last Configure-Ack in CCP or IPCP.
#[derive(Debug, Default)]
pub(super) struct Confirmation {
    /// Nothing that was sent after the last Configure-Ack has been answered.
    is_pending: bool,
    /// Identifier of the Echo-Request that was sent after it.
    echo: Option<u8>,
    /// The last Configure-Request of CCP and of IPCP.
    requests: [Option<Request>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Request {
    id: u8,
    /// Its first copy was sent after our last Configure-Ack.
    is_after_ack: bool,
}

impl Confirmation {
    /// Records a packet that is sent.
    pub fn sent(&mut self, number: u16, packet: &[u8]) {
        let Some(at) = index(number) else { return };
        match packet {
            [code::CONFIGURE_ACK, ..] => {
                self.is_pending = true;
                self.echo = None;
                for request in self.requests.iter_mut().flatten() {
                    request.is_after_ack = false;
                }
            }
            [code::CONFIGURE_REQUEST, id, ..] => {
                if let Some(slot) = self.requests.get_mut(at)
                    && slot.is_none_or(|last| last.id != *id)
                {
                    *slot = Some(Request { id: *id, is_after_ack: true });
                }
            }
            _ => {}
        }
    }

    /// Records a packet of the peer that was accepted.
    pub fn answered(&mut self, number: u16, packet: &[u8]) {
        let [code::CONFIGURE_ACK | code::CONFIGURE_NAK | code::CONFIGURE_REJECT, id, ..] = packet else {
            return;
        };
        let request = index(number).and_then(|at| self.requests.get(at).copied().flatten());
        if request.is_some_and(|request| request.is_after_ack && request.id == *id) {
            self.is_pending = false;
        }
    }
}

fn index(number: u16) -> Option<usize> {
    match number {
        protocol::CCP => Some(0),
        protocol::IPCP => Some(1),
        _ => None,
    }
}

impl Link {
    /// Returns whether the peer has processed our last Configure-Ack; otherwise [`LinkEvent::Confirmed`] may follow.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        !self.confirmation.is_pending
    }

    /// Sends an Echo-Request after a Configure-Ack if no other request will follow: ours in IPCP has all that the peer
    /// gave before. The answer then comes with that to our request.
    pub(super) fn confirm_early(&mut self) {
        let is_client = matches!(self.config.role, Role::Client(_));
        let agrees = |state| matches!(state, State::AckSent | State::Opened);
        if !is_client
            || self.phase != Phase::Network
            || self.up
            || !self.confirmation.is_pending
            || self.confirmation.echo.is_some()
            || !agrees(self.ipcp.state())
            || !self.ccp.as_ref().is_none_or(|ccp| agrees(ccp.state()))
            || !self.ipcp.options().is_from_memory()
        {
            return;
        }
        let magic = self.lcp.options().magic().to_be_bytes();
        self.counters.echoes_sent = self.counters.echoes_sent.saturating_add(1);
        self.confirmation.echo = Some(self.lcp.send_new(code::ECHO_REQUEST, &magic));
        self.flush_lcp();
    }

    /// Handles an Echo-Reply to [`Link::confirm_early`]; returns whether it is one.
    pub(super) fn confirmed_by(&mut self, reply: Packet<'_>) -> bool {
        if self.confirmation.echo != Some(reply.id) {
            return false;
        }
        self.confirmation.echo = None;
        self.counters.echoes_answered = self.counters.echoes_answered.saturating_add(1);
        if std::mem::take(&mut self.confirmation.is_pending) && self.up {
            self.event(LinkEvent::Confirmed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: [u8; 4] = [code::CONFIGURE_ACK, 1, 0, 4];
    const fn request(id: u8) -> [u8; 4] {
        [code::CONFIGURE_REQUEST, id, 0, 4]
    }
    const fn answer(id: u8) -> [u8; 4] {
        [code::CONFIGURE_NAK, id, 0, 4]
    }

    #[test]
    fn answer_to_a_request_after_the_ack_confirms_it() {
        let mut confirmation = Confirmation::default();
        confirmation.sent(protocol::IPCP, &request(1));
        confirmation.sent(protocol::CCP, &ACK);
        confirmation.answered(protocol::IPCP, &answer(1));
        assert!(confirmation.is_pending, "the request was sent before");
        confirmation.sent(protocol::IPCP, &request(2));
        confirmation.answered(protocol::CCP, &answer(2));
        assert!(confirmation.is_pending, "an answer in another protocol");
        confirmation.answered(protocol::IPCP, &answer(2));
        assert!(!confirmation.is_pending);
    }

    #[test]
    fn copy_of_an_earlier_request_confirms_nothing() {
        let mut confirmation = Confirmation::default();
        confirmation.sent(protocol::IPCP, &request(1));
        confirmation.sent(protocol::CCP, &ACK);
        confirmation.sent(protocol::IPCP, &request(1));
        confirmation.answered(protocol::IPCP, &answer(1));
        assert!(confirmation.is_pending, "the answer may be to the first copy");
    }
}
