//! Network phase: addresses, beside the negotiation of encryption, and the moment at which packets may pass.
//!
//! IPCP takes effect only once it is decided whether the link is encrypted: with encryption required, when MPPE is
//! open in both directions. It may be negotiated before. A server starts it beside CCP, as accel-ppp and Windows do. A
//! client sends its request right after it has acknowledged the peer's CCP request: pppd opens IPCP when that arrives.
//! With encryption required it answers nothing in IPCP before the peer has sent a CCP packet: accel-ppp opens the link
//! as soon as IPCP is open, and rejects CCP from then on, if the first CCP request was lost. An earlier request of the
//! peer is kept, so that the peer need not retransmit it.

use std::time::Instant;

use super::{DownReason, InterfaceIds, Link, LinkDrop, LinkEvent, LinkUp, Phase, Role};
use crate::ppp::{
    auth::printable,
    automaton::{Automaton, Finish, Input, Signal, State},
    wire::{code, protocol},
};

/// Longest early request that is kept, in bytes.
const HELD_MAX: usize = 256;

/// The last Configure-Request of each network protocol that arrived too early to be answered.
#[derive(Debug, Default)]
pub(super) struct EarlyRequests {
    pub ccp: Option<Vec<u8>>,
    ipcp: Option<Vec<u8>>,
    ipv6cp: Option<Vec<u8>>,
}

/// Progress of IPCP and IPV6CP in the network phase.
#[derive(Debug, Default)]
pub(super) struct Addressing {
    /// IPCP has been started.
    is_started: bool,
    /// IPV6CP has been started, if it is used.
    is_ipv6_started: bool,
    /// The peer has sent a CCP packet since the phase began.
    pub is_ccp_seen: bool,
    /// Something has happened since our last IPCP request at which peers open their IPCP.
    may_repeat: bool,
    /// Why IPCP failed before encryption was decided, which goes first.
    failure: Option<String>,
}

impl Link {
    pub(super) fn receive_ipcp(&mut self, now: Instant, packet: &[u8]) -> Result<(), LinkDrop> {
        match self.phase {
            Phase::Authenticate => {
                return keep_request(&mut self.early_requests.ipcp, packet, LinkDrop::WrongPhase);
            }
            Phase::Network => {}
            _ => return Err(LinkDrop::WrongPhase),
        }
        let is_request = packet.first() == Some(&code::CONFIGURE_REQUEST);
        if is_request || !self.requires_encryption() {
            self.start_addressing(now);
        }
        if self.awaits_ccp() {
            return keep_request(&mut self.early_requests.ipcp, packet, LinkDrop::BeforeEncryption);
        }
        let handled = self.ipcp.handle_input(now, packet);
        self.addressing.may_repeat |= is_request;
        match handled {
            Input::Done => self.echo.received = true,
            Input::Extra(_) => return Err(LinkDrop::MalformedPacket),
            Input::Dropped(why) => return Err(why.into()),
        }
        self.confirmation.answered(protocol::IPCP, packet);
        Ok(())
    }

    pub(super) fn receive_ipv6cp(&mut self, now: Instant, packet: &[u8]) -> Result<(), LinkDrop> {
        let is_started = self.addressing.is_ipv6_started;
        let Some(ipv6cp) = &mut self.ipv6cp else { return self.reject_protocol(protocol::IPV6CP, packet) };
        match self.phase {
            Phase::Authenticate => {
                return keep_request(&mut self.early_requests.ipv6cp, packet, LinkDrop::WrongPhase);
            }
            Phase::Network if !is_started => {
                return keep_request(&mut self.early_requests.ipv6cp, packet, LinkDrop::BeforeEncryption);
            }
            Phase::Network => {}
            _ => return Err(LinkDrop::WrongPhase),
        }
        match ipv6cp.handle_input(now, packet) {
            Input::Done => self.echo.received = true,
            Input::Extra(_) => return Err(LinkDrop::MalformedPacket),
            Input::Dropped(why) => return Err(why.into()),
        }
        Ok(())
    }

    /// Starts IPCP on a server, at the begin of the phase.
    pub(super) fn begin_addressing(&mut self, now: Instant) {
        if !self.is_client() {
            self.start_addressing(now);
        }
    }

