//! Phases Establish and Authenticate: LCP's signals and its codes beyond negotiation, Echo, and
//! authentication.

use std::time::{Duration, Instant};

use super::{Authenticator, DownReason, Link, LinkDrop, LinkEvent, Phase, Role, random_bytes};
use crate::ppp::{
    auth::{self, AuthFailure},
    automaton::{Finish, Input, Signal},
    ccp::MppeRefusal,
    lcp::LcpDeadlock,
    mppe::Demand,
    wire::{FrameHeader, HEADER_LEN, Packet, code, protocol},
};

/// Most renegotiations of LCP by a peer while the link does not come up.
const RESTARTS_MAX: u32 = 5;

impl Link {
    pub(super) fn receive_lcp(&mut self, now: Instant, packet: &[u8]) -> Result<(), LinkDrop> {
        match packet.first() {
            Some(&code::CONFIGURE_REQUEST) => {
                self.peer_sent_request = true;
                self.counters.lcp_requests = self.counters.lcp_requests.saturating_add(1);
            }
            Some(&(code::CONFIGURE_ACK | code::CONFIGURE_NAK | code::CONFIGURE_REJECT)) => {
                self.counters.lcp_replies = self.counters.lcp_replies.saturating_add(1);
            }
            _ => {}
        }
        let handled = match self.lcp.handle_input(now, packet) {
            Input::Done => Ok(()),
            Input::Dropped(why) => Err(why.into()),
            Input::Extra(packet) if self.lcp.is_opened() => return self.receive_lcp_extra(now, packet),
            Input::Extra(_) => Err(LinkDrop::WrongPhase),
        };
        self.echo.received |= handled.is_ok();
        handled
    }

    pub(super) fn receive_auth(&mut self, now: Instant, number: u16, packet: &[u8]) -> Result<(), LinkDrop> {
        let handled = match &mut self.auth {
            Some(Authenticator::Client(client)) => client.handle_input(now, number, packet),
            Some(Authenticator::Server(server)) => server.handle_input(now, number, packet),
            None => return Err(LinkDrop::WrongPhase),
        };
        self.echo.received |= handled.is_ok();
        handled.map_err(LinkDrop::Auth)
    }

    /// Answers a protocol that is not supported, or not enabled, with Protocol-Reject (RFC 1661 §5.7).
    pub(super) fn reject_protocol(&mut self, number: u16, information: &[u8]) -> Result<(), LinkDrop> {
        if self.phase != Phase::Network || !self.lcp.is_opened() {
            return Err(LinkDrop::WrongPhase);
        }
        self.lcp.send_reject(code::PROTOCOL_REJECT, &number.to_be_bytes(), information);
        Err(LinkDrop::UnknownProtocol)
    }

    pub(super) fn pump_lcp(&mut self, now: Instant) -> bool {
        let mut busy = false;
        self.flush_lcp();
        while let Some(signal) = self.lcp.poll_signal() {
            busy = true;
            match signal {
                Signal::Up => self.lcp_up(now),
                Signal::Down => self.lcp_lost(now),
                Signal::Started => {}
                Signal::Finished(finish) => self.lcp_finished(finish),
                Signal::TerminateRequested(reason) => self.peer_terminates(&reason),
                Signal::CodeRejected(code) => {
                    if code == code::ECHO_REQUEST {
                        self.echo.next = None;
                    }
                }
            }
            self.flush_lcp();
        }
        if matches!(self.phase, Phase::Establish) {
            match self.lcp.options().deadlock() {
                Some(LcpDeadlock::NoCommonAuth) => {
                    let reason = self.no_common_auth();
                    self.fail(now, reason);
                    busy = true;
                }
                Some(LcpDeadlock::Looped) => {
                    self.finish(DownReason::Looped);
                    busy = true;
                }
                None => {}
            }
        }
        busy
    }

