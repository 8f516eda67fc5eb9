//! Network phase: encryption first, then addresses, then data.
//!
//! IPCP starts once it is decided whether the link is encrypted. With encryption required, that is when MPPE
//! is open in both directions; an earlier request of the peer is kept and answered then, so that the peer
//! need not retransmit it. With encryption allowed, IPCP also starts when the peer's does.

use std::time::Instant;

use super::{
    Cipher, DownReason, InterfaceIds, Link, LinkDrop, LinkEvent, LinkUp, Mppe, Phase,
    ending::termination_words,
};
use crate::ppp::{
    auth::printable,
    automaton::{Automaton, Finish, Input, Signal},
    ccp::{Agreed, Ccp, MppeRefusal},
    mppe::{Demand, Keys, Opener, Sealer},
    wire::{Packet, code, protocol},
};

/// Most times that CCP may open. Each time MPPE restarts with the same keys, and so with the same key stream
/// (RFC 3079 §4), so a peer that keeps renegotiating is dropped.
const CCP_OPENINGS_MAX: u32 = 16;

/// Longest early request that is kept, in bytes.
const HELD_MAX: usize = 256;

/// The last Configure-Request of each network protocol that arrived too early to be answered.
#[derive(Debug, Default)]
pub(super) struct EarlyRequests {
    ccp: Option<Vec<u8>>,
    ipcp: Option<Vec<u8>>,
    ipv6cp: Option<Vec<u8>>,
}

impl Link {
    pub(super) fn enter_network(&mut self, now: Instant) {
        self.phase = Phase::Network;
        self.phase_end = now.checked_add(self.config.timing.network);
        let policy = self.config.mppe;
        let available = self.keys.as_ref().map_or(0, Keys::supported_bits);
        let ccp = Ccp::new(policy, available);
        match (policy.demand, ccp.possible()) {
            (Demand::Require, false) => {
                let refused_all = self.authenticated.is_none() && !self.lcp.options().offered().is_empty();
                let reason = if refused_all { self.no_common_auth() } else { self.no_keys() };
                return self.fail(now, reason);
            }
            (Demand::Off, _) | (Demand::Allow, false) => return self.set_cipher(now, Cipher::Clear),
            (Demand::Allow, true) => {
                self.ccp_patience_end = now.checked_add(self.config.timing.ccp_patience);
            }
            (Demand::Require, true) => {}
        }
        let mut ccp =
            Automaton::new(ccp, self.config.timing.negotiation.with_retries_for(self.config.timing.network));
        ccp.set_reject_limit(usize::from(self.lcp.options().peer().mru));
        ccp.expect_response_time(self.lcp.response_time());
        ccp.open(now);
        ccp.lower_up(now);
        self.ccp = Some(ccp);
        if let Some(early) = self.early_requests.ccp.take() {
            self.replay(protocol::CCP, now, &early);
        }
    }

    /// Stops everything above LCP, which went down.
    pub(super) fn leave(&mut self, now: Instant) {
        let had_ipv6 = self.ipv6cp.as_ref().is_some_and(Automaton::is_opened);
        self.auth = None;
        self.authenticated = None;
        self.keys = None;
        self.ccp = None;
        self.ipcp.lower_down(now);
        if let Some(ipv6cp) = &mut self.ipv6cp {
            ipv6cp.lower_down(now);
        }
        // The signals of these two layers need no handling: both are known to be down.
        while self.ipcp.poll_signal().is_some() {}
        while self.ipv6cp.as_mut().is_some_and(|ipv6cp| ipv6cp.poll_signal().is_some()) {}
        if had_ipv6 {
            self.event(LinkEvent::Ipv6Down);
        }
        self.addressing = false;
        self.rejected = None;
        self.unreadable = None;
        self.early_requests = EarlyRequests::default();
        self.cipher = Cipher::Undecided;
        self.reported = None;
        self.ccp_openings = 0;
        self.up = false;
        self.ccp_patience_end = None;
        self.echo.next = None;
    }

