//! Arbitrary frames and operations, in any phase: driven by `fuzz/fuzz_targets/ppp_link.rs` and its corpus.
//!
//! The first byte selects role and encryption, the second how far the link has come before the rest is read
//! as operations. Checks that nothing panics, queues stay short, the end is reported once, and no IP packet
//! is sent in clear with encryption required.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::{DownReason, Link, LinkConfig, LinkEvent, Phase, Random, Received};
use crate::{
    ppp::{
        auth::{AuthProtocol, Credentials, Users},
        mppe::{Demand, Policy},
        wire::{self, PacketBuilder, protocol},
    },
    secret::Secret,
};

/// Reads `data` as a sequence of operations and applies it.
pub fn drive(data: &[u8]) {
    let mut tape = FuzzInput(data);
    let (role, progress) = (tape.byte(), tape.byte());
    let mut stage = Harness::new(role);
    stage.advance_to(progress % 5);
    for _ in 0..512 {
        if tape.0.is_empty() {
            break;
        }
        stage.apply_operation(&mut tape);
        stage.check();
    }
}

struct Harness {
    now: Instant,
    tested: Link,
    other: Link,
    /// No packet may pass in clear: encryption is required, or was on.
    required: bool,
    /// Last frame from the other side.
    last: Vec<u8>,
    ended: bool,
}

struct FuzzInput<'a>(&'a [u8]);

impl Harness {
    fn new(role: u8) -> Self {
        let demand = match role >> 1 & 3 {
            0 => Demand::Off,
            1 => Demand::Allow,
            _ => Demand::Require,
        };
        let mppe = Policy { demand, stateful: role & 0x08 != 0, ..Policy::default() };
        let accept = match role >> 4 & 3 {
            0 => vec![AuthProtocol::Pap],
            1 => vec![AuthProtocol::ChapMd5],
            2 => vec![AuthProtocol::MsChapV1, AuthProtocol::MsChapV2],
            _ => vec![AuthProtocol::MsChapV2],
        };
        let common = |config: LinkConfig| LinkConfig {
            mppe,
            accept: accept.clone(),
            unauthenticated: role & 0x80 != 0,
            ipv6: role & 0x40 != 0,
            ..config
        };
        let credentials =
            Credentials { user: "user".to_owned(), domain: None, password: Secret::from("password") };
        let users = Users::table(vec![("user".to_owned(), Secret::from("password"))]);
        let [ours, theirs] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let now = Instant::now();
        let client = Link::new(common(LinkConfig::client(credentials, random(3))), now);
        let server = Link::new(common(LinkConfig::server("server", users, ours, theirs, random(4))), now);
        let (tested, other) = if role & 1 == 0 { (client, server) } else { (server, client) };
        let required = demand == Demand::Require;
        Self { now, tested, other, required, last: Vec::new(), ended: false }
    }

    fn advance_to(&mut self, progress: u8) {
        if progress == 0 {
            return;
        }
        self.tested.open(self.now);
        self.other.open(self.now);
        for _ in 0..progress.saturating_sub(1) * 6 {
            self.exchange();
            self.check();
        }
    }

    /// Passes one frame in each direction.
    fn exchange(&mut self) {
        if let Some(mut frame) = self.other.poll_output() {
            self.last.clone_from(&frame);
            self.tested.handle_input(self.now, &mut frame);
        }
        if let Some(mut frame) = self.tested.poll_output() {
            self.other.handle_input(self.now, &mut frame);
        }
    }

    fn apply_operation(&mut self, tape: &mut FuzzInput<'_>) {
        match tape.byte() % 12 {
            0 => {
                let mut frame = tape.slice();
                self.tested.handle_input(self.now, &mut frame);
            }
            1 | 2 => {
                let number = PROTOCOLS.get(usize::from(tape.byte()) % PROTOCOLS.len()).copied().unwrap_or(0);
                let mut packet = PacketBuilder::new(tape.byte() % 18, tape.byte());
                packet.bytes(&tape.slice());
                self.tested.handle_input(self.now, &mut wire::control_frame(number, &packet.finish()));
            }
            3 => {
                self.now += Duration::from_millis(u64::from(tape.byte()) * 100);
                self.tested.handle_timeout(self.now);
                self.other.handle_timeout(self.now);
            }
            4 | 5 => self.exchange(),
            6 => self.encapsulate(tape.byte()),
            7 => {
                // A real frame from the peer, with one bit inverted.
                let (at, bit) = (usize::from(tape.byte()), tape.byte() % 8);
                let mut frame = self.last.clone();
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << bit;
                }
                self.tested.handle_input(self.now, &mut frame);
            }
            8 => self.clear_ip(tape.byte()),
            9 => {
                let mut out = [0; 128];
                if let Ok(length) = self.other.encapsulate(&ip(60), &mut out)
                    && let Some(frame) = out.get_mut(..length)
                {
                    self.tested.handle_input(self.now, frame);
                }
            }
            10 if tape.byte() > 250 => self.tested.close(self.now, DownReason::Closed),
            11 if tape.byte() > 250 => self.tested.lower_down(self.now),
            _ => self.tested.open(self.now),
        }
    }

    fn encapsulate(&mut self, length: u8) {
        let mut out = [0; 300];
        let Ok(written) = self.tested.encapsulate(&ip(length), &mut out) else { return };
        assert_eq!(self.tested.phase(), Phase::Network, "data leaves in the network phase alone");
        let frame = out.get_mut(..written).unwrap_or_default();
        let number = wire::split(frame).map(|(number, _)| number);
        assert!(
            !self.required || number == Ok(protocol::COMPRESSED),
            "{number:?} although encryption is required"
        );
    }

    fn clear_ip(&mut self, length: u8) {
        let mut frame = wire::control_frame(protocol::IPV4, &ip(length));
        let received = self.tested.handle_input(self.now, &mut frame);
        assert!(
            !self.required || matches!(received, Received::Dropped(_)),
            "clear although encryption is required"
        );
    }

    fn check(&mut self) {
        assert!(self.tested.output.len() < super::QUEUE_MAX, "output grows");
        assert!(self.tested.events.len() < super::QUEUE_MAX, "events grow");
        while let Some(event) = self.tested.poll_event() {
            assert!(!self.ended, "{event:?} after the end");
            self.ended = matches!(event, LinkEvent::Down(_));
            self.required |= matches!(event, LinkEvent::Encryption(Some(_)));
        }
        while self.other.poll_event().is_some() {}
        // Frames that `exchange` does not fetch are lost.
        while self.tested.output.len() > 8 {
            self.tested.poll_output();
        }
        assert!(self.ended || self.tested.phase() != Phase::Dead, "an end without a word");
        assert!(!self.ended || self.tested.next_timeout().is_none(), "a timer after the end");
    }
}

impl FuzzInput<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// Reads a length and that many bytes, or as many as are left.
    fn slice(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }
}

/// Protocols of fuzzed frames.
pub const PROTOCOLS: [u16; 12] = [
    protocol::LCP,
    protocol::PAP,
    protocol::CHAP,
    protocol::CCP,
    protocol::IPCP,
    protocol::IPV6CP,
    protocol::COMPRESSED,
    protocol::IPV4,
    protocol::IPV6,
    protocol::EAP,
    0x8235,
    0xC025,
];

fn ip(length: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, length.max(20)];
    packet.resize(usize::from(length.max(20)), 7);
    packet
}

fn random(seed: u8) -> Random {
    let mut state = seed;
    Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(109).wrapping_add(89);
            *byte = state;
        }
    })
}