    pub(super) fn flush_lcp(&mut self) {
        while let Some(packet) = self.lcp.poll_output() {
            self.send(protocol::LCP, &packet);
        }
    }

    fn lcp_up(&mut self, now: Instant) {
        let peer = self.lcp.options().peer();
        self.header = FrameHeader { acfc: peer.acfc, pfc: peer.pfc };
        self.lcp.set_reject_limit(usize::from(peer.mru));
        let auth = match self.config.role {
            Role::Client(_) => peer.auth,
            Role::Server(_) => self.lcp.options().demanded(),
        };
        self.event(LinkEvent::LcpUp { peer_mru: peer.mru, auth });
        self.echo.unanswered = 0;
        self.echo.next = self.config.echo.and_then(|echo| now.checked_add(echo.interval));
        self.phase_end = None;
        let Some(protocol) = auth else { return self.without_auth(now) };
        self.phase = Phase::Authenticate;
        let timing = auth::Timing {
            limit: self.config.timing.auth,
            confirm: self.config.timing.confirm_refusal,
            ..auth::Timing::default()
        };
        let random = random_bytes(&mut self.config.random);
        self.auth = Some(match &self.config.role {
            Role::Client(client) => {
                let credentials = client.credentials.clone();
                Authenticator::Client(Box::new(auth::Client::new(protocol, credentials, random, now, timing)))
            }
            Role::Server(server) => {
                let users = server.users.clone();
                Authenticator::Server(Box::new(auth::Server::new(
                    protocol,
                    &server.name,
                    users,
                    random,
                    now,
                    timing,
                )))
            }
        });
    }

    /// Continues without authentication, or ends the link. With encryption required, which needs an authentication,
    /// the missing keys are the reason.
    fn without_auth(&mut self, now: Instant) {
        let refused = matches!(self.config.role, Role::Client(_))
            && !self.config.unauthenticated
            && self.config.mppe.demand != Demand::Require;
        if refused || self.lcp.options().held_back().is_some() {
            let reason = self.best_reason(DownReason::NotAuthenticated);
            self.fail(now, reason);
        } else {
            self.enter_network(now);
        }
    }

    /// Handles LCP leaving Opened: either the peer renegotiates, or a termination is in progress.
    fn lcp_lost(&mut self, now: Instant) {
        let authenticating = self.phase == Phase::Authenticate;
        let refusal = self.refusal().cloned();
        if let Some(protocol) = self.authenticated {
            // Any host can forge a request to start over; it must not lead to a weaker authentication.
            self.lcp.options_mut().accept_at_least(protocol);
        }
        self.leave(now);
        if authenticating && self.login_pending && self.phase != Phase::Terminate {
            // Another exchange on this link would be another log-in.
            let starts_over =
                || DownReason::LcpRefused("the peer starts over before it answers the log-in".to_owned());
            let unconfirmed =
                |failure| DownReason::AuthFailed(AuthFailure { is_confirmed: false, ..failure });
            let reason = refusal.map_or_else(starts_over, unconfirmed);
            return self.fail(now, reason);
        }
        if self.lcp.state().negotiating() && self.phase != Phase::Terminate {
            self.phase = Phase::Establish;
            self.phase_end = now.checked_add(self.config.timing.lcp);
            self.counters.renegotiations = self.counters.renegotiations.saturating_add(1);
            self.restarts = self.restarts.saturating_add(1);
            self.event(LinkEvent::Renegotiating);
            if self.restarts > RESTARTS_MAX {
                self.fail(
                    now,
                    DownReason::LcpRefused("the peer keeps restarting the negotiation".to_owned()),
                );
            }
        }
    }