    pub(super) fn receive_ccp(&mut self, now: Instant, packet: &[u8]) -> Result<(), LinkDrop> {
        if self.phase == Phase::Authenticate {
            return keep_request(&mut self.early_requests.ccp, packet, LinkDrop::WrongPhase);
        }
        if self.phase != Phase::Network {
            return Err(LinkDrop::WrongPhase);
        }
        let Some(ccp) = &mut self.ccp else { return self.reject_protocol(protocol::CCP, packet) };
        let handled = ccp.handle_input(now, packet);
        self.mppe_offered |= ccp.options().offered();
        match handled {
            Input::Done => Ok(()),
            Input::Dropped(why) => Err(why.into()),
            Input::Extra(packet) if ccp.is_opened() => self.receive_reset(packet),
            Input::Extra(_) => Err(LinkDrop::WrongPhase),
        }?;
        self.echo.received = true;
        Ok(())
    }

    pub(super) fn receive_ipcp(&mut self, now: Instant, packet: &[u8]) -> Result<(), LinkDrop> {
        match self.phase {
            Phase::Authenticate => {
                return keep_request(&mut self.early_requests.ipcp, packet, LinkDrop::WrongPhase);
            }
            Phase::Network => {}
            _ => return Err(LinkDrop::WrongPhase),
        }
        if !self.addressing {
            if self.requires_encryption() {
                return keep_request(&mut self.early_requests.ipcp, packet, LinkDrop::BeforeEncryption);
            }
            self.start_addressing(now);
        }
        match self.ipcp.handle_input(now, packet) {
            Input::Done => self.echo.received = true,
            Input::Extra(_) => return Err(LinkDrop::MalformedPacket),
            Input::Dropped(why) => return Err(why.into()),
        }
        Ok(())
    }

