//! The side that is authenticated (RFC 1334 and RFC 1994 call it the peer).

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::{
    AuthDrop, AuthEvent, AuthFailure, AuthProtocol, Credentials, FailureKind, Timing,
    packet::{Packet, chap, pap, put_length_prefixed, split_length_prefixed},
    retransmit::{Due, Retransmit},
    text::printable,
};
use crate::deadline::Deadline;
use crate::ppp::{crypto, mppe};

/// Authenticates us to the server: once or, with CHAP, at each challenge.
pub struct Client {
    protocol: AuthProtocol,
    credentials: Credentials,
    seed: Zeroizing<[u8; 16]>,
    retransmit: Retransmit,
    state: ClientState,
    /// The last packet sent, and what a matching reply must contain.
    attempt: Option<Attempt>,
    /// How long to wait for the end of the link after a refusal, if at all.
    confirm: Option<Duration>,
    /// A refusal that the peer has not confirmed, and the end of the wait.
    refusal: Option<(AuthFailure, Instant)>,
    peer_name: String,
    output: Option<Vec<u8>>,
    events: VecDeque<AuthEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientState {
    /// Waiting for a challenge or for a reply.
    Open,
    /// Accepted once; renewed challenges are answered.
    Accepted,
    Failed,
}

/// A request or response that has been sent.
struct Attempt {
    identifier: u8,
    challenge: Vec<u8>,
    /// Zeroed on drop: a PAP request contains the password.
    packet: Zeroizing<Vec<u8>>,
    answered: bool,
    /// MS-CHAPv2: the proof that the server must send.
    proof: Option<[u8; crypto::AUTHENTICATOR_RESPONSE]>,
    keys: Option<mppe::Keys>,
}

/// Longest user name sent with CHAP, in bytes: RFC 2759 §4 allows 256 characters.
const LONGEST_NAME: usize = 1024;

impl Client {
    /// Starts the exchange: PAP sends its request at once, the others wait for the challenge. `random` seeds
    /// the peer challenges of MS-CHAPv2 and must be fresh for each link.
    #[must_use]
    pub fn new(
        protocol: AuthProtocol,
        credentials: Credentials,
        random: [u8; 16],
        now: Instant,
        timing: Timing,
    ) -> Self {
        let mut client = Self {
            protocol,
            credentials,
            seed: Zeroizing::new(random),
            retransmit: Retransmit::new(timing, now),
            state: ClientState::Open,
            attempt: None,
            confirm: timing.confirm,
            refusal: None,
            peer_name: String::new(),
            output: None,
            events: VecDeque::new(),
        };
        if client.credentials.name().len() > LONGEST_NAME {
            client.fail(AuthFailure::new(FailureKind::DoesNotFit, protocol));
        } else if protocol == AuthProtocol::Pap {
            client.request(now);
        }
        client
    }

    /// Processes a packet of PPP protocol `protocol`, without its PPP header.
    ///
    /// # Errors
    /// Returns the reason if the packet was dropped.
    pub fn handle_input(&mut self, now: Instant, protocol: u16, packet: &[u8]) -> Result<(), AuthDrop> {
        if protocol != self.protocol.ppp_protocol() {
            return Err(AuthDrop::WrongProtocol);
        }
        if self.state == ClientState::Failed {
            return Err(AuthDrop::Finished);
        }
        let packet = Packet::parse(packet)?;
        match (self.protocol, packet.code) {
            (AuthProtocol::Pap, pap::ACK) => {
                self.handle_success(now, packet.identifier, pap_message(packet.data))
            }
            (AuthProtocol::Pap, pap::NAK) => {
                self.handle_failure(now, packet.identifier, pap_message(packet.data))
            }
            (AuthProtocol::Pap, _) => Err(AuthDrop::UnexpectedCode),
            // The same password would be refused again.
            (_, chap::CHALLENGE) if self.refusal.is_some() => Err(AuthDrop::UnexpectedCode),
            (_, chap::CHALLENGE) => self.handle_challenge(now, packet),
            (_, chap::SUCCESS) => self.handle_success(now, packet.identifier, packet.data),
            (_, chap::FAILURE) => self.handle_failure(now, packet.identifier, packet.data),
            _ => Err(AuthDrop::UnexpectedCode),
        }
    }