    /// Handles a CCP packet of the peer: IPCP may begin if the answer to it, or the peer's answer to our request, is an
    /// agreement so far.
    pub(super) fn ccp_seen(&mut self, now: Instant) {
        self.addressing.is_ccp_seen = true;
        let agreed = self.ccp.as_ref().is_some_and(|ccp| {
            matches!(ccp.state(), State::AckSent | State::AckRcvd | State::Opened)
                && ccp.options().refusal().is_none()
        });
        if self.is_client() && agreed {
            self.start_addressing(now);
            self.answer_early_requests(now);
        }
    }

    /// Starts the address protocols, or lets them take effect, once encryption is decided.
    pub(super) fn encryption_decided(&mut self, now: Instant) {
        self.start_addressing(now);
        self.start_ipv6(now);
        self.answer_early_requests(now);
        self.addressing.may_repeat = true;
        self.check_up();
    }

    fn is_client(&self) -> bool {
        matches!(self.config.role, Role::Client(_))
    }

    /// Returns whether required encryption is neither decided nor, as far as is known, being negotiated by the peer.
    fn awaits_ccp(&self) -> bool {
        self.is_client()
            && self.requires_encryption()
            && self.cipher.is_undecided()
            && !self.addressing.is_ccp_seen
    }

    fn start_addressing(&mut self, now: Instant) {
        if std::mem::replace(&mut self.addressing.is_started, true) {
            return;
        }
        self.ipcp.set_reject_limit(usize::from(self.lcp.options().peer().mru));
        self.ipcp.expect_response_time(self.lcp.response_time());
        self.ipcp.open(now);
        self.ipcp.lower_up(now);
        if !self.requires_encryption() {
            self.start_ipv6(now);
        }
        self.answer_early_requests(now);
    }

    fn start_ipv6(&mut self, now: Instant) {
        if std::mem::replace(&mut self.addressing.is_ipv6_started, true) {
            return;
        }
        if let Some(ipv6cp) = &mut self.ipv6cp {
            ipv6cp.set_reject_limit(usize::from(self.lcp.options().peer().mru));
            ipv6cp.expect_response_time(self.lcp.response_time());
            ipv6cp.open(now);
            ipv6cp.lower_up(now);
        }
    }

    /// Handles the requests that came too early, as far as they can be answered now.
    fn answer_early_requests(&mut self, now: Instant) {
        if self.addressing.is_started
            && !self.awaits_ccp()
            && let Some(early) = self.early_requests.ipcp.take()
        {
            self.replay(protocol::IPCP, now, &early);
        }
        if self.addressing.is_ipv6_started
            && let Some(early) = self.early_requests.ipv6cp.take()
        {
            self.replay(protocol::IPV6CP, now, &early);
        }
    }

    pub(super) fn pump_ipcp(&mut self, now: Instant) -> bool {
        let mut busy = false;
        loop {
            if self.ipcp.is_closed_at_peer() && std::mem::take(&mut self.addressing.may_repeat) {
                self.ipcp.repeat_request(now);
            }
            let is_early = self.requires_encryption() && self.cipher.is_undecided();
            if let Some(words) = self.addressing.failure.take_if(|_| !is_early) {
                self.fail(now, DownReason::NoAddress(words));
                return true;
            }
            if let Some(packet) = self.ipcp.poll_output() {
                self.send(protocol::IPCP, &packet);
                continue;
            }
            if self.phase == Phase::Network
                && !is_early
                && let Some(words) = self.ipcp.options().refusal().map(str::to_owned)
            {
                self.fail(now, DownReason::NoAddress(words));
                return true;
            }
            let Some(signal) = self.ipcp.poll_signal() else { return busy };
            busy = true;
            match signal {
                Signal::Up => self.check_up(),
                Signal::Down if self.ipcp.state().negotiating() => self.ipcp_restarted(now),
                Signal::Down => self.addresses_unavailable(now, "the peer ended IPCP".to_owned()),
                Signal::Finished(finish) => self.addresses_unavailable(now, ipcp_end(finish).to_owned()),
                Signal::TerminateRequested(reason) => {
                    let said = printable(&reason);
                    self.addresses_unavailable(
                        now,
                        format!("the peer ended IPCP {said}").trim_end().to_owned(),
                    );
                }
                Signal::Started | Signal::CodeRejected(_) => {}
            }
        }
    }