    fn lcp_finished(&mut self, finish: Finish) {
        let reason = match finish {
            Finish::Timeout => {
                self.best_reason(DownReason::LcpTimeout { heard_anything: self.received_anything })
            }
            // Not by a Terminate-Request of either side, which have their reasons: a reject of what LCP needs.
            Finish::Terminated => self.best_reason(DownReason::LcpRefused(
                "the peer rejects LCP, with which the link was opened".to_owned(),
            )),
            Finish::Rejected => DownReason::LcpRefused("the peer rejects LCP itself".to_owned()),
            Finish::NotConverging => DownReason::LcpRefused("the peer refuses every proposal".to_owned()),
        };
        self.finish(reason);
    }

    pub(super) fn pump_auth(&mut self, now: Instant) -> bool {
        let mut busy = false;
        loop {
            let (output, event) = match &mut self.auth {
                Some(Authenticator::Client(client)) => {
                    let output = client.poll_output();
                    self.login_pending |= output.is_some() && self.phase == Phase::Authenticate;
                    (output, client.poll_event())
                }
                Some(Authenticator::Server(server)) => (server.poll_output(), server.poll_event()),
                None => return busy,
            };
            if output.is_none() && event.is_none() {
                return busy;
            }
            busy = true;
            if let Some((number, packet)) = output {
                self.send(number, &packet);
            }
            match event {
                Some(auth::AuthEvent::Success { peer_name, message, keys }) => {
                    let Some(protocol) = self.auth.as_ref().map(Authenticator::protocol) else { continue };
                    self.authenticated = Some(protocol);
                    self.login_pending = false;
                    self.keys = keys;
                    self.event(LinkEvent::Authenticated { protocol, peer_name, message });
                    self.enter_network(now);
                }
                Some(auth::AuthEvent::Failure(failure)) => self.fail(now, DownReason::AuthFailed(failure)),
                None => {}
            }
        }
    }

    /// Handles codes 8 to 13 while LCP is open.
    fn receive_lcp_extra(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), LinkDrop> {
        match packet.code {
            code::ECHO_REQUEST => self.echo_requested(packet),
            code::ECHO_REPLY => return self.echo_answered(now, packet),
            code::PROTOCOL_REJECT => self.protocol_rejected(now, packet),
            // Discard-Request, Identification and Time-Remaining need no answer.
            _ => Ok(()),
        }?;
        self.echo.received = true;
        Ok(())
    }

    fn echo_requested(&mut self, packet: Packet<'_>) -> Result<(), LinkDrop> {
        let (theirs, rest) = packet.data.split_first_chunk::<4>().ok_or(LinkDrop::MalformedPacket)?;
        let ours = self.lcp.options().magic();
        if ours != 0 && u32::from_be_bytes(*theirs) == ours {
            self.finish(DownReason::Looped);
            return Ok(());
        }
        let room = usize::from(self.lcp.options().peer().mru).saturating_sub(HEADER_LEN + theirs.len());
        let mut data = ours.to_be_bytes().to_vec();
        data.extend_from_slice(rest.get(..room).unwrap_or(rest));
        self.lcp.send(code::ECHO_REPLY, packet.id, &data);
        Ok(())
    }

    fn echo_answered(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), LinkDrop> {
        let (theirs, _) = packet.data.split_first_chunk::<4>().ok_or(LinkDrop::MalformedPacket)?;
        let ours = self.lcp.options().magic();
        let own_voice = ours != 0 && u32::from_be_bytes(*theirs) == ours;
        if !own_voice && let Some((_, sent)) = self.echo.timed.take_if(|(id, _)| *id == packet.id) {
            self.counters.round_trip = Some(now.saturating_duration_since(sent));
        }
        if !own_voice && (self.path_answered(packet.id) || self.confirmed_by(packet)) {
            return Ok(());
        }
        if self.echo.unanswered == 0 || own_voice {
            return Err(LinkDrop::UnmatchedReply);
        }
        // Does not set `heard`, so that a silent peer is probed in each interval, not in every second one.
        self.echo.unanswered = 0;
        self.counters.echoes_answered = self.counters.echoes_answered.saturating_add(1);
        if std::mem::take(&mut self.echo.probing) {
            self.event(LinkEvent::PeerAnswered);
        }
        Ok(())
    }

