//! The side that authenticates its peer (RFC 1334 and RFC 1994 call it the authenticator).

use std::{collections::VecDeque, fmt, time::Instant};

use super::{
    AuthDrop, AuthEvent, AuthFailure, AuthProtocol, FailureKind, Timing, Users,
    packet::{Packet, chap, pap, put_length_prefixed, split_length_prefixed},
    retransmit::{Due, Retransmit},
    text::printable,
};
use crate::{
    deadline::Deadline,
    ppp::{crypto, mppe},
    secret::Secret,
};

/// Authenticates the peer.
pub struct Server {
    protocol: AuthProtocol,
    name: String,
    users: Users,
    challenge: [u8; 16],
    retransmit: Retransmit,
    state: ServerState,
    identifier: u8,
    /// Identifier and packet of the last reply, repeated if the peer retransmits (RFC 1994 §4.2).
    last_reply: Option<(u8, Vec<u8>)>,
    output: Option<Vec<u8>>,
    events: VecDeque<AuthEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerState {
    /// Waiting for the first request or response.
    Asking,
    Accepted,
    /// Waiting for the response to a renewed challenge.
    #[cfg(any(feature = "fuzzing", test))]
    AskingAgain,
    Failed,
}

/// The result of checking a request or response.
enum CheckResult {
    Right { message: Vec<u8>, keys: Option<mppe::Keys> },
    Wrong,
}

/// ERROR_AUTHENTICATION_FAILURE (RFC 2759 §6).
const AUTHENTICATION_FAILURE: u32 = 691;

impl Server {
    /// Starts the exchange: CHAP sends its challenge at once, PAP waits for the request. `name` is the
    /// server's name in the challenge; `challenge` must be random (MS-CHAPv1 uses its first eight bytes, PAP
    /// none).
    #[must_use]
    pub fn new(
        protocol: AuthProtocol,
        name: &str,
        users: Users,
        challenge: [u8; 16],
        now: Instant,
        timing: Timing,
    ) -> Self {
        let mut server = Self {
            protocol,
            name: name.to_owned(),
            users,
            challenge,
            retransmit: Retransmit::new(timing, now),
            state: ServerState::Asking,
            identifier: 0,
            last_reply: None,
            output: None,
            events: VecDeque::new(),
        };
        if protocol != AuthProtocol::Pap {
            server.send_challenge(now);
        }
        server
    }

    /// Processes a packet of PPP protocol `protocol`, without its PPP header.
    ///
    /// # Errors
    /// Returns the reason if the packet was dropped.
    pub fn handle_input(&mut self, _now: Instant, protocol: u16, packet: &[u8]) -> Result<(), AuthDrop> {
        if protocol != self.protocol.ppp_protocol() {
            return Err(AuthDrop::WrongProtocol);
        }
        let packet = Packet::parse(packet)?;
        match (self.protocol, packet.code) {
            (AuthProtocol::Pap, pap::REQUEST) => self.handle_request(packet),
            (AuthProtocol::Pap, _) => Err(AuthDrop::UnexpectedCode),
            (_, chap::RESPONSE) => self.handle_response(packet),
            _ => Err(AuthDrop::UnexpectedCode),
        }
    }

    /// Authenticates the peer again on a link that is up (RFC 1994 §2), with a fresh random challenge. A
    /// correct response is not reported and changes no key. Does nothing for PAP or before the first success.
    #[cfg(any(feature = "fuzzing", test))]
    pub fn rechallenge(&mut self, now: Instant, challenge: [u8; 16]) {
        if self.state == ServerState::Accepted && self.protocol != AuthProtocol::Pap {
            self.challenge = challenge;
            self.state = ServerState::AskingAgain;
            self.retransmit.restart(now);
            self.identifier = self.identifier.wrapping_add(1);
            self.send_challenge(now);
        }
    }