    fn ipcp_restarted(&mut self, now: Instant) {
        if std::mem::take(&mut self.up) {
            self.phase_end = now.checked_add(self.config.timing.network);
            self.counters.renegotiations = self.counters.renegotiations.saturating_add(1);
            self.event(LinkEvent::Renegotiating);
        }
    }

    fn addresses_unavailable(&mut self, now: Instant, words: String) {
        if self.phase == Phase::Network
            && !self.up
            && self.requires_encryption()
            && self.cipher.is_undecided()
        {
            self.addressing.failure.get_or_insert(words);
            return;
        }
        let reason = if self.up { DownReason::PeerTerminated(words) } else { DownReason::NoAddress(words) };
        self.fail(now, reason);
    }

    pub(super) fn pump_ipv6cp(&mut self) -> bool {
        let mut busy = false;
        while let Some(packet) = self.ipv6cp.as_mut().and_then(Automaton::poll_output) {
            self.send(protocol::IPV6CP, &packet);
        }
        while let Some(signal) = self.ipv6cp.as_mut().and_then(Automaton::poll_signal) {
            busy = true;
            match (signal, self.interface_ids()) {
                (Signal::Up, Some(ids)) if self.up => self.event(LinkEvent::Ipv6Up(ids)),
                (Signal::Down, _) if self.up => self.event(LinkEvent::Ipv6Down),
                _ => {}
            }
        }
        busy
    }

    fn check_up(&mut self) {
        if self.up || self.cipher.is_undecided() || !self.ipcp.is_opened() {
            return;
        }
        self.up = true;
        self.restarts = 0;
        self.phase_end = None;
        let ipcp = self.ipcp.options();
        let up = LinkUp {
            local: ipcp.local(),
            peer: ipcp.peer().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
            dns: ipcp.dns(),
            wins: ipcp.wins(),
            ipv6: self.interface_ids(),
            mtu: self.mtu(),
            mppe: self.cipher.mppe(),
            auth: self.authenticated,
        };
        self.event(LinkEvent::Up(up));
    }

    /// Returns whether IPV6CP may still open: it was started, and the peer has neither agreed to it nor
    /// rejected it (RFC 5072 §4).
    #[must_use]
    pub fn is_ipv6_undecided(&self) -> bool {
        self.ipv6cp.as_ref().is_some_and(|ipv6cp| ipv6cp.state().negotiating())
    }

    fn interface_ids(&self) -> Option<InterfaceIds> {
        let ipv6cp = self.ipv6cp.as_ref().filter(|ipv6cp| ipv6cp.is_opened())?;
        Some(InterfaceIds { local: ipv6cp.options().local(), peer: ipv6cp.options().peer() })
    }
}

/// Keeps a Configure-Request for later; drops any other packet for the reason `otherwise`.
pub(super) fn keep_request(
    slot: &mut Option<Vec<u8>>,
    packet: &[u8],
    otherwise: LinkDrop,
) -> Result<(), LinkDrop> {
    if packet.first() != Some(&code::CONFIGURE_REQUEST) || packet.len() > HELD_MAX {
        return Err(otherwise);
    }
    *slot = Some(packet.to_vec());
    Ok(())
}

fn ipcp_end(finish: Finish) -> &'static str {
    match finish {
        Finish::Timeout => "the peer does not answer IPCP",
        Finish::Terminated => "the peer ended IPCP",
        Finish::Rejected => "the peer does not support IPv4 (it rejects IPCP)",
        Finish::NotConverging => "the two ends do not agree on an address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_request_is_kept_up_to_the_limit() {
        let request = |length| {
            let mut packet = vec![0; length];
            packet[0] = code::CONFIGURE_REQUEST;
            packet
        };
        let mut slot = None;
        assert_eq!(
            keep_request(&mut slot, &request(HELD_MAX + 1), LinkDrop::WrongPhase),
            Err(LinkDrop::WrongPhase)
        );
        assert_eq!(
            keep_request(&mut slot, &[code::CONFIGURE_ACK, 1, 0, 4], LinkDrop::WrongPhase),
            Err(LinkDrop::WrongPhase)
        );
        assert_eq!(slot, None);
        for length in [4, HELD_MAX] {
            assert_eq!(keep_request(&mut slot, &request(length), LinkDrop::WrongPhase), Ok(()));
            assert_eq!(slot.as_ref().map(Vec::len), Some(length));
        }
    }
}