    /// Sends an Echo-Request now; [`LinkEvent::PeerAnswered`] follows when the peer replies. Frames are
    /// handled in order, so the reply also confirms that the peer has processed everything sent before.
    pub fn probe(&mut self, now: Instant) {
        if self.lcp.is_opened() {
            self.echo.probing = true;
            self.send_echo_request(now);
            self.pump(now);
        }
    }

    pub(super) fn check_echo(&mut self, now: Instant) {
        let Some(echo) = self.config.echo else { return };
        if !self.lcp.is_opened() {
            return;
        }
        self.echo.next = now.checked_add(echo.interval);
        if std::mem::take(&mut self.echo.received) {
            self.echo.unanswered = 0;
            return;
        }
        if self.echo.unanswered >= echo.failures {
            // The peer may still receive our frames: it gets a Terminate-Request, but the answer is not
            // awaited.
            self.lcp.close(now, "Peer not responding");
            self.flush_lcp();
            return self.finish(DownReason::EchoTimeout);
        }
        self.send_echo_request(now);
    }

    fn send_echo_request(&mut self, now: Instant) {
        self.echo.unanswered = self.echo.unanswered.saturating_add(1);
        self.counters.echoes_sent = self.counters.echoes_sent.saturating_add(1);
        let magic = self.lcp.options().magic().to_be_bytes();
        let id = self.lcp.send_new(code::ECHO_REQUEST, &magic);
        self.echo.timed = Some((id, now));
    }

    fn protocol_rejected(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), LinkDrop> {
        let (number, _) = packet.data.split_first_chunk::<2>().ok_or(LinkDrop::MalformedPacket)?;
        match u16::from_be_bytes(*number) {
            protocol::LCP => self.lcp.protocol_rejected(now),
            protocol::CCP => {
                if let Some(ccp) = &mut self.ccp {
                    self.mppe_refusal = Some(MppeRefusal::Protocol);
                    ccp.protocol_rejected(now);
                }
            }
            protocol::IPCP => self.ipcp.protocol_rejected(now),
            protocol::IPV6CP => {
                if let Some(ipv6cp) = &mut self.ipv6cp {
                    ipv6cp.protocol_rejected(now);
                }
            }
            protocol::PAP | protocol::CHAP if self.phase == Phase::Authenticate => {
                let words = "the peer rejects the authentication that was agreed";
                self.fail(now, DownReason::LcpRefused(words.to_owned()));
            }
            number if self.up && number == self.data_protocol() => self.data_rejected(now),
            // The peer is changing state, or does not want that packet. Nothing to undo.
            _ => {}
        }
        Ok(())
    }
}

/// For how long the peer may reject our data packets, and send none itself, before the link ends.
const DATA_REJECTED_MAX: Duration = Duration::from_secs(2);
/// Rejects further apart than this are unrelated.
const DATA_REJECTED_APART: Duration = Duration::from_secs(10);

impl Link {
    /// Returns the protocol number of the data packets that we send.
    fn data_protocol(&self) -> u16 {
        if self.cipher.may_seal() { protocol::COMPRESSED } else { protocol::IPV4 }
    }

    fn data_rejected(&mut self, now: Instant) {
        let recent =
            |(_, last): &(Instant, Instant)| now.saturating_duration_since(*last) < DATA_REJECTED_APART;
        let (since, _) = self.rejected.filter(recent).unwrap_or((now, now));
        self.rejected = Some((since, now));
        if now.saturating_duration_since(since) >= DATA_REJECTED_MAX {
            self.fail(now, DownReason::DataRejected);
        }
    }
}

impl Authenticator {
    fn protocol(&self) -> auth::AuthProtocol {
        match self {
            Self::Client(client) => client.protocol(),
            Self::Server(server) => server.protocol(),
        }
    }
}