    /// Retransmits or times out, as due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.is_asking() {
            return;
        }
        match self.retransmit.due(now) {
            Due::GiveUp => self.fail(AuthFailure::new(FailureKind::Timeout, self.protocol)),
            Due::Resend => self.send_challenge(now),
            Due::Nothing => {}
        }
    }

    /// Returns when [`Self::handle_timeout`] is due, and for which timer.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        if self.is_asking() { self.retransmit.next_timeout() } else { None }
    }

    /// Returns the next packet to send: PPP protocol number, and the packet without PPP header.
    pub fn poll_output(&mut self) -> Option<(u16, Vec<u8>)> {
        self.output.take().map(|packet| (self.protocol.ppp_protocol(), packet))
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<AuthEvent> {
        self.events.pop_front()
    }

    /// Returns the protocol in use.
    #[must_use]
    pub fn protocol(&self) -> AuthProtocol {
        self.protocol
    }

    fn is_asking(&self) -> bool {
        !matches!(self.state, ServerState::Accepted | ServerState::Failed)
    }

    fn send_challenge(&mut self, now: Instant) {
        let length = if self.protocol == AuthProtocol::MsChapV1 { crypto::SHORT_CHALLENGE } else { 16 };
        let mut data = Vec::with_capacity(1 + length + self.name.len());
        let whole = put_length_prefixed(&mut data, self.challenge.get(..length).unwrap_or_default());
        data.extend(self.name.as_bytes());
        self.output = whole.and_then(|()| {
            Packet { code: chap::CHALLENGE, identifier: self.identifier, data: &data }.encode()
        });
        self.retransmit.sent(now);
    }

    fn handle_request(&mut self, packet: Packet<'_>) -> Result<(), AuthDrop> {
        let (name, rest) = split_length_prefixed(packet.data)?;
        let (password, _) = split_length_prefixed(rest)?;
        if !self.is_asking() {
            // Our reply was lost: repeat it with the identifier of this request.
            let code = if self.state == ServerState::Failed { pap::NAK } else { pap::ACK };
            self.output = Packet { code, identifier: packet.identifier, data: &[0] }.encode();
            return Ok(());
        }
        let judgement = match self.lookup(name) {
            Some(right) if crypto::constant_time_eq(right.expose(), password) => {
                CheckResult::Right { message: Vec::new(), keys: None }
            }
            _ => CheckResult::Wrong,
        };
        self.send_reply(packet.identifier, name, judgement);
        Ok(())
    }

    fn handle_response(&mut self, packet: Packet<'_>) -> Result<(), AuthDrop> {
        let (value, name) = split_length_prefixed(packet.data)?;
        if packet.identifier != self.identifier {
            return Err(AuthDrop::StaleIdentifier);
        }
        if !self.is_asking() {
            if let Some((identifier, verdict)) = &self.last_reply
                && *identifier == packet.identifier
            {
                self.output = Some(verdict.clone());
                return Ok(());
            }
            return Err(AuthDrop::UnexpectedCode);
        }
        let expected = match self.protocol {
            AuthProtocol::Pap => return Err(AuthDrop::UnexpectedCode),
            AuthProtocol::ChapMd5 => 16,
            AuthProtocol::MsChapV1 | AuthProtocol::MsChapV2 => 49,
        };
        if value.len() != expected {
            return Err(AuthDrop::BadValue);
        }
        let judgement = match self.lookup(name) {
            Some(secret) => self.check_response(packet.identifier, value, name, secret.expose()),
            None => CheckResult::Wrong,
        };
        self.send_reply(packet.identifier, name, judgement);
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Option<&Secret> {
        self.users.lookup(&String::from_utf8_lossy(name))
    }

    fn check_response(&self, identifier: u8, value: &[u8], name: &[u8], password: &[u8]) -> CheckResult {
        let wrong = CheckResult::Wrong;
        match self.protocol {
            AuthProtocol::Pap => wrong,
            AuthProtocol::ChapMd5 => {
                let right = crypto::chap_md5(identifier, password, &self.challenge);
                if crypto::constant_time_eq(&right, value) {
                    accepted_with(b"Access granted", None)
                } else {
                    wrong
                }
            }
            AuthProtocol::MsChapV1 => {
                let ([.., 1], Some(sent), Some(challenge)) =
                    (value, field(value, crypto::NT_RESPONSE), field(&self.challenge, 0))
                else {
                    return wrong;
                };
                let hash = crypto::NtHash::of(password);
                let right: [u8; crypto::NT_RESPONSE] = crypto::challenge_response(&challenge, &hash);
                if !crypto::constant_time_eq(&right, &sent as &[u8; crypto::NT_RESPONSE]) {
                    return wrong;
                }
                let lm = crypto::LmHash::of(password);
                accepted_with(
                    b"Access granted",
                    Some(mppe::Keys::from_ms_chap_v1(&hash, lm.as_ref(), &challenge)),
                )
            }
            AuthProtocol::MsChapV2 => {
                let (Some(peer), Some(sent)) = (field(value, 0), field(value, 24)) else { return wrong };
                let hash = crypto::NtHash::of(password);
                let right = crypto::nt_response(&peer, &self.challenge, name, &hash);
                if !crypto::constant_time_eq(&right, &sent as &[u8; crypto::NT_RESPONSE]) {
                    return wrong;
                }
                let proof = crypto::authenticator_response(&hash, &right, &peer, &self.challenge, name);
                let message = [proof.as_slice(), b" M=Access granted"].concat();
                accepted_with(&message, Some(mppe::Keys::from_ms_chap_v2(mppe::End::Server, &hash, &right)))
            }
        }
    }

    fn send_reply(&mut self, identifier: u8, name: &[u8], judgement: CheckResult) {
        let (code, text) = match &judgement {
            CheckResult::Right { message, .. } => (chap::SUCCESS, message.clone()),
            CheckResult::Wrong => (chap::FAILURE, self.failure_text()),
        };
        let packet = if self.protocol == AuthProtocol::Pap {
            let code = if code == chap::SUCCESS { pap::ACK } else { pap::NAK };
            Packet { code, identifier, data: &[0] }.encode()
        } else {
            Packet { code, identifier, data: &text }.encode()
        };
        self.last_reply = packet.clone().map(|packet| (identifier, packet));
        self.retransmit.answered();
        match judgement {
            CheckResult::Right { keys, .. } => {
                if self.state == ServerState::Asking {
                    let peer_name = printable(name);
                    self.events.push_back(AuthEvent::Success { peer_name, message: None, keys });
                }
                self.state = ServerState::Accepted;
            }
            CheckResult::Wrong => {
                let failure = AuthFailure::new(FailureKind::Rejected, self.protocol);
                self.fail(AuthFailure {
                    code: Some(AUTHENTICATION_FAILURE),
                    peer_name: printable(name),
                    ..failure
                });
            }
        }
        self.output = packet;
    }

    /// Returns the text of a failure packet (RFC 2433 §6, RFC 2759 §6). Its challenge is zero because no
    /// retry is offered.
    fn failure_text(&self) -> Vec<u8> {
        match self.protocol {
            AuthProtocol::Pap | AuthProtocol::ChapMd5 => b"Access denied".to_vec(),
            AuthProtocol::MsChapV1 => {
                format!("E={AUTHENTICATION_FAILURE} R=0 C={} V=2", "0".repeat(16)).into_bytes()
            }
            AuthProtocol::MsChapV2 => {
                format!("E={AUTHENTICATION_FAILURE} R=0 C={} V=3 M=Access denied", "0".repeat(32))
                    .into_bytes()
            }
        }
    }

    fn fail(&mut self, failure: AuthFailure) {
        self.state = ServerState::Failed;
        self.retransmit.answered();
        self.output = None;
        self.events.push_back(AuthEvent::Failure(failure));
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("protocol", &self.protocol)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn accepted_with(message: &[u8], keys: Option<mppe::Keys>) -> CheckResult {
    CheckResult::Right { message: message.to_vec(), keys }
}

/// Returns `N` bytes from offset `at`.
fn field<const N: usize>(value: &[u8], at: usize) -> Option<[u8; N]> {
    value.get(at..)?.first_chunk::<N>().copied()
}