    pub(super) fn receive_ipv6cp(&mut self, now: Instant, packet: &[u8]) -> Result<(), LinkDrop> {
        let addressing = self.addressing;
        let Some(ipv6cp) = &mut self.ipv6cp else { return self.reject_protocol(protocol::IPV6CP, packet) };
        match self.phase {
            Phase::Authenticate => {
                return keep_request(&mut self.early_requests.ipv6cp, packet, LinkDrop::WrongPhase);
            }
            Phase::Network if !addressing => {
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

    pub(super) fn pump_network(&mut self, now: Instant) -> bool {
        let mut busy = self.pump_ccp(now);
        busy |= self.pump_ipcp(now);
        busy |= self.pump_ipv6cp();
        busy
    }

    /// Handles a peer that does not react to CCP, if encryption is not required.
    pub(super) fn ccp_timed_out(&mut self, now: Instant) {
        if self.config.mppe.demand == Demand::Allow && self.cipher.is_undecided() {
            self.set_cipher(now, Cipher::Clear);
        }
    }

    fn pump_ccp(&mut self, now: Instant) -> bool {
        let mut busy = false;
        loop {
            if self.phase != Phase::Network {
                return busy;
            }
            // Checked before sending: if the refusal ends the link, the request that follows it is not sent.
            let refusal = self.ccp.as_ref().and_then(|ccp| ccp.options().refusal().map(str::to_owned));
            self.mppe_refusal =
                self.ccp.as_ref().and_then(|ccp| ccp.options().refused()).or(self.mppe_refusal);
            if let Some(words) = refusal.filter(|_| self.cipher.is_undecided()) {
                self.encryption_unavailable(now, words);
                busy = true;
                continue;
            }
            let Some(ccp) = &mut self.ccp else { return busy };
            if let Some(packet) = ccp.poll_output() {
                self.send(protocol::CCP, &packet);
                continue;
            }
            let Some(signal) = ccp.poll_signal() else { return busy };
            let renegotiating = ccp.state().negotiating();
            busy = true;
            match signal {
                Signal::Up => self.ccp_up(now),
                Signal::Down if renegotiating => self.ccp_restarted(now),
                Signal::Down => self.encryption_unavailable(now, "the peer ended CCP".to_owned()),
                Signal::Finished(Finish::Timeout) => {
                    self.without_encryption(now, DownReason::EncryptionTimeout);
                }
                Signal::Finished(Finish::Rejected) if self.mppe_refusal == Some(MppeRefusal::Protocol) => {
                    let words = "the peer does not support encryption: it rejects CCP as a whole (LCP Protocol-Reject of 80FD)";
                    self.encryption_unavailable(now, words.to_owned());
                }
                Signal::Finished(Finish::Terminated) => {
                    self.without_encryption(now, DownReason::EncryptionEnded(String::new()));
                }
                Signal::Finished(finish) => self.encryption_unavailable(now, ccp_end(finish).to_owned()),
                Signal::TerminateRequested(data) => {
                    let reason = self.ccp_terminated(&data);
                    self.without_encryption(now, reason);
                }
                Signal::Started | Signal::CodeRejected(_) => {}
            }
        }
    }

    /// Returns the reason for a link on which the peer has ended CCP. That alone refuses nothing: a server that
    /// restarts or is out of memory does the same.
    fn ccp_terminated(&self, data: &[u8]) -> DownReason {
        let (words, about_encryption) = termination_words(data);
        let refused = self.ccp.as_ref().and_then(|ccp| ccp.options().refusal());
        match (refused, about_encryption) {
            (Some(refused), _) => DownReason::EncryptionRefused(refused.to_owned()),
            (None, true) => DownReason::EncryptionRefused(format!("the peer ended CCP: {words}")),
            (None, false) => DownReason::EncryptionEnded(words),
        }
    }

    fn ccp_up(&mut self, now: Instant) {
        let (Some(ccp), Some(keys)) = (&self.ccp, &self.keys) else { return };
        self.ccp_openings = self.ccp_openings.saturating_add(1);
        if self.ccp_openings > CCP_OPENINGS_MAX {
            return self.fail(now, DownReason::EncryptionLost);
        }
        let (send, receive) = (ccp.options().send(), ccp.options().receive());
        let sealer = send.and_then(|one| Sealer::new(keys, one.strength, one.stateful));
        let opener = receive
            .and_then(|one| Opener::new(keys, one.strength, one.stateful))
            .map(|opener| opener.beginning_at(self.lost.0));
        let mppe = Mppe::of(send, receive);
        match (sealer, opener, mppe) {
            (Some(sealer), Some(opener), Some(mppe)) => {
                self.set_cipher(now, Cipher::both(sealer, opener, mppe))
            }
            _ if self.requires_encryption() => {
                self.encryption_unavailable(now, "the peer wants one direction unencrypted".to_owned());
            }
            (None, None, _) => self.set_cipher(now, Cipher::Clear),
            (sealer, opener, _) => self.set_cipher(now, Cipher::On { sealer, opener, mppe: None }),
        }
    }

    /// Handles a renegotiation of CCP by the peer. On an encrypted link, nothing is sent until it is
    /// complete.
    fn ccp_restarted(&mut self, now: Instant) {
        if self.cipher.is_on() {
            self.cipher = Cipher::Undecided;
            self.phase_end = now.checked_add(self.config.timing.network);
        }
    }

    fn encryption_unavailable(&mut self, now: Instant, words: String) {
        self.without_encryption(now, DownReason::EncryptionRefused(words));
    }

    /// Continues or ends the link, which has no encryption or has lost it. `reason` ends it if there was none.
    fn without_encryption(&mut self, now: Instant, reason: DownReason) {
        if self.phase != Phase::Network {
            return;
        }
        match self.config.mppe.demand {
            _ if self.was_encrypted => self.fail(now, DownReason::EncryptionLost),
            Demand::Require if self.ccp_openings > 0 => self.fail(now, DownReason::EncryptionLost),
            Demand::Require => self.fail(now, reason),
            Demand::Allow | Demand::Off => self.set_cipher(now, Cipher::Clear),
        }
    }

    /// Decides how packets are sent. Only this function can set a link to clear text.
    fn set_cipher(&mut self, now: Instant, cipher: Cipher) {
        if self.requires_encryption() && !cipher.is_on() {
            return self.fail(now, DownReason::EncryptionLost);
        }
        let mppe = cipher.mppe();
        self.was_encrypted |= cipher.is_on();
        self.cipher = cipher;
        self.ccp_patience_end = None;
        if self.up {
            self.phase_end = None;
        }
        if self.reported != Some(mppe) {
            self.reported = Some(mppe);
            self.event(LinkEvent::Encryption(mppe));
            // The owner reports what is in force, and the MTU has changed with it.
            self.up = false;
        }
        self.start_addressing(now);
        self.check_up();
    }

    fn start_addressing(&mut self, now: Instant) {
        if std::mem::replace(&mut self.addressing, true) {
            return;
        }
        let limit = usize::from(self.lcp.options().peer().mru);
        self.ipcp.set_reject_limit(limit);
        self.ipcp.expect_response_time(self.lcp.response_time());
        self.ipcp.open(now);
        self.ipcp.lower_up(now);
        if let Some(ipv6cp) = &mut self.ipv6cp {
            ipv6cp.set_reject_limit(limit);
            ipv6cp.expect_response_time(self.lcp.response_time());
            ipv6cp.open(now);
            ipv6cp.lower_up(now);
        }
        for number in [protocol::IPCP, protocol::IPV6CP] {
            let early = if number == protocol::IPCP {
                self.early_requests.ipcp.take()
            } else {
                self.early_requests.ipv6cp.take()
            };
            if let Some(early) = early {
                self.replay(number, now, &early);
            }
        }
    }

    fn replay(&mut self, number: u16, now: Instant, packet: &[u8]) {
        let handled = match number {
            protocol::CCP => self.receive_ccp(now, packet),
            protocol::IPCP => self.receive_ipcp(now, packet),
            _ => self.receive_ipv6cp(now, packet),
        };
        if let Err(reason) = handled {
            self.counters.drop(reason);
        }
    }

    fn pump_ipcp(&mut self, now: Instant) -> bool {
        let mut busy = false;
        loop {
            if let Some(packet) = self.ipcp.poll_output() {
                self.send(protocol::IPCP, &packet);
                continue;
            }
            if self.phase == Phase::Network
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
        let reason = if self.up { DownReason::PeerTerminated(words) } else { DownReason::NoAddress(words) };
        self.fail(now, reason);
    }

    fn pump_ipv6cp(&mut self) -> bool {
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

    /// Handles CCP's own codes (RFC 1962 §3.1).
    fn receive_reset(&mut self, packet: Packet<'_>) -> Result<(), LinkDrop> {
        match (packet.code, &mut self.cipher) {
            (code::RESET_REQUEST, Cipher::On { sealer: Some(sealer), opener, .. }) => {
                if let Some(style) = opener.as_ref().and_then(Opener::reset_style) {
                    sealer.set_reset_style(style);
                }
                sealer.handle_reset_request();
                // RFC 3078 has no Reset-Ack, but Linux's receiver discards everything until it gets one.
                if let Some(ccp) = &mut self.ccp {
                    ccp.send(code::RESET_ACK, packet.id, &[]);
                }
                Ok(())
            }
            (code::RESET_ACK, Cipher::On { opener: Some(opener), .. }) => {
                opener.handle_reset_ack();
                Ok(())
            }
            _ => Err(LinkDrop::WrongPhase),
        }
    }
}

impl Mppe {
    /// Summarises both directions: the weaker key, and stateful if either is.
    fn of(send: Option<Agreed>, receive: Option<Agreed>) -> Option<Self> {
        let (send, receive) = (send?, receive?);
        Some(Self {
            strength: send.strength.min(receive.strength),
            stateful: send.stateful || receive.stateful,
        })
    }
}

/// Keeps a Configure-Request for later; drops any other packet for the reason `otherwise`.
fn keep_request(slot: &mut Option<Vec<u8>>, packet: &[u8], otherwise: LinkDrop) -> Result<(), LinkDrop> {
    if packet.first() != Some(&code::CONFIGURE_REQUEST) || packet.len() > HELD_MAX {
        return Err(otherwise);
    }
    *slot = Some(packet.to_vec());
    Ok(())
}

fn ccp_end(finish: Finish) -> &'static str {
    match finish {
        Finish::Timeout => "the peer does not answer the negotiation of encryption",
        Finish::Terminated => "the peer ended the negotiation of encryption",
        Finish::Rejected => "the peer does not support encryption (it rejects CCP)",
        Finish::NotConverging => "the two ends do not agree on MPPE options",
    }
}

fn ipcp_end(finish: Finish) -> &'static str {
    match finish {
        Finish::Timeout => "the peer does not answer IPCP",
        Finish::Terminated => "the peer ended IPCP",
        Finish::Rejected => "the peer does not support IPv4 (it rejects IPCP)",
        Finish::NotConverging => "the two ends do not agree on an address",
    }
}
