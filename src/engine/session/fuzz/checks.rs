//! What must hold for every session, whatever its server, the path and other hosts do.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::setup::limits;
use crate::{
    engine::{
        message::FromEngine,
        session::{Session, SessionEvent, call::Call},
    },
    failure::{Failure, FailureKind, Phase, Remedy},
    ppp::{
        mppe::Demand,
        wire::{self, protocol},
    },
    pptp::{fuzzing::ensure, gre},
};

/// The payload of a forged packet in clear. No packet of either end has it.
pub(super) const FORGED: &[u8; 16] = b"forged-in-clear!";
/// Time from the addresses to the report that the link is up, at most: the ready check and the request for routes.
const AFTER_ADDRESSES: Duration = Duration::from_secs(3);
/// Most events that a session may have queued.
const MAX_EVENTS: usize = 64;
/// Most bytes that its control connection may have queued: its limit, and one message.
const MAX_CONTROL: usize = 64 * 1024 + 220;

/// The invariants, and what they depend on.
pub(super) struct Checks {
    began: Instant,
    external: bool,
    /// No packet may pass in clear: encryption is required, or has been reported.
    sealed: bool,
    was_up: bool,
    ended: bool,
    /// When the user ended the session.
    stopped: Option<Instant>,
    /// Time has jumped over timers.
    pub slept: bool,
    /// Packets may be altered, or be those of another link: MPPE has no integrity check.
    pub forged: bool,
    /// Packets may come twice.
    pub duplicated: bool,
    last_sequence: Option<u32>,
    pub to_server: Direction,
    pub to_client: Direction,
}

/// The IP packets of one direction, each with a number.
pub(super) struct Direction {
    mark: u8,
    sent: u32,
    seen: BTreeSet<u32>,
}

impl Direction {
    const fn new(mark: u8) -> Self {
        Self { mark, sent: 0, seen: BTreeSet::new() }
    }

    /// Returns the next packet.
    pub fn packet(&mut self, length: usize) -> Vec<u8> {
        let [a, b, c, d] = self.sent.to_be_bytes();
        self.sent += 1;
        ip_packet(&[self.mark, a, b, c, d], length)
    }

    fn arrived(&mut self, packet: &[u8], duplicated: bool) -> Result<(), String> {
        let number = packet.get(20..).and_then(|payload| payload.split_first_chunk::<5>());
        let Some(([mark, number @ ..], _)) = number else { return Err(format!("a stub: {packet:?}")) };
        let number = u32::from_be_bytes(*number);
        if *mark != self.mark || number >= self.sent {
            return Err(format!("a packet arrives that was not sent: {packet:?}"));
        }
        ensure(self.seen.insert(number) || duplicated, "a packet arrives twice")
    }
}

impl Checks {
    pub fn new(session: &Session, now: Instant) -> Self {
        let external = session.spec.external;
        Self {
            began: now,
            external,
            sealed: session.spec.mppe.demand == Demand::Require && !external,
            was_up: false,
            ended: false,
            stopped: None,
            slept: false,
            forged: false,
            duplicated: false,
            last_sequence: None,
            to_server: Direction::new(b'C'),
            to_client: Direction::new(b'S'),
        }
    }

    pub const fn was_up(&self) -> bool {
        self.was_up
    }

    pub const fn is_over(&self) -> bool {
        self.ended
    }

    /// Records that the user ends the session.
    pub fn stop(&mut self, now: Instant) {
        self.stopped.get_or_insert(now);
    }

    /// Checks an IP packet for the tun device.
    pub fn at_client(&mut self, packet: &[u8]) -> Result<(), String> {
        let is_forged = packet.windows(FORGED.len()).any(|part| part == FORGED);
        ensure(!(self.sealed && is_forged), "a forged packet in clear is accepted")?;
        ensure(!self.ended, "a packet is accepted after the end")?;
        if self.forged { Ok(()) } else { self.to_client.arrived(packet, self.duplicated) }
    }

    /// Checks an IP packet that has reached the server through the tunnel.
    pub fn at_server(&mut self, packet: &[u8]) -> Result<(), String> {
        let is_request_for_routes = packet.get(9) == Some(&17);
        if self.forged || is_request_for_routes {
            Ok(())
        } else {
            self.to_server.arrived(packet, self.duplicated)
        }
    }