    /// Retransmits or times out, as due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((failure, _)) = self.refusal.take_if(|(_, until)| now >= *until) {
            return self.fail(AuthFailure { is_confirmed: false, ..failure });
        }
        if self.state != ClientState::Open || self.refusal.is_some() {
            return;
        }
        match self.retransmit.due(now) {
            Due::GiveUp => self.fail(AuthFailure::new(FailureKind::Timeout, self.protocol)),
            Due::Resend if self.protocol == AuthProtocol::Pap => self.request(now),
            Due::Resend => self.send(now),
            Due::Nothing => {}
        }
    }

    /// Returns when [`Self::handle_timeout`] is due, and for which timer.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        match &self.refusal {
            Some((_, until)) => Some((*until, "confirmation of the refusal")),
            None if self.state == ClientState::Open => self.retransmit.next_timeout(),
            None => None,
        }
    }

    /// Returns the peer's refusal while it is not confirmed: the peer may yet end the link, or accept the
    /// credentials if the refusal was forged. It becomes a failure after [`Timing::confirm`].
    #[must_use]
    pub fn refusal(&self) -> Option<&AuthFailure> {
        self.refusal.as_ref().map(|(failure, _)| failure)
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

    /// Sends a PAP request; RFC 1334 §2.2.1 requires a new identifier for each.
    fn request(&mut self, now: Instant) {
        let identifier = self.attempt.as_ref().map_or(1, |last| last.identifier.wrapping_add(1));
        let mut data = Zeroizing::new(Vec::with_capacity(512));
        let fits = put_length_prefixed(&mut data, self.credentials.name().as_bytes())
            .and_then(|()| put_length_prefixed(&mut data, self.credentials.password.expose()));
        let packet = fits.and_then(|()| Packet { code: pap::REQUEST, identifier, data: &data }.encode());
        match packet {
            Some(packet) => self.begin(now, Attempt::new(identifier, &[], packet)),
            None => self.fail(AuthFailure::new(FailureKind::DoesNotFit, self.protocol)),
        }
    }

    fn handle_challenge(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), AuthDrop> {
        let (challenge, name) = split_length_prefixed(packet.data)?;
        let repeated = |last: &Attempt| last.identifier == packet.identifier && last.challenge == challenge;
        if self.attempt.as_ref().is_some_and(repeated) {
            // Repeat the same response: two different ones could give the two ends different keys.
            self.output = self.attempt.as_ref().map(|last| last.packet.to_vec());
            return Ok(());
        }
        let (value, proof, keys) = self.response(packet.identifier, challenge)?;
        let mut data = Vec::with_capacity(1 + value.len() + LONGEST_NAME);
        put_length_prefixed(&mut data, &value).ok_or(AuthDrop::BadValue)?;
        data.extend(self.credentials.name().as_bytes());
        let response = Packet { code: chap::RESPONSE, identifier: packet.identifier, data: &data };
        let bytes = response.encode().ok_or(AuthDrop::BadValue)?;
        self.peer_name = printable(name);
        self.retransmit.another_packet();
        self.begin(now, Attempt { proof, keys, ..Attempt::new(packet.identifier, challenge, bytes) });
        Ok(())
    }

    /// Computes the value of a CHAP Response, the proof expected from the server, and the MPPE keys.
    #[expect(clippy::type_complexity, reason = "three results of one computation, used once")]
    fn response(
        &self,
        identifier: u8,
        challenge: &[u8],
    ) -> Result<(Vec<u8>, Option<[u8; crypto::AUTHENTICATOR_RESPONSE]>, Option<mppe::Keys>), AuthDrop> {
        let password = self.credentials.password.expose();
        match self.protocol {
            AuthProtocol::Pap => Err(AuthDrop::UnexpectedCode),
            AuthProtocol::ChapMd5 if challenge.is_empty() => Err(AuthDrop::BadValue),
            AuthProtocol::ChapMd5 => {
                Ok((crypto::chap_md5(identifier, password, challenge).to_vec(), None, None))
            }
            AuthProtocol::MsChapV1 => {
                let challenge = challenge.try_into().map_err(|_| AuthDrop::BadValue)?;
                let hash = crypto::NtHash::of(password);
                // RFC 2433 §4: LM response (zeros), NT response, and the flag that selects the NT response.
                let mut value = vec![0; crypto::NT_RESPONSE];
                value.extend(crypto::challenge_response(challenge, &hash));
                value.push(1);
                let lm = crypto::LmHash::of(password);
                Ok((value, None, Some(mppe::Keys::from_ms_chap_v1(&hash, lm.as_ref(), challenge))))
            }
            AuthProtocol::MsChapV2 => {
                let challenge = challenge.try_into().map_err(|_| AuthDrop::BadValue)?;
                let hash = crypto::NtHash::of(password);
                let name = self.credentials.name();
                let own = self.peer_challenge(identifier, challenge);
                let nt = crypto::nt_response(&own, challenge, name.as_bytes(), &hash);
                let proof = crypto::authenticator_response(&hash, &nt, &own, challenge, name.as_bytes());
                // RFC 2759 §4: our challenge, eight reserved zeros, NT response, flags.
                let mut value = own.to_vec();
                value.extend([0; 8]);
                value.extend(nt);
                value.push(0);
                let keys = mppe::Keys::from_ms_chap_v2(mppe::End::Client, &hash, &nt);
                Ok((value, Some(proof), Some(keys)))
            }
        }
    }

    /// Derives an unpredictable peer challenge, different for each challenge of the server.
    fn peer_challenge(&self, identifier: u8, challenge: &[u8; 16]) -> [u8; 16] {
        let mut sha = Sha1::new();
        sha.update(*self.seed);
        sha.update([identifier]);
        sha.update(challenge);
        let digest: [u8; 20] = sha.finalize().into();
        let mut own = [0; 16];
        for (slot, byte) in own.iter_mut().zip(digest) {
            *slot = byte;
        }
        own
    }

    fn handle_success(&mut self, now: Instant, identifier: u8, message: &[u8]) -> Result<(), AuthDrop> {
        let attempt = self.attempt_for(identifier)?;
        let message = match &attempt.proof {
            Some(proof) => match verify_server_proof(message, proof) {
                Some(words) => words,
                None => {
                    let words = printable(message);
                    let failure = AuthFailure::new(FailureKind::ServerNotProven, self.protocol);
                    self.refused(now, AuthFailure { message: words, ..failure });
                    return Ok(());
                }
            },
            None => message,
        };
        attempt.answered = true;
        let keys = attempt.keys.take();
        self.refusal = None;
        if self.state == ClientState::Open {
            self.state = ClientState::Accepted;
            self.retransmit.answered();
            let message = Some(printable(message)).filter(|text| !text.is_empty());
            self.events.push_back(AuthEvent::Success { peer_name: self.peer_name.clone(), message, keys });
        }
        Ok(())
    }

    fn handle_failure(&mut self, now: Instant, identifier: u8, message: &[u8]) -> Result<(), AuthDrop> {
        self.attempt_for(identifier)?;
        self.refused(now, AuthFailure::from_message(self.protocol, message));
        Ok(())
    }

    /// Fails, or waits until the peer has confirmed the refusal. The first one is kept.
    fn refused(&mut self, now: Instant, failure: AuthFailure) {
        match self.confirm {
            None => self.fail(failure),
            Some(wait) => {
                self.retransmit.answered();
                let peer_name = self.peer_name.clone();
                self.refusal.get_or_insert((AuthFailure { peer_name, ..failure }, now + wait));
            }
        }
    }

    /// Returns the unanswered attempt that a reply with this identifier is for.
    fn attempt_for(&mut self, identifier: u8) -> Result<&mut Attempt, AuthDrop> {
        let sent = self.retransmit.transmissions();
        let pap = self.protocol == AuthProtocol::Pap;
        let attempt = self.attempt.as_mut().ok_or(AuthDrop::UnexpectedCode)?;
        // All PAP requests are alike, so a late reply to an earlier one is accepted.
        let back = u32::from(attempt.identifier.wrapping_sub(identifier));
        let fits = if pap { back < sent } else { back == 0 };
        match (fits, attempt.answered) {
            (true, false) => Ok(attempt),
            (true, true) => Err(AuthDrop::UnexpectedCode),
            (false, _) => Err(AuthDrop::StaleIdentifier),
        }
    }

    fn begin(&mut self, now: Instant, attempt: Attempt) {
        self.attempt = Some(attempt);
        self.send(now);
    }

    /// Sends the current attempt. The server retransmits only its challenge (RFC 1994); to recover a lost
    /// Success, we retransmit the response until it is accepted.
    fn send(&mut self, now: Instant) {
        if let Some(attempt) = &self.attempt {
            self.output = Some(attempt.packet.to_vec());
        }
        self.retransmit.sent(now);
    }

    fn fail(&mut self, failure: AuthFailure) {
        self.state = ClientState::Failed;
        self.retransmit.answered();
        self.attempt = None;
        self.output = None;
        let peer_name = std::mem::take(&mut self.peer_name);
        self.events.push_back(AuthEvent::Failure(AuthFailure { peer_name, ..failure }));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("protocol", &self.protocol)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    fn new(identifier: u8, challenge: &[u8], packet: Vec<u8>) -> Self {
        Self {
            identifier,
            challenge: challenge.to_vec(),
            packet: Zeroizing::new(packet),
            answered: false,
            proof: None,
            keys: None,
        }
    }
}

/// Returns the message of a PAP reply; some servers omit even its length byte.
fn pap_message(data: &[u8]) -> &[u8] {
    split_length_prefixed(data).map_or(&[], |(message, _)| message)
}

/// Checks the proof in `S=… M=…` (RFC 2759 §5); returns the text after `M=` if it is right.
fn verify_server_proof<'a>(
    message: &'a [u8],
    proof: &[u8; crypto::AUTHENTICATOR_RESPONSE],
) -> Option<&'a [u8]> {
    let (received, rest) = message.split_at_checked(proof.len())?;
    if !crypto::same_authenticator_response(received, proof) {
        return None;
    }
    let rest = rest.trim_ascii_start();
    Some(rest.strip_prefix(b"M=").unwrap_or(rest))
}
