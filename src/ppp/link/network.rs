//! Network phase: its begin and end, and encryption. `addresses` has the rest.

use std::time::Instant;

use super::{
    Cipher, DownReason, Link, LinkDrop, LinkEvent, Mppe, Phase,
    addresses::{Addressing, EarlyRequests, keep_request},
    confirmation::Confirmation,
    ending::termination_words,
};
use crate::ppp::{
    automaton::{Automaton, Finish, Input, Signal},
    ccp::{Agreed, Ccp, MppeRefusal},
    mppe::{Demand, Keys, Opener, Sealer},
    wire::{Packet, code, protocol},
};

/// Most times that CCP may open. Each time MPPE restarts with the same keys, and so with the same key stream
/// (RFC 3079 §4), so a peer that keeps renegotiating is dropped.
const CCP_OPENINGS_MAX: u32 = 16;

impl Link {
    pub(super) fn enter_network(&mut self, now: Instant) {
        self.phase = Phase::Network;
        self.phase_end = now.checked_add(self.config.timing.network);
        let policy = self.config.mppe;
        let available = self.keys.as_ref().map_or(0, Keys::supported_bits) & self.supported_strengths();
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
        self.begin_addressing(now);
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
        // The signals of these two layers need no handling: both are known to be down. What IPCP has ready to send
        // belongs to the phase that is over.
        while self.ipcp.poll_signal().is_some() || self.ipcp.poll_output().is_some() {}
        while self.ipv6cp.as_mut().is_some_and(|ipv6cp| ipv6cp.poll_signal().is_some()) {}
        if had_ipv6 {
            self.event(LinkEvent::Ipv6Down);
        }
        self.addressing = Addressing::default();
        self.confirmation = Confirmation::default();
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
            Input::Done => {
                self.confirmation.answered(protocol::CCP, packet);
                self.ccp_seen(now);
                Ok(())
            }
            Input::Dropped(why) => Err(why.into()),
            Input::Extra(packet) if ccp.is_opened() => self.receive_reset(packet),
            Input::Extra(_) => Err(LinkDrop::WrongPhase),
        }?;
        self.echo.received = true;
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
        self.encryption_decided(now);
    }

    pub(super) fn replay(&mut self, number: u16, now: Instant, packet: &[u8]) {
        let handled = match number {
            protocol::CCP => self.receive_ccp(now, packet),
            protocol::IPCP => self.receive_ipcp(now, packet),
            _ => self.receive_ipv6cp(now, packet),
        };
        if let Err(reason) = handled {
            self.counters.drop(reason);
        }
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
                if self.config.kernel_data {
                    self.unreadable = None;
                }
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

fn ccp_end(finish: Finish) -> &'static str {
    match finish {
        Finish::Timeout => "the peer does not answer the negotiation of encryption",
        Finish::Terminated => "the peer ended the negotiation of encryption",
        Finish::Rejected => "the peer does not support encryption (it rejects CCP)",
        Finish::NotConverging => "the two ends do not agree on MPPE options",
    }
}