    /// Checks a GRE packet that the client sends.
    pub fn sent(&mut self, packet: &[u8], call: Option<&Call>) -> Result<(), String> {
        let mut packet = packet.to_vec();
        let (header, payload) = gre::parse(&packet).map_err(|why| format!("the client sends: {why}"))?;
        ensure(!self.ended, "a packet is sent after the end")?;
        // A forged reply may have given the call another number than the server's.
        let is_ours = call.is_some_and(|call| call.flow.peer_call_id() == header.call_id);
        ensure(is_ours, "a packet of another call is sent")?;
        let Some(sequence) = header.seq else { return Ok(()) };
        let last = self.last_sequence.replace(sequence);
        ensure(last.is_none_or(|last| last < sequence), "a sequence number is used twice")?;
        if self.external {
            return Ok(());
        }
        let frame = packet.get_mut(payload).unwrap_or_default();
        let (number, _) = wire::split(frame).map_err(|_| "the client sends no PPP frame".to_owned())?;
        let is_data = !wire::is_control(number) && number != protocol::COMPRESSED;
        ensure(!(self.sealed && is_data), "a packet is sent in clear although encryption is in force")
    }

    /// Checks an event of the session, and that the supervisor accepts the message that the engine makes of it.
    pub fn event(&mut self, now: Instant, event: SessionEvent) -> Result<(), String> {
        if self.ended {
            return Err(format!("{event:?} after the end"));
        }
        let message = match event {
            SessionEvent::Phase(phase, detail) => {
                self.sealed |= !self.external && phase == Phase::Addresses && detail != "none";
                FromEngine::Phase { phase, detail }
            }
            SessionEvent::Offers(offers) => FromEngine::Offers(offers),
            SessionEvent::Attach(call) => FromEngine::Attach(call),
            SessionEvent::Up(link) => {
                ensure(self.stopped.is_none(), "the link is up after a stop")?;
                ensure(self.external || !self.sealed || link.encryption != "none", "up without encryption")?;
                self.sealed |= !self.external && link.encryption != "none";
                self.was_up = true;
                FromEngine::Up(link)
            }
            SessionEvent::PathMtu(path) => FromEngine::PathMtu(path),
            SessionEvent::PathSearched(end) => FromEngine::PathSearched(end),
            SessionEvent::Down(failure) => {
                self.ended = true;
                self.down(now, &failure)?;
                FromEngine::Down(failure)
            }
        };
        let text = serde_json::to_vec(&message).map_err(|error| error.to_string())?;
        FromEngine::parse(&text).map(drop).map_err(|why| format!("the supervisor refuses {message:?}: {why}"))
    }

    fn down(&self, now: Instant, failure: &Failure) -> Result<(), String> {
        if failure.kind == FailureKind::Internal {
            return Err(format!("internal error: {failure}"));
        }
        if self.was_up && matches!(failure.remedy(), Remedy::Nothing | Remedy::WeakerAuthentication) {
            return Err(format!("{:?} for a link that was up: {failure}", failure.remedy()));
        }
        // The supervisor kills the engine then.
        let limit = 3 * limits().stop;
        let overdue = self.stopped.is_some_and(|at| now > at + limit);
        ensure(!overdue || self.slept, "a graceful shutdown takes too long")
    }

    /// Checks a session that waits for input or its next timeout.
    pub fn at_rest(&self, session: &Session, now: Instant) -> Result<(), String> {
        if self.ended {
            return Ok(());
        }
        let waits = session.next_timeout().is_some();
        ensure(waits || session.is_up(), "a session that is not up waits without a time limit")?;
        ensure(session.tcp_output().len() <= MAX_CONTROL, "the control connection's output grows")?;
        ensure(session.events.len() <= MAX_EVENTS, "the queue of events grows")?;
        let all = limits();
        let longest = all.control + all.call + all.lcp + all.auth + all.network + 3 * all.stop;
        let late = now > self.began + longest + AFTER_ADDRESSES;
        ensure(!late || self.was_up || self.slept, "a dial takes longer than its limits")
    }
}

/// Returns an IPv4 packet of at least this length that carries `payload`, of a protocol that nothing interprets.
pub(super) fn ip_packet(payload: &[u8], length: usize) -> Vec<u8> {
    let length = length.max(20 + payload.len());
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend_from_slice(payload);
    packet.resize(length, 0x55);
    packet
}
